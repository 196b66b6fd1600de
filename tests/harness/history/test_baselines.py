from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from benchmarks.made.evaluation import MadeRun, answers
from harness.cli import run
from harness.cli.eval import baseline_of
from harness.cli.gate import who
from harness.config import load_config
from harness.errors import BadInputError, InvalidRunError
from harness.evidence.evidence import read_evidence
from harness.evidence.figures import figures
from harness.gating.request import Finished
from harness.history.baselines import all_baselines, bless, find_baseline, read_baseline
from harness.history.select import Selection, read_history
from harness.measuring.measurement import Caveat
from harness.quality.baseline import check_run, find_run
from harness.quality.evaluate import evaluate
from harness.quality.record import write_evaluation
from harness.quality.request import EarlierRun
from harness.rundir import CELLS, RunFolder
from tests.harness.evidence.runs import HOST, a_cell, load_run

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = ["harness", "gate", "awq", "--baseline", "fp16", "--bless", "main"]


def graded(path: Path, right: int = 36, **last: object) -> RunFolder:
    """An evaluation of awq against fp16."""
    path.mkdir(parents=True)
    run = MadeRun(path, builds=["fp16", "awq"], baseline="fp16")
    run.add("fp16", answers([True] * 40)).add(
        "awq", answers([n < right for n in range(40)]), **last
    )
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    return folder


def composite(path: Path, **last: object) -> RunFolder:
    """A gate of a load run and an evaluation."""
    visits = [{"build": build, "visit": 1, "ready_s": 20.0} for build in ("fp16", "awq")]
    cells = [a_cell("fp16", ttft_p50_ms=40), a_cell(ttft_p50_ms=30)]
    load = load_run(path / "load", cells, visits=visits)
    samples = load.cell("awq-closed-c8-1") / "samples.jsonl"
    samples.write_text("{}\n")
    graded(path / "quality", **last)
    run = RunFolder(path)
    info = {"id": path.name, "started": "2026-11-25T00:00:00+00:00", "command": "harness gate"}
    run.write_manifest({"kind": "gate", "run": info, "parts": ["quality", "load"], "host": HOST})
    return run


def test_a_blessed_build_is_read_back_with_its_numbers(tmp_path: Path) -> None:
    run = composite(tmp_path / "runs" / "g")
    kept = bless(run, "awq", "main", command=COMMAND, folder=tmp_path / "baselines")
    shutil.rmtree(run.path)  # a baseline outlives its run
    there = figures(read_evidence([kept]))
    told = {(one.metric, one.category): one.value for one in there if one.build == "awq"}
    assert {one.build for one in there} == {"awq"}
    assert told["ttft_p50_ms", None] == 30
    assert told["score", None] == 0.9
    assert ("retained", None) not in told, "it is a baseline, and against nobody"
    assert (kept.path / "load" / CELLS / "awq-closed-c8-1" / "samples.jsonl").is_file()
    assert not list(kept.path.glob("**/*fp16*"))


def test_a_baseline_says_where_it_comes_from(tmp_path: Path) -> None:
    run = composite(tmp_path / "runs" / "g")
    kept = read_baseline(bless(run, "awq", "main", command=COMMAND, folder=tmp_path))
    assert (kept.name, kept.build, kept.replaced) == ("main", "awq", None)
    assert kept.run.command == "harness gate awq --baseline fp16 --bless main"
    assert [one.part for one in kept.sources] == kept.parts == ["quality", "load"]
    assert kept.sources[1].git == {"commit": "c0ffee", "dirty": False}
    assert kept.sources[1].command == "harness load --server awq --profile closed"
    assert {one.engine_version for one in kept.origins} == {"0.32.0", "1"}
    assert any(one.machine.startswith("AMD-EPYC-7763-2c-") for one in kept.origins)
    assert kept.blessed_by


def test_eval_takes_a_baseline_by_path_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bless(composite(tmp_path / "runs" / "g"), "awq", "main", command=COMMAND)
    found = find_run("baselines/main")
    assert found is not None
    check_run(found, ["domain"])
    assert found.build == "awq"
    by_name = baseline_of("main", load_config(None))
    assert isinstance(by_name, EarlierRun)
    assert by_name.run.path == found.run.path


def test_a_builds_name_stays_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bless(graded(tmp_path / "r"), "awq", "fp16", command=COMMAND)
    assert not isinstance(baseline_of("fp16", load_config(None)), EarlierRun)


def test_a_replaced_baseline_is_kept_with_its_date(tmp_path: Path) -> None:
    for right in (30, 34, 38):
        run = graded(tmp_path / f"r{right}", right)
        bless(run, "awq", "v1.0", command=COMMAND, folder=tmp_path / "b")
    kept = [one for _, one in all_baselines(tmp_path / "b")]
    assert len(kept) == 3
    dated = [path.name for path in (tmp_path / "b").iterdir() if path.name.startswith("v1.0@2")]
    assert sorted(dated) == sorted(one.replaced for one in kept if one.replaced)
    assert len(dated) == 2
    scores = []
    for name in ("v1.0", *dated):
        folder = find_baseline(name, tmp_path / "b")
        assert folder is not None
        found = figures(read_evidence([folder]), metrics=["score"])
        scores += [one.value for one in found if one.category is None]
    assert scores[0] == 38 / 40
    assert sorted(scores[1:]) == [30 / 40, 34 / 40]
    assert find_baseline("v2", tmp_path / "b") is None
    assert find_baseline("../b/v1.0", tmp_path / "b") is None


