from __future__ import annotations

import csv
import io
import math
import pkgutil
import re
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from benchmarks.made.evaluation import MadeRun, answers
from evals.records import Answer
from harness.errors import BadInputError
from harness.quality.evaluate import evaluate
from harness.quality.record import write_evaluation
from harness.reports import evaluation
from harness.reports.evaluation.terminal import print_evaluation

if TYPE_CHECKING:
    from pathlib import Path

    from harness.rundir import RunFolder

N = 200
EVIL = '</pre><script>alert("x")</script>\x1b[31m | `code` @everyone'


def right(*wrong: int) -> list[bool]:
    return [number not in wrong for number in range(N)]


@pytest.fixture
def made(tmp_path: Path) -> RunFolder:
    """FP16 against a build that lost 20 answers of category b and gained one of category a."""
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers(right(0)))
    ours = answers(right(*range(1, 41, 2)))
    ours[1].text, ours[1].prompt = EVIL, EVIL
    ours[2].outcome, ours[2].score = "truncated", 0.0
    run.add("gptq", ours)
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    return folder


def test_the_folder_is_the_registry() -> None:
    found = [
        module.name
        for module in pkgutil.iter_modules(evaluation.__path__)
        if hasattr(import_module(f"{evaluation.__name__}.{module.name}"), "REPORT")
    ]
    assert tuple(found) == evaluation.NAMES


@pytest.mark.parametrize("name", ["terminal", "markdown"])
def test_what_weights_and_kernel_a_build_has(name: str, made: RunFolder) -> None:
    text = " ".join(evaluation.load_report(name).render(made).split())
    assert "gptq (4-bit, group 128, MarlinLinearKernel): m on mock 1" in text


def test_an_unknown_format_is_told() -> None:
    with pytest.raises(BadInputError, match="markdown"):
        evaluation.load_report("markdwn")


@pytest.mark.parametrize("name", evaluation.NAMES)
def test_the_same_folder_gives_the_same_bytes(made: RunFolder, name: str) -> None:
    report = evaluation.load_report(name)
    assert report.render(made) == report.render(made)


@pytest.mark.parametrize("name", ["terminal", "markdown", "html"])
def test_what_must_be_said_is_said(made: RunFolder, name: str) -> None:
    text = evaluation.load_report(name).render(made)
    cut = "Cut off" if name == "html" else "1 cut off"
    for part in ("89.5 %", "99.5 %", "−10.00", "FAIL", cut):
        assert part in text, part
    flat = re.sub(r"\s+", " ", text)
    assert "b lost most" in flat
    assert "−21 +1" in flat
    assert "cut off at the output limit" in flat


@pytest.mark.parametrize(
    ("rise", "says"), [(0.03, "would have passed"), (0.2, "would have failed"), (None, None)]
)
def test_what_perplexity_alone_would_have_said(
    tmp_path: Path, rise: float | None, says: str | None
) -> None:
    run = MadeRun(tmp_path, baseline="fp16", suites=["domain", "text"])
    lost = () if rise is None else range(1, 41, 2)
    for build, wrong, more in (("fp16", (), 0.0), ("gptq", lost, rise or 0.0)):
        run.add(build, answers(right(*wrong)))
        windows = answers(right(), metric="perplexity", weight=100.0)
        for number, window in enumerate(windows):
            window.score = 70 + number % 5 + 100 * math.log1p(more)
        run.add(build, windows, suite="text")
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    for name in ("terminal", "markdown", "html"):
        text = re.sub(r"\s+", " ", evaluation.load_report(name).render(folder))
        assert ("text alone" in text) == (says is not None)
        assert says is None or f"text alone {says} this build" in text


def test_parts_stand_beside_the_baselines(made: RunFolder) -> None:
    page = evaluation.load_report("markdown").render(made)
    assert "| Category | Items | `fp16` | `gptq` |" in page
    [row] = [line for line in page.splitlines() if line.startswith("| b |")]
    assert row.startswith("| b | 100 | 100.0 % | 80.0 % (")
    text = evaluation.load_report("terminal").render(made)
    [row] = [line for line in text.splitlines() if line.startswith("b ")]
    assert row.split()[:6] == ["b", "100", "100.0", "%", "80.0", "%"]


def test_four_builds_have_room_on_a_terminal(tmp_path: Path) -> None:
    builds = ["gptq", "awq", "nf4", "damaged"]
    run = MadeRun(tmp_path, builds=builds, baseline="fp16")
    for build in ("fp16", *builds):
        found = answers(right(*range(1, 41, 2)) if build == "damaged" else right(0))
        for answer in found:
            answer.category = "velocity" if answer.category == "b" else "exposure"
        run.add(build, found)
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    out = io.StringIO()
    print_evaluation(folder, Console(file=out, width=80, highlight=False))
    text = out.getvalue()
    assert "…" not in text.replace(" … ", "")
    [row] = [line for line in text.splitlines() if line.startswith("velocity")]
    assert row.split()[1:] == ["100", *("100.0", "%") * 4, "80.0", "%", "▼"]
    assert "damaged: Quality score" in text


def test_markdown_escapes_what_builds_are_called(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, builds=["a|b"])
    run.add("a|b", answers(right()))
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    rows = [
        line
        for line in evaluation.load_report("markdown").render(folder).splitlines()
        if line.startswith("|")
    ]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 2  # scores, categories


def test_csv_has_a_row_an_answer(made: RunFolder) -> None:
    rows = list(csv.DictReader(io.StringIO(evaluation.load_report("csv").render(made))))
    assert len(rows) == 2 * N
    assert {(row["suite"], row["build"], row["pass"]) for row in rows} == {
        ("domain", "fp16", "idle"),
        ("domain", "gptq", "idle"),
    }
    assert set(Answer.__struct_fields__) <= set(rows[0])
    assert sum(float(row["score"]) for row in rows if row["build"] == "gptq") == N - 21


def test_a_run_without_any_answer_has_reports(tmp_path: Path) -> None:
    run = MadeRun(tmp_path)
    run.add("gptq", [], ended="refused", route=None, problem="nothing was proved")
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    for name in evaluation.NAMES:
        evaluation.load_report(name).render(folder)
    assert "NOT VALID" in evaluation.load_report("terminal").render(folder)
