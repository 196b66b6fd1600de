"""`harness quantize` with a stand-in for llm-compressor: what is refused, and what is left."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest

import launchers
from evals.transactions import generate
from harness.__main__ import main
from harness.config import find_build, load_config
from harness.quantizing.card import Quantization
from harness.quantizing.model import quantized_build, source_of
from harness.quantizing.readme import readme, skip_worst
from launchers.model import resolve_model
from launchers.quantize.plan import Failed, Layer, Plan, Written, encode

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = Path(__file__).parents[3] / "docs" / "schemas" / "quantization.json.schema.json"


def layer(name: str, error: float | None) -> Layer:
    return Layer(
        name=f"model.layers.{name}", rows=8, columns=128, weight_error=0.1, output_error=error
    )


MODELS = Path(launchers.__file__).parent / "models"
LAYERS = (
    layer("1.self_attn.q_proj", 0.3),
    layer("0.mlp.down_proj", 0.2),
    layer("1.self_attn.k_proj", None),
)
WRITTEN = Written(
    layers=LAYERS,
    kept=("lm_head",),
    kept_beside=(),
    error_samples=16,
    recipe="stage:\n",
    device="cpu",
    dtype="float16",
    threads=1,
    versions={"llmcompressor": "0"},
    seconds={"load": 1.0, "save": 2.0},
)
WRITING = """
for name in ("config.json", "recipe.yaml"):
    text = pathlib.Path(MODELS, "demo-gptq", name).read_text()
    pathlib.Path(plan["out"], name).write_text(text)
samples = json.load(open(plan["samples"]))
pathlib.Path("plan.json").write_text(json.dumps(plan | {"ids": samples}))
"""


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["harness", "quantize", "fp16"])


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """A program in Python's place."""

    def make(event: Written | Failed = WRITTEN, body: str = WRITING) -> str:
        path = tmp_path / "python"
        code = [f"#!{sys.executable}", "import json, pathlib, sys", f"MODELS = {str(MODELS)!r}"]
        code += ["plan = json.loads(sys.stdin.buffer.readline())", body]
        code += [f"print({encode(event).decode()!r}, flush=True)"]
        path.write_text("\n".join(code))
        path.chmod(0o755)
        return str(path)

    return make


