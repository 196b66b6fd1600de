from __future__ import annotations

import csv
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from benchmarks.made.evaluation import MadeRun, answers
from harness.cli import run
from harness.errors import BadInputError
from harness.history.history import History
from harness.history.scan import scan
from harness.history.select import (
    Selection,
    parse_levels,
    parse_metrics,
    parse_since,
    read_history,
)
from harness.quality.evaluate import evaluate
from harness.quality.record import write_evaluation
from harness.reports.history import NAMES, load_report
from harness.rundir import RunFolder
from tests.harness.evidence.runs import HOST, a_cell, load_run

TTFT = Selection(metrics=("ttft_p50_ms",))


def day(number: int) -> str:
    return f"2026-11-{number:02d}T00:00:00+00:00"


def nightly(root: Path, values: list[float], **manifest: Any) -> None:  # noqa: ANN401
    """A run a night in which the median TTFT of awq at 8 streams was this."""
    for night, value in enumerate(values, start=1):
        cells = [a_cell(ttft_p50_ms=value)]
        load_run(root / f"run-{night:02d}", cells, started=day(night), **manifest)


def slower(root: Path) -> None:
    """Twelve nights, slower from the eighth on, when the engine and an argument changed."""
    for night in range(1, 13):
        new = night >= 8
        cell = a_cell(
            ttft_p50_ms=50 + night % 3 + 20 * new, engine_version="0.33.0" if new else "0.32.0"
        )
        argv = ["python", "--port=80" + str(night), "--dtype=float16", *["--enforce-eager"] * new]
        argv += ["--alias", f"n{night}", "--parallel", "4"]
        servers = {"awq": {"engine": "vllm", "argv": argv}}
        load_run(root / f"run-{night:02d}", [cell], started=day(night), servers=servers)


def test_a_metric_over_time_with_where_it_changed_and_what_changed_with_it(tmp_path: Path) -> None:
    slower(tmp_path)
    [series] = read_history(tmp_path, TTFT).series
    assert [point.run for point in series.points] == [f"run-{n:02d}" for n in range(1, 13)]
    assert series.points[0].value == 51
    assert series.tested == 12
    [change] = series.changes
    assert (change.run, change.side) == ("run-08", "worse")
    assert (change.before, change.after) == (51, 71)
    assert change.p_value < 0.05
    assert change.marks == ["engine 0.32.0 → 0.33.0", "with --enforce-eager"]
    manifest = tmp_path / "run-12" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"4"', '"-1"'))
    setups = scan(tmp_path, metrics=None).setups
    assert "--parallel=4" in setups["run-11", "awq"].arguments
    assert "--parallel=-1" in setups["run-12", "awq"].arguments
    assert [point.marks for point in series.points if point.run != "run-08"] == [[]] * 11


@pytest.mark.parametrize(
    "change",
    [
        {"host": {**HOST, "cores_usable": 1}},
        {"request": {"dialect": "openai-chat"}},
        {"profile": {"name": "closed", "prompt_tokens": 9}},
        {"cell": {"engine": "sglang"}},
        {"cell": {"model": "other"}},
        {"cell": {"lengths": "natural"}},
        {"cell": {"profile": "steady"}},
        {"cell": {"level": {"concurrency": 9.0}}},
        {"cell": {"level": {"rate": 8.0}}},
        {"cell": {"build": "gptq"}},
    ],
    ids=str,
)
def test_what_is_not_alike_is_another_series(tmp_path: Path, change: dict[str, Any]) -> None:
    load_run(tmp_path / "a", [a_cell()], started=day(1))
    load_run(tmp_path / "b", [a_cell()], started=day(2))
    manifest = dict(change)
    load_run(tmp_path / "c", [a_cell(**manifest.pop("cell", {}))], started=day(3), **manifest)
    series = read_history(tmp_path, TTFT).series
    assert sorted(len(one.points) for one in series) == [1, 2]


def test_repeats_of_a_run_are_one_point_and_invalid_ones_are_not_in_it(tmp_path: Path) -> None:
    cells = [
        a_cell(ttft_p50_ms=value, repeat=n, id=f"c{n}", valid=value < 90)
        for n, value in enumerate((50.0, 52.0, 99.0), start=1)
    ]
    load_run(tmp_path / "a", cells)
    load_run(tmp_path / "b", [a_cell(ttft_p50_ms=60, valid=False)], started=day(26))
    [series] = read_history(tmp_path, TTFT).series
    one, other = series.points
    assert (one.value, one.repeats, one.ci95, one.valid) == (51, 2, None, True)
    assert (other.value, other.repeats, other.ci95, other.valid) == (60, 1, (40.0, 60.0), False)
    assert series.tested == 1


