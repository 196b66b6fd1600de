"""Items of lm-eval's tasks in the calibration text, with a stand-in for llm-compressor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engines import needs
from tests.evals.lmeval.test_texts import QUESTION, own_task
from tests.harness.quantizing.test_quantize_cli import (
    _workplace,  # noqa: F401 - a fixture
    python,  # noqa: F401 - a fixture
    quantized,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

needs_lm_eval = needs("lm-eval")


@pytest.fixture
def domain(tmp_path: Path) -> list[str]:
    """Flags of a domain text that holds the one item of the task `own`, of a suite by its side."""
    own_task(tmp_path)
    lines = [{"text": f"Case {n}: {QUESTION if n == 3 else 'nothing of note was seen.'}"}
             for n in range(6)]  # fmt: skip
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "harness.toml").write_text(
        '[suites.asked.lmeval]\ninclude_path = "."\n[suites.asked.lmeval.tasks]\nown = 0\n'
    )
    return ["--domain", "mine.jsonl", "--samples", "20", "--sequence-length", "128"]


@needs_lm_eval
def test_a_sample_that_holds_an_item_is_refused_and_the_item_named(
    tmp_path: Path,
    python: Callable[..., str],  # noqa: F811 - the fixture
    domain: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = [*domain, "--python", python(), "--out", "made", "--evaluation", "asked"]
    said = told(capsys, *argv)
    assert "asked: 1 of 1 items share 13 words in a row with samples, 1 stand in them whole" in said
    assert f"own/0: Question: {QUESTION[:50]}" in said
    assert not (tmp_path / "plan.json").exists(), "nothing was begun"
    assert quantized(*argv, "--allow-contaminated") == 0
    card = json.loads((tmp_path / "made" / "quantization.json").read_bytes())
    [checked] = card["contamination"]["suites"]
    assert (checked["suite"], checked["exact"], checked["examples"]) == ("asked", 1, ["own/0"])


@needs_lm_eval
def test_a_task_without_its_data_is_said_not_to_be_checked(
    tmp_path: Path,
    python: Callable[..., str],  # noqa: F811 - the fixture
    domain: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    own_task(tmp_path, "gone", there=False)
    toml = tmp_path / "harness.toml"
    toml.write_text(toml.read_text() + "gone = 0\n")
    argv = ["--python", python(), "--out", "made"]
    said = told(capsys, *domain, *argv, "--evaluation", "asked")
    assert "--evaluation: asked: gone cannot be loaded" in said
    assert quantized("--samples", "20", *argv, "--evaluation", "") == 2
    from harness.__main__ import main

    assert main(["quantize", "fp16", "--method", "gptq", "--samples", "20", *argv]) == 0
    out = capsys.readouterr().out
    assert "not checked for contamination: asked: gone: gone cannot be loaded" in out
    card = json.loads((tmp_path / "made" / "quantization.json").read_bytes())
    assert "asked" in [one["suite"] for one in card["contamination"]["suites"]]
    assert "asked: gone" in card["contamination"]["not_checked"]
    page = (tmp_path / "made" / "README.md").read_text()
    assert "Not checked: asked: gone: gone cannot be loaded" in page
    assert "Not checked: standard:" in page
