from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks.made.evaluation import MadeRun
from evals.perplexity.convention import Convention
from evals.records import Answer
from harness.quality.evaluate import evaluate
from harness.quality.evaluation import Evaluation
from harness.quality.passes import EVALS
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

WINDOWS = 50
CONVENTION = Convention(
    text="a.txt",
    text_sha256="a" * 64,
    tokenizer_sha256="b" * 64,
    documents="joined",
    join="\n\n",
    bos="<s>",
    window=101,
    stride=100,
    windows=WINDOWS,
    windows_in_all=WINDOWS,
    tokens=100 * WINDOWS,
    bytes=400 * WINDOWS,
    words=60 * WINDOWS,
)


def made(folder: Path, failed: int) -> Evaluation:
    answers = [
        Answer(
            item=f"window-{number:05d}",
            prompt_hash=f"{number:016x}",
            metric="perplexity",
            route="echo",
            score=0.0 if number < failed else 100 * (1 + number % 2 / 10),
            weight=100.0,
            scores={"bytes": 400.0, "words": 60.0},
            outcome="error" if number < failed else "scored",
            error="timeout: none" if number < failed else None,
        )
        for number in range(WINDOWS)
    ]
    run = MadeRun(folder, suites=["text"], kind="perplexity")
    run.add("gptq", answers, suite="text", route="echo")
    plan = msgspec.json.encode({"kind": "perplexity", "convention": CONVENTION})
    (folder / EVALS / "text" / run.passes[0].folder / "plan.json").write_bytes(plan)
    found = evaluate(run.folder())
    assert isinstance(found, Evaluation)
    return found


def test_the_number_comes_with_its_convention_and_other_units(tmp_path: Path) -> None:
    [suite] = made(tmp_path, 0).suites
    assert suite.metric == str(CONVENTION)
    assert suite.score == pytest.approx(math.exp(1.05))
    assert suite.further["byte_perplexity"] == pytest.approx(math.exp(105 / 400))
    assert suite.further["word_perplexity"] == pytest.approx(math.exp(105 / 60))
    assert suite.further["bits_per_byte"] == pytest.approx(105 / 400 / math.log(2))
    assert suite.caveats == []


def test_one_window_without_an_answer_is_told_as_another_text(tmp_path: Path) -> None:
    found = made(tmp_path, 1)
    caveats = {caveat.code: caveat for caveat in found.suites[0].caveats}
    assert "1 of 50 windows failed" in caveats["part_of_the_text"].text
    assert "4,900 of 5,000 tokens" in caveats["part_of_the_text"].text
    assert found.valid


def test_too_many_make_it_invalid(tmp_path: Path) -> None:
    assert not made(tmp_path, 5).valid


def test_a_convention_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    made(tmp_path, 0)
    [plan] = tmp_path.rglob("plan.json")
    plan.write_text("{")
    found = evaluate(RunFolder(next(tmp_path.rglob("manifest.json")).parent))
    assert isinstance(found, Evaluation)
    [caveat] = found.suites[0].caveats
    assert caveat.code == "part_of_the_text"
    assert "by which convention, cannot be told" in caveat.text