def test_runs_are_listed_the_newest_first_with_those_that_are_made_of_others(
    tmp_path: Path,
) -> None:
    load_run(tmp_path / "old", [a_cell()], started=day(1))
    composite = RunFolder(tmp_path / "later" / "gate")
    load_run(composite.path / "load", [a_cell("fp16")], started=day(2))
    (composite.path / "quality").mkdir()
    graded = MadeRun(composite.path / "quality").add("gptq", answers([True] * 10)).folder()
    write_evaluation(graded, evaluate(graded))
    info = {"id": "gate", "started": day(3), "command": "harness gate"}
    composite.write_manifest({"kind": "gate", "run": info, "parts": ["load", "quality", "no"]})
    composite.write_json("gate.json", {"schema": 1, "verdict": "FAIL"})
    found = read_history(tmp_path, Selection(metrics=("score", "ttft_p50_ms")))
    assert [run.run for run in found.runs] == ["gate", "old"]
    gate, old = found.runs
    assert (gate.kind, gate.verdict, gate.builds) == ("gate", "FAIL", ["fp16", "gptq"])
    assert (gate.profiles, gate.suites) == (["closed"], ["domain"])
    assert (old.kind, old.valid, old.engines, old.commit) == (
        "load",
        True,
        ["vllm 0.32.0"],
        "c0ffee",
    )
    assert {point.run for one in found.series for point in one.points} == {"gate", "old"}
    assert not found.skipped


def test_broken_folders_are_named_and_left_out(tmp_path: Path) -> None:
    load_run(tmp_path / "good", [a_cell()])
    (tmp_path / "empty").mkdir()
    for name, text in (("torn", "{"), ("odd", "[]"), ("newer", '{"schema": 99}'), ("bare", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
    RunFolder(tmp_path / "bare").write_manifest({})
    begun = load_run(tmp_path / "begun", [a_cell()])
    (begun.path / "measurements.json").unlink()
    (tmp_path / "notes.txt").write_text("no run")
    (tmp_path / ".cache").mkdir()
    found = read_history(tmp_path, TTFT)
    assert [run.run for run in found.runs] == ["good"]
    why = {one.path.rpartition("/")[2]: one.why for one in found.skipped}
    assert set(why) == {"empty", "torn", "odd", "newer", "bare", "begun"}
    assert "no numbers yet" in why["begun"]
    assert "schema 99" in why["newer"]


def test_runs_of_older_harnesses_are_read() -> None:
    folder = Path(__file__).parents[2] / "fixtures" / "runs"
    found = read_history(folder, Selection(metrics=("e2e_p50_ms", "score")))
    assert {run.run for run in found.runs} == {path.name for path in folder.iterdir()}
    assert not found.skipped
    seen = {point.run for one in found.series for point in one.points if point.value is not None}
    assert any(name.startswith("schema-1-load-") for name in seen)
    assert any(name.startswith("schema-1-eval-") for name in seen)


def test_filters(tmp_path: Path) -> None:
    load_run(tmp_path / "a", [a_cell(), a_cell("fp16"), a_cell(concurrency=32)], started=day(1))
    load_run(tmp_path / "b", [a_cell(profile="steady", level={"rate": 8.0})], started=day(9))

    def series(**fields: Any) -> set[tuple[str, str | None, float]]:  # noqa: ANN401
        found = read_history(tmp_path, Selection(metrics=("ttft_p50_ms",), **fields)).series
        return {(one.build, one.profile, next(iter((one.level or {}).values()))) for one in found}

    awq, fp16, high, rate = (
        ("awq", "closed", 8.0), ("fp16", "closed", 8.0), ("awq", "closed", 32.0),
        ("awq", "steady", 8.0),
    )  # fmt: skip
    assert series() == {awq, fp16, high, rate}
    assert series(builds=("fp16",)) == {fp16}
    assert series(profiles=("steady",)) == {rate}
    assert series(levels=parse_levels("8")) == {awq, fp16, rate}
    assert series(levels=parse_levels("c8,32")) == {awq, fp16, high}
    assert series(levels=parse_levels("r8")) == {rate}
    assert series(since=parse_since("2026-11-05", dt.datetime.now(dt.UTC))) == {rate}
    with pytest.raises(BadInputError, match='did you mean "awq"'):
        series(builds=("awk",))


def test_categories_are_shown_when_asked_for(tmp_path: Path) -> None:
    graded = MadeRun(tmp_path / "r")
    (tmp_path / "r").mkdir()
    run_folder = graded.add("gptq", answers([True] * 10)).folder()
    write_evaluation(run_folder, evaluate(run_folder))

    def parts(*categories: str) -> list[str | None]:
        chosen = Selection(metrics=("score",), categories=categories)
        return [one.category for one in read_history(tmp_path, chosen).series]

    assert parts() == [None]
    assert parts("b") == [None, "b"]
    assert parts("all") == [None, "a", "b"]


def test_when_since_is() -> None:
    now = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
    assert parse_since("30d", now) == "2026-10-27T12:00:00+00:00"
    assert parse_since("12h", now) == day(26)
    assert parse_since("2026-11-01T02:00+02:00", now) == day(1)
    with pytest.raises(BadInputError, match="is no date"):
        parse_since("yesterday", now)


def test_a_metric_is_known_by_all_its_spellings() -> None:
    assert parse_metrics("sequence_tps_p50, score") == ("sequence_p50_tps", "score")
    with pytest.raises(BadInputError, match='did you mean "ttft_p95_ms"'):
        parse_metrics("ttft_p95_m")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "csv"])