def test_an_invalid_run_is_not_blessed(tmp_path: Path) -> None:
    cells = [a_cell(valid=False), a_cell("fp16")]
    run = load_run(tmp_path / "r", cells)
    with pytest.raises(InvalidRunError, match="awq-closed-c8-1"):
        bless(run, "awq", "main", command=COMMAND, folder=tmp_path / "b")
    assert not (tmp_path / "b").exists()
    bless(run, "fp16", "main", command=COMMAND, folder=tmp_path / "b")
    lost = Caveat("worker_lost", "A worker was lost.", invalidates=True)
    other = load_run(tmp_path / "o", [a_cell()], caveats=[lost])
    with pytest.raises(InvalidRunError, match="A worker was lost"):
        bless(other, "awq", "main", command=COMMAND, folder=tmp_path / "b")


def test_an_unfinished_evaluation_is_not_blessed(tmp_path: Path) -> None:
    run = composite(tmp_path / "g", ended="under_way", items=50)
    with pytest.raises(InvalidRunError, match="40 of 50 items"):
        bless(run, "awq", "main", command=COMMAND, folder=tmp_path / "b")


@pytest.mark.parametrize(
    ("build", "name", "text"),
    [
        ("awk", "main", 'did you mean "awq"'),
        ("awq", "../main", "cannot name a baseline"),
        ("awq", "a@b", "cannot name a baseline"),
        ("awq", ".hidden", "cannot name a baseline"),
    ],
)
def test_what_cannot_be_blessed(tmp_path: Path, build: str, name: str, text: str) -> None:
    run = graded(tmp_path / "r")
    with pytest.raises(BadInputError, match=text):
        bless(run, build, name, command=COMMAND, folder=tmp_path / "b")


def test_a_folder_that_is_no_baseline_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b" / "main").mkdir(parents=True)
    (tmp_path / "b" / "main" / "thesis.txt").write_text("mine")
    with pytest.raises(BadInputError, match="is no baseline"):
        bless(graded(tmp_path / "r"), "awq", "main", command=COMMAND, folder=tmp_path / "b")
    assert (tmp_path / "b" / "main" / "thesis.txt").read_text() == "mine"


def test_baselines_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bless(composite(tmp_path / "g"), "awq", "main", command=COMMAND, folder=tmp_path / "b")
    assert run(["list", "baselines", "--folder", str(tmp_path / "b"), "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["name"], row["build"], row["runs"]) == ("main", "awq", ["made", "load"])
    assert row["engines"] == ["vllm 0.32.0", "mock 1"]
    assert run(["list", "baselines", "--folder", str(tmp_path / "none")]) == 0


def test_of_a_gate_the_candidates_numbers_are_blessed_though_the_baseline_has_its_name(
    tmp_path: Path,
) -> None:
    run = RunFolder(tmp_path / "gate")
    load_run(run.path / "load-old", [a_cell(ttft_p50_ms=40, valid=False)])
    load_run(run.path / "load-new", [a_cell(ttft_p50_ms=30)])
    info = {"id": "gate", "started": "2026-11-25T00:00:00+00:00", "command": "harness gate"}
    candidate = {"build": "awq", "parts": ["load-new"], "run": None}
    baseline = {"build": "awq", "parts": ["load-old"], "run": "runs/earlier"}
    parts = ["load-old", "load-new"]
    run.write_manifest(
        {"kind": "gate", "run": info, "parts": parts, "candidate": candidate, "baseline": baseline}
    )
    kept = bless(run, "awq", "main", command=COMMAND, folder=tmp_path / "b")
    [one] = figures(read_evidence([kept]), metrics=["ttft_p50_ms"])
    assert one.value == 30
    assert read_baseline(kept).parts == ["load"]
    seen = read_history(tmp_path, Selection(metrics=("ttft_p50_ms",)))
    [series] = seen.series
    assert [point.value for point in series.points] == [30], "a copy is no new measurement"


def test_a_gate_does_not_read_old_numbers_for_a_build_that_a_baseline_is_called_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("fp16", "main"):
        bless(graded(tmp_path / f"run-{name}"), "awq", name, command=COMMAND)
    config, folder = load_config(None), tmp_path / "baselines"
    assert not isinstance(who("fp16", config, "CANDIDATE", folder), Finished)
    for named in ("main", "baselines/fp16"):
        found = who(named, config, "--baseline", folder)
        assert isinstance(found, Finished)
        assert found.build == "awq"
