"""How checkpoints were quantized, in the layouts that quantizers write (`checkpoints/`)."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from launchers.build import Build
from launchers.checkpoint import Checkpoint, check_quantization, read_checkpoint, scheme_of
from launchers.errors import BuildError
from launchers.gguf import file_type, read_header
from launchers.model import BUILDS, resolve_model

CHECKPOINTS = Path(__file__).parent / "checkpoints"
MODELS = BUILDS.parent / "models"


def build(quantization: str | None = None, **fields: Any) -> Build:  # noqa: ANN401 - a Build's
    return Build(name="mine", model="m", quantization=quantization, **fields)


@pytest.mark.parametrize(
    ("name", "method", "algorithm", "words"),
    [
        ("autogptq", "gptq", "gptq", "4-bit, group 128, sym"),
        ("gptq-transformers", "gptq", "gptq", "4-bit, group 32, sym, act-order"),
        ("gptqmodel", "gptq", "gptq", "8-bit, per channel, asym"),
        ("autoawq", "awq", "awq", "4-bit, group 128, asym"),
        ("autoawq-old", "awq", "awq", "4-bit, group 64, asym"),
        ("ct-w4a16", "compressed-tensors", None, "4-bit, group 128, sym"),
        (
            "ct-w8a8",
            "compressed-tensors",
            None,
            "8-bit, per channel, sym, activations int8 dynamic",
        ),
        (
            "ct-fp8",
            "compressed-tensors",
            None,
            "8-bit float, per channel, activations fp8 dynamic, KV cache fp8 static",
        ),
        ("bnb-nf4", "bitsandbytes", None, "nf4"),
        ("bnb-int8", "bitsandbytes", None, "8-bit, per channel, activations int8 dynamic"),
        ("fp8-block", "fp8", None, "8-bit float, per block 128x128, activations fp8 dynamic"),
        ("fp8-static", "fp8", None, "8-bit float, per tensor, activations fp8 static"),
        ("modelopt-fp8", "modelopt", None, "8-bit float, activations fp8 static, KV cache fp8"),
        ("vision", "awq", "awq", "4-bit, group 128, asym"),
        ("bf16", "none", None, "bfloat16"),
    ],
)
def test_each_layout(name: str, method: str, algorithm: str | None, words: str) -> None:
    found = read_checkpoint(CHECKPOINTS / name)
    assert found is not None
    assert (found.method, found.algorithm, found.words) == (method, algorithm, words)
    assert found.quantized == (method != "none")
    assert json.loads(json.dumps(found.facts()))["method"] == method


def test_layers_that_stay_as_they_were() -> None:
    for name in ("bnb-nf4", "fp8-block", "fp8-static", "modelopt-fp8", "ct-w8a8"):
        found = read_checkpoint(CHECKPOINTS / name)
        assert found is not None
        assert found.ignored == ("lm_head",), name


@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_a_recipe_tells_the_algorithm(name: str) -> None:
    found = read_checkpoint(MODELS / f"demo-{name}")
    assert found is not None
    assert (found.method, found.algorithm) == ("compressed-tensors", name)
    assert (found.bits, found.group_size, found.symmetric) == (4, 128, name == "gptq")


def test_what_says_nothing(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path) is None
    (tmp_path / "config.json").write_text("{")
    assert read_checkpoint(tmp_path) is None
    (tmp_path / "config.json").write_text("[]")
    assert read_checkpoint(tmp_path) is None
    (tmp_path / "config.json").write_text("{}")
    found = read_checkpoint(tmp_path)
    assert found == Checkpoint(method="none")
    assert found.words == "not quantized"
    assert scheme_of(build(), found) is None


@pytest.mark.parametrize(
    "told",
    [
        {"quant_method": "gptq", "bits": "4", "group_size": None, "sym": 1, "desc_act": "no"},
        {"quant_method": "compressed-tensors", "config_groups": ["x"]},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": None}}},
        {"quant_method": 3},
        {"load_in_4bit": True, "quant_method": "bitsandbytes"},
        {"quant_method": "fp8", "weight_block_size": "x"},
        {"quant_method": "new-thing", "bits": 3},
    ],
)
def test_configs_that_are_not_as_expected(told: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": told}))
    found = read_checkpoint(tmp_path)
    assert found is not None
    assert found.method
    assert found.words


ON_LOAD = {"arguments": {"quantization": "bitsandbytes"}}
FP8 = {"arguments": {"quantization": "fp8"}}
INT8 = {"arguments": {"quantization": "bnb-8bit"}}
NF4 = {"arguments": {"quantization": "bnb-4bit"}}


@pytest.mark.parametrize(
    ("fields", "checkpoint", "scheme"),
    [
        ({}, "autoawq", "4-bit, group 128, asym"),
        ({}, "bf16", "bfloat16"),
        ({"dtype": "float16"}, "bf16", "float16"),
        ({"dtype": "float16"}, "autoawq", "4-bit, group 128, asym"),
        (
            {"arguments": {"quantization": "bitsandbytes"}},
            "bf16",
            "by bitsandbytes while it is loaded",
        ),
        (INT8, "bf16", "LLM.int8 by bitsandbytes while it is loaded"),
        (NF4, "bf16", "NF4, double-quantized, by bitsandbytes while it is loaded"),
        ({"arguments": {"quantization": "awq"}}, "autoawq", "4-bit, group 128, asym"),
    ],
)
def test_what_a_build_serves(fields: dict[str, Any], checkpoint: str, scheme: str) -> None:
    assert scheme_of(build(**fields), read_checkpoint(CHECKPOINTS / checkpoint)) == scheme


@pytest.mark.parametrize(
    ("name", "checkpoint", "fields"),
    [
        ("gptq", "autogptq", {}),
        ("gptq-marlin", "gptqmodel", {}),
        ("awq", "autoawq", {}),
        ("AWQ", "autoawq-old", {}),
        ("awq", "ct-w4a16", {}),  # nobody can tell
        ("gptq", "ct-w4a16", {}),
        ("int4", "ct-w4a16", {}),
        ("w8a8", "ct-w8a8", {}),
        ("int8", "bnb-int8", {}),
        ("fp8", "fp8-block", {}),
        ("fp8", "modelopt-fp8", {}),
        ("fp8", "bf16", FP8),
        ("nf4", "bnb-nf4", {}),
        ("nf4", "bf16", ON_LOAD),
        ("nf4", "bf16", NF4),
        ("int4", "bf16", NF4),
        ("bnb-int8", "bf16", INT8),
        ("int8", "bf16", INT8),
        ("fp16", "bf16", {}),
        ("ours-v2", "autoawq", {}),  # means nothing to anybody else
        (None, "autoawq", {}),
    ],
)
def test_names_that_fit(name: str | None, checkpoint: str, fields: dict[str, Any]) -> None:
    check_quantization(build(name, **fields), read_checkpoint(CHECKPOINTS / checkpoint))


@pytest.mark.parametrize(
    ("name", "checkpoint", "fields", "problem"),
    [
        ("awq", "autogptq", {}, 'says "awq", but the checkpoint is gptq .4-bit, group 128, sym.'),
        ("gptq", "autoawq", {}, "the checkpoint is awq"),
        ("awq", "bf16", {}, r"is not quantized \(bfloat16\).*e\.g\. \"fp16\""),
        ("fp16", "autoawq", {}, "the checkpoint is awq"),
        ("fp16", "bf16", ON_LOAD, "not quantized"),
        ("nf4", "bf16", {}, "not quantized"),
        ("nf4", "bf16", INT8, "not quantized"),
        ("int8", "bf16", NF4, "not quantized"),
        ("fp8", "bf16", INT8, "not quantized"),
        ("nf4", "bnb-int8", {}, "bitsandbytes"),
        ("fp8", "ct-w8a8", {}, "compressed-tensors"),
        ("int8", "ct-fp8", {}, "8-bit float"),
        ("int4", "gptqmodel", {}, "8-bit"),
        ("fp8", "bf16", {}, "not quantized"),
        ("gptq", "bnb-nf4", {}, "bitsandbytes"),
        ("awq", "fp8-block", {}, "the checkpoint is fp8"),
    ],
)
def test_names_that_do_not(
    name: str, checkpoint: str, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(BuildError, match=problem) as caught:
        check_quantization(build(name, **fields), read_checkpoint(CHECKPOINTS / checkpoint))
    assert caught.value.field == "quantization"


def test_an_argument_that_loads_another_layout() -> None:
    one = build(arguments={"quantization": "awq_marlin"})
    with pytest.raises(BuildError, match=r"awq_marlin does not load this checkpoint.*gptq"):
        check_quantization(one, read_checkpoint(CHECKPOINTS / "autogptq"))
    check_quantization(one, read_checkpoint(CHECKPOINTS / "autoawq"))
    with pytest.raises(BuildError, match=r"bnb-8bit does not load this checkpoint.*gptq"):
        check_quantization(build(**INT8), read_checkpoint(CHECKPOINTS / "autogptq"))


def test_it_is_told_before_anything_starts() -> None:
    wrong = Build(name="mine", model="demo:gptq", quantization="awq")
    with pytest.raises(BuildError, match=r"build 'mine': field `quantization`.*gptq"):
        resolve_model(wrong, CHECKPOINTS)
    source = resolve_model(wrong.model_copy(update={"quantization": "gptq"}), CHECKPOINTS)
    assert source.checkpoint is not None
    assert source.checkpoint.algorithm == "gptq"


def test_a_model_of_the_hub_that_the_cache_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    one = Build(name="mine", model="org/m", quantization="gptq")
    assert resolve_model(one, tmp_path).checkpoint is None
    home = tmp_path / "models--org--m"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("abc")
    snapshot = home / "snapshots" / "abc"
    snapshot.parent.mkdir()
    snapshot.symlink_to(CHECKPOINTS / "autoawq")
    with pytest.raises(BuildError, match="the checkpoint is awq"):
        resolve_model(one, tmp_path)
    other = one.model_copy(update={"arguments": {"revision": "elsewhere"}})
    assert resolve_model(other, tmp_path).checkpoint is None


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(*pairs: bytes, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(pairs)) + b"".join(pairs)


PAIRS = (
    text("general.architecture") + struct.pack("<I", 8) + text("llama"),
    text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
    text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<ff", 0, 1),
    text("general.file_type") + struct.pack("<II", 4, 15),
    text("x.flag") + struct.pack("<I?", 7, True),
)


def test_a_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(*PAIRS))
    assert read_header(path) == {
        "general.architecture": "llama",
        "general.file_type": 15,
        "x.flag": True,
    }
    found = read_checkpoint(path)
    assert found is not None
    assert (found.method, found.layout, found.bits, found.words) == ("gguf", "Q4_K_M", 4, "Q4_K_M")
    check_quantization(build("q4_k_m"), found)
    for name in ("q4", "q4_k", "int4", "w4a16", "ours"):
        check_quantization(build(name), found)
    with pytest.raises(BuildError, match=r"gguf \(Q4_K_M\)"):
        check_quantization(build("q8_0"), found)
    assert scheme_of(build(), found) == "Q4_K_M"


@pytest.mark.parametrize(
    ("number", "name"), [(1, "F16"), (7, "Q8_0"), (32, "BF16"), (99, "type 99")]
)
def test_file_types(number: int, name: str) -> None:
    assert file_type({"general.file_type": number}) == name
    assert file_type({}) is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GGML" + bytes(20), "does not begin"),
        (gguf(version=0x03000000), "version"),
        (gguf(*PAIRS)[:-1], "ends within"),
        (gguf(*PAIRS)[:60], "ends within"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "keys"),
        (gguf(struct.pack("<Q", 2**50)), "text of"),
        (gguf(text("a") + struct.pack("<I", 77)), "unknown type"),
        (gguf(text("a") + struct.pack("<IIQ", 9, 4, 2**50)), "array of"),
    ],
)
def test_what_is_no_gguf(data: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=problem):
        read_header(path)
    assert read_checkpoint(path) is None


def test_a_gguf_of_8_bits_is_no_fp8() -> None:
    found = read_checkpoint(next((MODELS / "demo-gguf-q8_0").glob("*.gguf")))
    assert found is not None
    assert (found.bits, found.number) == (8, "int")
    with pytest.raises(BuildError, match="Q8_0"):
        check_quantization(build("fp8"), found)