def test_every_format_tells_the_change_and_what_was_skipped(tmp_path: Path, name: str) -> None:
    slower(tmp_path)
    (tmp_path / "empty").mkdir()
    text = load_report(name).render(read_history(tmp_path, TTFT))
    assert "run-08" in text
    assert "0.33.0" in text
    assert "manifest.json" in text.replace("\\", "")
    if name != "json":
        assert "Worse from 2026-11-08" in text.replace("\\", "")


def test_the_json_is_as_its_schema_says(tmp_path: Path) -> None:
    slower(tmp_path)
    found = json.loads(load_report("json").render(read_history(tmp_path, TTFT)))
    jsonschema.validate(found, msgspec.json.schema(History))
    assert found["series"][0]["changes"][0]["side"] == "worse"


def test_a_page_draws_all_runs_and_lets_no_markup_through(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    slower(tmp_path)
    cell = msgspec.structs.replace(a_cell(evil, model=evil), id="evil-steady-r10-1")
    load_run(tmp_path / "evil", [cell], started=day(20))
    page = load_report("html").render(read_history(tmp_path, TTFT))
    assert page.count('<circle class="dot"') == 13
    assert page.count('<line class="change worse"') == 1
    assert page.count('<line class="stretch"') == 2
    assert evil not in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_command_prints_the_flat_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_run(tmp_path / "runs" / "a", [a_cell("=1+1", ttft_p50_ms=51.5)])
    assert run(["history", "--runs", str(tmp_path / "runs"), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    [row] = [row for row in rows if row["metric"] == "ttft_p50_ms"]
    assert (row["value"], row["ci95_low"], row["level_kind"], row["level"]) == (
        "51.5", "40.0", "concurrency", "8.0",
    )  # fmt: skip
    assert row["build"] == "'=1+1", "no spreadsheet takes it for a formula"
    assert len(rows) > 70


def test_the_command_writes_a_page_with_the_usual_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nightly(tmp_path / "runs", [50.0, 51.0])
    out = tmp_path / "history.html"
    assert run(["history", "--runs", str(tmp_path / "runs"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    page = out.read_text()
    assert all(name in page for name in ("ttft_p50_ms", "aggregate_tps", "run-02"))


def test_without_runs_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["history", "--metric", "ttft_p50_ms"]) == 0
    assert "No run" in capsys.readouterr().err
    assert run(["history", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--metric", "ttft_p95_m"], 'did you mean "ttft_p95_ms"'),
        (["--runs", "nowhere"], "no folder nowhere"),
        (["--level", "many"], "is no level"),
        (["--since", "soon"], "is no date"),
        (["--format", "htm"], 'did you mean "html"'),
        (["--out", "history.pdf"], "names no format"),
        (["--json", "--format", "csv"], "give one of both"),
        (["--build", ","], "names nothing"),
    ],
)
def test_bad_input_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["history", *arguments]) == 2
    assert text in capsys.readouterr().err


def test_a_comparison_of_earlier_runs_is_listed_and_measures_nothing_anew(tmp_path: Path) -> None:
    earlier = load_run(tmp_path / "a", [a_cell()], started=day(1))
    compared = RunFolder(tmp_path / "b")
    compared.path.mkdir()
    info = {"id": "b", "started": day(2), "command": "harness compare runs/a"}
    compared.write_manifest(
        {"kind": "comparison", "run": info, "parts": [], "runs": [str(earlier.path)]}
    )
    compared.write_json("comparison.json", {"schema": 1, "recommendation": {"verdict": "PASS"}})
    found = read_history(tmp_path, TTFT)
    assert [(run.run, run.builds, run.verdict) for run in found.runs] == [
        ("b", ["awq"], "PASS"),
        ("a", ["awq"], None),
    ]
    assert [len(series.points) for series in found.series] == [1]
