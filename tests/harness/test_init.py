"""`harness init`: what it writes is read, as it is and with every example taken."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.cli import run
from harness.config import NAMED, SINGLE, load_config
from harness.configschema import SCHEMA_FILE, json_schema
from harness.errors import BadInputError
from harness.starter import look_at, starter
from launchers.model import MODELS

CHECKPOINTS = Path(__file__).parents[1] / "launchers" / "checkpoints"
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def checkpoint(name: str, source: str) -> Path:
    """A folder with a checkpoint's configuration and nothing that takes room."""
    return Path(shutil.copytree(CHECKPOINTS / source, name))


def taken(text: str) -> str:
    """The file with the `#` taken from every example."""
    return re.sub(r'^#(?=[\[\w"])', "", text, flags=re.MULTILINE)


def builds(text: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(text)["builds"]
    return found


def rows(capsys: Captured) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert run(["list", "servers", "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_without_a_model_nothing_changes_until_it_is_taken(capsys: Captured) -> None:
    assert run(["init"]) == 0
    text = Path("harness.toml").read_text()
    assert text.startswith(f"#:schema ./{SCHEMA_FILE}\n")
    assert tomllib.loads(text) == {}
    assert {row["from"] for row in rows(capsys).values()} == {"shipped"}
    Path("harness.toml").write_text(taken(text))
    config = load_config()
    assert tomllib.loads(taken(text)).keys() == {*NAMED, *SINGLE}
    assert config.builds.keys() == {"fp16", "awq", "nf4"}
    assert rows(capsys)["fleet"]["starts"].startswith("runs at https://a.example/v1, ")


def test_every_table_has_an_example() -> None:
    jsonschema.validate(tomllib.loads(taken(starter(None))), json_schema())


def test_four_builds_of_a_model(capsys: Captured) -> None:
    checkpoint("models/tiny-bf16", "bf16")
    (Path("models/tiny-bf16") / "config.json").write_text(
        json.dumps({"dtype": "bfloat16", "max_position_embeddings": 32768})
    )
    checkpoint("models/tiny-AWQ", "autoawq")
    assert run(["init", "--model", "models/tiny-bf16"]) == 0
    found = builds(Path("harness.toml").read_text())
    assert {name: one["model"] for name, one in found.items()} == {
        "bf16": "./models/tiny-bf16",
        "gptq": "./models/tiny-gptq",
        "awq": "./models/tiny-AWQ",
        "nf4": "./models/tiny-bf16",
    }
    assert found["nf4"]["arguments"] == {"quantization": "bitsandbytes"}
    assert {one["max_model_len"] for one in found.values()} == {8192}
    assert "# of 32768" in Path("harness.toml").read_text()
    listed = rows(capsys)
    assert "no folder" in listed["gptq"]["problem"]
    assert (
        "harness quantize ./models/tiny-bf16 --method gptq --domain OURS.jsonl --out"
        in Path("harness.toml").read_text()
    )
    for name in ("bf16", "awq", "nf4"):
        assert "model" not in (listed[name]["problem"] or ""), name


def test_a_model_of_the_hub() -> None:
    assert run(["init", "--model", "org/Model-7B"]) == 0
    found = builds(Path("harness.toml").read_text())
    assert [one["model"] for one in found.values()] == [
        "org/Model-7B",
        "./models/Model-7B-gptq",
        "./models/Model-7B-awq",
        "org/Model-7B",
    ]
    load_config()


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("autogptq", "gptq", "4-bit, group 128, sym"),
        ("autoawq", "awq", "4-bit, group 128, asym"),
        ("ct-w8a8", "int8", "8-bit, per channel, sym, activations int8 dynamic"),
        ("ct-fp8", "fp8", "8-bit float"),
        ("ct-w4a16", "int4", "4-bit, group 128, sym"),
        ("bnb-nf4", "nf4", "nf4"),
        ("bnb-int8", "int8", "8-bit"),
        ("fp8-block", "fp8", "per block 128x128"),
    ],
)
def test_a_model_that_is_quantized(source: str, name: str, words: str, capsys: Captured) -> None:
    checkpoint("tiny", source)
    assert run(["init", "--model", "tiny"]) == 0
    text = Path("harness.toml").read_text()
    assert list(builds(text)) == [name]
    assert words in text
    assert "quantization" not in (rows(capsys)[name]["problem"] or "")
    tomllib.loads(taken(text))


def test_a_gguf_file(capsys: Captured) -> None:
    [source] = (MODELS / "demo-gguf-q4_0").glob("*.gguf")
    Path("models").mkdir()
    shutil.copy(source, "models/tiny.gguf")
    assert run(["init", "--model", "models/tiny.gguf"]) == 0
    found = builds(Path("harness.toml").read_text())
    with pytest.raises(BadInputError, match="name one"):
        look_at("models", Path.cwd())
    assert found == {
        "q4_0": {
            "engine": "llama.cpp",
            "model": "./models/tiny.gguf",
            "quantization": "q4_0",
            "max_model_len": 2048,
        }
    }
    row = rows(capsys)["q4_0"]
    assert row["weights"] == "Q4_0"
    assert "field" not in (row["problem"] or "")


def test_the_shipped_ones_lie_beside_each_other(tmp_path: Path) -> None:
    found = look_at(str(MODELS / "demo-fp16"), tmp_path)
    made = builds(starter(found))
    assert [Path(one["model"]).name for one in made.values()] == [
        "demo-fp16",
        "demo-gptq",
        "demo-awq",
        "demo-fp16",
    ]


def test_what_is_there_stays(capsys: Captured) -> None:
    Path("harness.toml").write_text("# mine\n")
    assert run(["init"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("harness.toml").read_text() == "# mine\n"
    assert not Path(SCHEMA_FILE).exists()
    assert run(["init", "--force"]) == 0
    assert "mine" not in Path("harness.toml").read_text()
    assert run(["init", "--out", "sub/harness.toml"]) == 2
    assert "no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("none", "no folder none"),
        ("models/none", "no folder"),
        ("demo:fp16", "no folder"),
        ("file", "is a file"),
        ("not.gguf", "is no GGUF file"),
        ("empty", "no config.json"),
    ],
)
def test_what_is_no_model(model: str, problem: str, tmp_path: Path) -> None:
    for name in ("models", "empty"):
        Path(name).mkdir()
    for name in ("file", "not.gguf"):
        Path(name).write_text("")
    with pytest.raises(BadInputError, match=problem):
        look_at(model, tmp_path)
    assert run(["init", "--model", model]) == 2
    assert not Path("harness.toml").exists()


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    schema = json_schema()
    for text in (
        "[build.x]\nmodel = 'm'",
        "[builds.x]\nmodell = 'm'",
        "[builds.x]\n",
        "[defaults]\nrepeat = 3",
        "[servers.x]\nmodel = 'm'",
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(text), schema)
    for text in ("[builds.x]\nmodel = 'm'", "[capacity]\nprice_per_gpu_hour = { a = 1.0 }"):
        jsonschema.validate(tomllib.loads(text), schema)