def quantized(*argv: str) -> int:
    length = [] if "--sequence-length" in argv else ["--sequence-length", "64"]
    held = [] if "--evaluation" in argv else ["--evaluation", "perplexity"]
    return main(["quantize", "fp16", "--method", "gptq", *length, *held, *argv])


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run what must be refused; return what is said of it."""
    assert quantized(*argv) == 2
    return capsys.readouterr().err


def test_a_checkpoint_comes_with_its_card_and_its_build(
    tmp_path: Path, python: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["quantize", "fp16", "--method", "gptq", "--sequence-length", "64", "--seed", "7"]
    argv += ["--samples", "20", "--out", "made", "--python", python(), "--json"]
    assert main(argv) == 0
    folder = tmp_path / "made"
    card = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "quantization.json").read_bytes()) == card
    jsonschema.validate(card, json.loads(SCHEMA.read_bytes()))
    assert [one["samples"] for one in card["calibration"]["sources"]] == [14, 6]
    plan = json.loads((tmp_path / "plan.json").read_bytes())
    decoded = msgspec.convert({key: plan[key] for key in plan if key != "ids"}, Plan)
    assert (decoded.method, decoded.group_size, decoded.seed) == ("gptq", 128, 7)
    assert len(plan["ids"]) == 20
    drawn = card["calibration"]["drawn"]
    assert [one["tokens"] for one in drawn] == [len(ids) for ids in plan["ids"]]
    assert not Path(plan["samples"]).exists(), "nobody needs them later"
    assert card["model"]["weights"]["sha256"]
    assert {one["suite"] for one in card["contamination"]["suites"]} >= {"domain", "general"}
    assert "standard" in card["contamination"]["not_checked"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "plan.json", "python"]


def test_the_build_is_served_from_the_folder(tmp_path: Path, python: Callable[..., str]) -> None:
    assert quantized("--samples", "20", "--out", "a b", "--python", python(), "--quiet") == 0
    path = tmp_path / "a b" / "build.toml"
    build, folder = find_build(str(path), load_config())
    assert build.name == "a-b"
    assert (build.quantization, build.dtype, build.max_model_len) == ("gptq", "float16", 2048)
    assert build.environment == {"VLLM_CPU_KVCACHE_SPACE": "1"}, "as the build fp16"
    assert resolve_model(build, folder).folder == tmp_path / "a b"
    assert tomllib.loads(path.read_text())["model"] == "."


def test_the_page_is_a_function_of_the_card_and_names_the_worst_with_what_is_fused(
    tmp_path: Path,
    python: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--skip", "*.k_proj"])
    assert quantized("--samples", "20", "--out", "made", "--python", python()) == 0
    said = capsys.readouterr().out
    flags = (
        "--skip lm_head,model.layers.1.self_attn.q_proj,model.layers.1.self_attn.k_proj,"
        "model.layers.0.mlp.down_proj"
    )
    page = (tmp_path / "made" / "README.md").read_text()
    assert flags in page
    assert "| model.layers.1.self_attn.k_proj | 8×128 | not measured | 10.00% |" in page
    assert flags in said
    assert "caveat: 20 calibration samples; 128 to 512 are usual." in said
    data = (tmp_path / "made" / "quantization.json").read_bytes()
    card = msgspec.json.decode(data, type=Quantization)
    assert readme(card, "made") == page
    assert card.command == "harness quantize fp16 --skip '*.k_proj'", "as a shell takes it"
    assert skip_worst(msgspec.structs.replace(card, skip=("*.k_proj",))).startswith("--skip '*.k")


def test_what_was_passed_over_is_said(
    tmp_path: Path, python: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    left = ("model.layers.*.mlp.experts.gate_up_proj",)
    written = msgspec.structs.replace(WRITTEN, left=left, left_share=0.75)
    argv = ["--samples", "20", "--out", "made", "--skip", "", "--python", python(written)]
    assert quantized(*argv) == 0
    said = f"caveat: {left[0]} (75.0% of the weights) kept float16, though nothing says to skip"
    assert said in capsys.readouterr().out
    assert left[0] in (tmp_path / "made" / "README.md").read_text()
    assert json.loads((tmp_path / "plan.json").read_bytes())["skip"] == ["lm_head"]
    assert quantized(*argv[:3], "b", "--skip", "*.k_proj", "--python", python(written)) == 0
    assert json.loads((tmp_path / "plan.json").read_bytes())["skip"] == ["lm_head", "*.k_proj"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error", "/nowhere/model.safetensors"), "MODEL: cannot read /now"),
        (OSError(28, "No space left on device"), "--out: cannot write made: No space"),
    ],
)
def test_what_cannot_be_read_is_not_called_what_cannot_be_written(
    error: OSError,
    said: str,
    python: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*_: object) -> Written:
        raise error

    monkeypatch.setattr("harness.quantizing.run.compress", failing)
    argv = ["--samples", "20", "--out", "made", "--python", python()]
    assert said in told(capsys, *argv)


def stolen(tmp_path: Path, count: int = 40) -> str:
    path = tmp_path / "mine.jsonl"
    lines = [{"input": q.prompt, "expected": q.answer} for q in generate(1, count, "eval")]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_samples_that_hold_what_is_asked_are_refused(
    tmp_path: Path, python: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--domain", stolen(tmp_path), "--samples", "20", "--sequence-length", "128"]
    argv += ["--python", python(), "--out", "made", "--evaluation", "domain"]
    said = told(capsys, *argv)
    assert "of 1400 items share 13 words in a row with samples" in said
    assert "6 stand in them whole" in said
    assert "--allow-contaminated" in said
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "plan.json").exists(), "nothing was begun"
    assert quantized(*argv, "--allow-contaminated") == 0
    card: dict[str, Any] = json.loads((tmp_path / "made" / "quantization.json").read_bytes())
    found = {one["suite"]: one for one in card["contamination"]["suites"]}
    assert found["domain"]["exact"] == 6
    assert len(found["domain"]["examples"]) == 3
    assert card["contamination"]["allowed"]
    assert any("scores there are flattered" in text for text in card["caveats"])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--mix", "7030"], '--mix: "7030" should be GENERAL:DOMAIN'),
        (["--group-size", "100"], "--group-size: 100 should be one of 32, 64, 128"),
        (["--sequence-length", "4096"], "--sequence-length: 4096 is more than the model's context"),
        (["--general", "./nowhere.txt"], "--general: nowhere.txt: cannot read"),
        (["--domain", "embedded:poems"], "--domain: embedded:poems: known are embedded:"),
        (["--domain", "perplexity"], "--domain: what the suite perplexity asks cannot be"),
        (["--evaluation", "domian"], 'did you mean "domain"?'),
        (["--samples", "100000"], "--general: its text makes"),
        (["--out", "taken"], "--out: taken is there already"),
        (["--skip", "a,,b"], "--skip: an empty name"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(
    argv: list[str],
    said: str,
    tmp_path: Path,
    python: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert said in told(capsys, "--python", python(), *argv)
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("demo:gptq", "is quantized already"),
        ("org/unknown", "org/unknown is not in the model hub's cache"),
        ("./nowhere", "no folder"),
    ],
)
def test_a_model_that_cannot_be_quantized_is_named(
    model: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert main(["quantize", model, "--method", "awq"]) == 2
    assert said in capsys.readouterr().err


def test_a_hub_model_is_taken_in_the_revision_that_its_build_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--org--mine"
    (home / "refs").mkdir(parents=True)
    for revision, commit in (("main", "a" * 40), ("dev", "b" * 40)):
        (home / "refs" / revision).write_text(commit)
        (home / "snapshots" / commit).mkdir(parents=True)
        (home / "snapshots" / commit / "config.json").write_text("{}")
    build = tmp_path / "mine.toml"
    build.write_text('name = "x"\nmodel = "org/mine"\n[arguments]\nrevision = "dev"\n')
    source = source_of(str(build), load_config())
    assert source.folder.name == "b" * 40
    assert source.name == "mine", "the default --out begins with it"
    assert quantized_build(source, "made", "gptq", "float16").arguments == {}
    assert source_of("org/mine", load_config()).folder.name == "a" * 40


def test_a_model_of_ones_own_needs_a_text_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    assert main(["quantize", "./mine", "--method", "awq"]) == 2
    assert "--domain is missing: --mix 70:30 wants text of your domain" in capsys.readouterr().err


def test_lines_without_text_are_told_by_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "good"}\n{"question": "?"}\n')
    assert f"--domain: {path}:2: should be an object with text" in told(
        capsys, "--domain", str(path)
    )
    path.write_text('{"text": "good"}\n\n{"text": 5}\n')
    assert f"--domain: {path}:3: Expected" in told(capsys, "--domain", str(path))


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        (Failed(error="PlanError", text="--skip: no layer"), WRITING, 2),
        (Failed(error="QuantizeError", text="out of memory"), WRITING, 3),
        (WRITTEN, WRITING + "\nsys.exit(9)", 3),
    ],
)
def test_nothing_is_left_of_what_failed(
    event: Written | Failed, body: str, code: int, tmp_path: Path, python: Callable[..., str]
) -> None:
    assert quantized("--samples", "20", "--out", "made", "--python", python(event, body)) == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "python"]


def test_an_interrupt_leaves_nothing(
    tmp_path: Path, python: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Written:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.quantizing.run.compress", interrupted)
    assert quantized("--samples", "20", "--out", "made", "--python", python()) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["python"]
