"""GGUF files in K-quants, written by llama.cpp itself, from the file to every report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import launchers
from launchers.checkpoint import read_checkpoint
from launchers.environments import installed
from tests.e2e.small_gguf import quantize, write_small

if TYPE_CHECKING:
    from tests.e2e.conftest import Workplace

DEMO = Path(launchers.__file__).parent / "models" / "demo-fp16"
COMPILED = installed("llama.cpp")
FILE_TYPES = {"Q4_K_M": 15, "Q8_0": 7}
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        COMPILED is None,
        reason="llama.cpp is missing: run `harness engines install llama.cpp`",
    ),
    pytest.mark.skipif(
        shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler"
    ),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small model in each file type."""
    assert COMPILED is not None
    [library] = COMPILED.parents[1].glob("lib/python*/site-packages/llama_cpp")
    folder = tmp_path_factory.mktemp("gguf")
    write_small(folder / "f16.gguf", DEMO / "tokenizer.json")
    found = {}
    for name, number in FILE_TYPES.items():
        found[name] = folder / f"small-{name}.gguf"
        quantize(folder / "f16.gguf", found[name], number, library)
    return found


def test_each_is_served_and_every_report_says_what_it_is(
    workplace: Workplace, files: dict[str, Path]
) -> None:
    with (workplace.path / "harness.toml").open("a") as file:
        for name, path in files.items():
            file.write(
                f'[builds.{name.lower()}]\nengine = "llama.cpp"\nmodel = "{path}"\n'
                f'quantization = "{name.lower()}"\nmax_model_len = 256\ndevice = "cpu"\n'
            )
    done = workplace.load(
        *("--server", "q4_k_m,q8_0", "--profile", "closed", "--level", "2", "--requests", "8"),
        *("--warmup", "1", "--prompt-tokens", "16", "--output-tokens", "8"),
    )
    assert done.code in {0, 4}, done.err  # 4: the client was late on a busy machine
    assert [cell["requests"]["ok"] for cell in done.cells] == [8, 8]
    manifest = json.loads((done.run / "manifest.json").read_text())
    for name in FILE_TYPES:
        told = manifest["servers"][name.lower()]
        assert told["checkpoint"]["layout"] == name, "by the file"
        assert told["reported"]["quantization"].startswith(name.replace("_M", "")), "by the engine"
        assert told["scheme"] == name
        cell = next(one for one in done.cells if one["build"] == name.lower())
        assert cell["weights"] == name
    pages = {
        kind: workplace.harness("report", str(done.run), "--format", kind).out.replace("\\", "")
        for kind in ("markdown", "csv")
    }
    pages["html"] = (done.run / "report.html").read_text()
    missing = [kind for kind, text in pages.items() if not all(n in text for n in FILE_TYPES)]
    assert missing == []


def test_the_header_alone_tells(files: dict[str, Path]) -> None:
    for name, path in files.items():
        found = read_checkpoint(path)
        assert found is not None
        assert (found.method, found.layout, found.quantized) == ("gguf", name, True)


def test_what_it_is_not_is_refused(workplace: Workplace, files: dict[str, Path]) -> None:
    with (workplace.path / "harness.toml").open("a") as file:
        file.write(
            f'[builds.wrong]\nengine = "llama.cpp"\nmodel = "{files["Q8_0"]}"\n'
            'quantization = "q4_k_m"\n'
        )
    done = workplace.inside("load", "--server", "wrong", "--profile", "closed")
    assert done.code == 2
    assert "Q8_0" in done.err
