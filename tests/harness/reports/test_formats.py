"""All formats, on all kinds of runs."""

from __future__ import annotations

import csv
import io
import json
import pkgutil
import re
import shutil
from html import unescape
from typing import TYPE_CHECKING

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

import harness.reports
from harness.cli.report import report
from harness.errors import BadInputError
from harness.measuring.measurement import Caveat, Measurements, Sessions, Stat, TurnStat
from harness.reports import NAMES, cells, figures, load_report, words
from harness.reports.terminal import print_run
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS = (
    "bursty", "invalid", "closed-4x4", "one-build", "one-level", "repeats", "all-failed",
    "zeros", "watched", "empty-cell", "no-cells",
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def on_terminal(run: RunFolder, width: int) -> str:
    out = io.StringIO()
    print_run(run, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_each_name_is_a_format_and_each_format_has_a_name() -> None:
    there = {
        module.name
        for module in pkgutil.iter_modules(harness.reports.__path__)
        if hasattr(__import__(f"harness.reports.{module.name}", fromlist=["x"]), "REPORT")
    }
    assert set(NAMES) == there
    assert len({load_report(name).suffix for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", ["htlm", "cells", "os", "../html", ""])
def test_unknown_format_is_bad_input(name: str) -> None:
    with pytest.raises(BadInputError, match="no report format"):
        load_report(name)


def test_a_typo_gets_the_closest_name() -> None:
    with pytest.raises(BadInputError, match='did you mean "html"'):
        load_report("htlm")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_same_folder_same_bytes_and_nothing_written(
    runs: dict[str, RunFolder], kind: str, name: str
) -> None:
    run = runs[kind]
    before = sorted(run.path.rglob("*"))
    first = load_report(name).render(run)
    assert first or (name, kind) == ("vllm", "no-cells"), "a line a cell"
    assert first == load_report(name).render(RunFolder.open(run.path))
    assert before == sorted(run.path.rglob("*"))


@pytest.mark.parametrize("name", ["markdown", "html", "csv"])
def test_a_moved_folder_gives_the_same_report(
    runs: dict[str, RunFolder], tmp_path: Path, name: str
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(runs["bursty"].path, moved)
    assert load_report(name).render(runs["bursty"]) == load_report(name).render(RunFolder(moved))


@pytest.mark.parametrize("name", ["markdown", "html", "terminal"])
@pytest.mark.parametrize("kind", ["bursty", "closed-4x4", "invalid", "repeats"])
def test_tables_hold_the_measured_numbers(runs: dict[str, RunFolder], kind: str, name: str) -> None:
    text = load_report(name).render(runs[kind])
    for cell in runs[kind].read_measurements().cells:
        metrics = cell.metrics
        for stat in (figures.headline_ttft(cell), metrics.itl_ms, metrics.e2e_ms):
            assert figures.percentile(stat, "p50") in text
            assert figures.percentile(stat, "p95") in text
            assert figures.interval(stat, "p95") in text
        assert figures.figure(metrics.aggregate_tps) in text
        assert figures.figure(metrics.request_rate) in text


@pytest.mark.parametrize("kind", ["bursty", "closed-4x4", "invalid", "all-failed"])
def test_caveats_stand_in_every_report(runs: dict[str, RunFolder], kind: str) -> None:
    found = words.warnings(runs[kind].read_measurements())
    assert found
    for name in ("markdown", "html", "terminal"):
        shown = unescape(load_report(name).render(runs[kind])).replace("\\", "")
        for warned in found:
            assert one_line(warned.text) in one_line(shown)
            assert one_line(warned.where) in one_line(re.sub("<[^>]*>", "", shown))


def one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_json_is_the_file(runs: dict[str, RunFolder]) -> None:
    text = load_report("json").render(runs["bursty"])
    assert text == (runs["bursty"].path / "measurements.json").read_text()


def test_csv_has_one_row_a_request_and_lists_as_numbers(runs: dict[str, RunFolder]) -> None:
    run = runs["closed-4x4"]
    rows = list(csv.DictReader(io.StringIO(load_report("csv").render(run))))
    found = run.read_measurements().cells
    assert len(rows) == sum(len(cells.read_cell(run, cell.id).samples) for cell in found)
    sample = cells.read_cell(run, found[0].id).samples[0]
    assert rows[0]["cell"] == found[0].id
    assert (rows[0]["level"], rows[0]["level_unit"]) == ("1", "concurrency")
    assert [int(gap) for gap in rows[0]["chunk_ns"].split()] == sample.chunk_ns
    assert int(rows[0]["due_ns"]) == sample.due_ns
    assert {row["phase"] for row in rows} == {"warmup", "measured"}


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("kind", KINDS)
def test_terminal_fits_its_width(runs: dict[str, RunFolder], kind: str, width: int) -> None:
    lines = on_terminal(runs[kind], width).splitlines()
    wide = [line for line in lines if cell_len(line) > width and "/" not in line]
    assert not wide
    assert not [line for line in lines if "…" in line]


def test_terminal_shows_intervals_where_there_is_room(runs: dict[str, RunFolder]) -> None:
    cell = runs["bursty"].read_measurements().cells[0]
    spread = figures.interval(cell.metrics.ttft_due_ms, "p95")
    assert spread not in on_terminal(runs["bursty"], 80)
    assert spread in on_terminal(runs["bursty"], 120)
    assert on_terminal(runs["bursty"], 200).count("Build") == 1


def test_terminal_says_where_the_report_lies(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["bursty"].path, folder)
    assert f"Run folder: {folder}" in on_terminal(RunFolder(folder), 80)
    (folder / "report.html").write_text("x")
    assert f"Report: {folder}/report.html" in on_terminal(RunFolder(folder), 80)


def test_hostile_names_are_inert_on_the_terminal(hostile: RunFolder) -> None:
    for width in (80, 200):
        assert not CONTROL.search(on_terminal(hostile, width))
    assert "\\x1b" in on_terminal(hostile, 200)


def test_hostile_names_are_inert_in_markdown(hostile: RunFolder) -> None:
    text = load_report("markdown").render(hostile)
    assert not CONTROL.search(text)
    assert text.count("````") == 2  # the command's own fence is longer than the one in it
    outside = re.sub(r"`+[^`]*`+", "", re.sub(r"````.*?````", "", text, flags=re.DOTALL))
    assert "<script" not in outside
    assert "@all" not in outside
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows
    for row in rows:  # no name adds a column
        assert len(re.findall(r"(?<!\\)\|", row)) in (9, 10, 11, 13, 16)


def test_hostile_names_are_inert_in_csv(hostile: RunFolder) -> None:
    text = load_report("csv").render(hostile)
    assert not CONTROL.search(text)
    for row in csv.DictReader(io.StringIO(text)):
        for value in row.values():
            assert value is not None
            assert not value.startswith(("=", "+", "@", "\t"))
            assert not value.startswith("-") or float(value)
        assert row["request_id"].startswith(("'=", "r-"))


def test_damaged_cells_are_named_and_the_rest_is_there(
    runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs["one-build"].path, folder)
    run = RunFolder(folder)
    first, second, *_ = run.read_measurements().cells
    (folder / "cells" / first.id / "samples.jsonl").write_text('{"seq": "x"}\n')
    shutil.rmtree(folder / "cells" / second.id)
    for name in NAMES:
        assert load_report(name).render(run)
    page = load_report("html").render(run)
    assert f"samples.jsonl of {first.id}" in page
    assert f"drive.json of {second.id}: no such file or directory" in page


def test_half_a_line_at_the_end_is_no_sample(
    make_bursty: Callable[..., RunFolder], tmp_path: Path
) -> None:
    run = make_bursty(tmp_path, window_s=8)
    cell = run.read_measurements().cells[0]
    file = run.path / "cells" / cell.id / "samples.jsonl"
    whole = len(cells.read_cell(run, cell.id).samples)
    with file.open("a") as out:
        out.write('{"seq": 1, "bo')
    found = cells.read_cell(run, cell.id)
    assert len(found.samples) == whole
    assert "ends in the first 14 bytes of a sample" in found.problems[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (float("nan"), "–"), (float("inf"), "∞"), (0.0, "0"), (0.01234, "0.012"),
        (1.2345, "1.23"), (12.345, "12.3"), (99.96, "100"), (1234.5, "1,234"), (-2.5, "-2.50"),
        (0.0004, "0.00040"), (0.0042, "0.0042"), (0.5, "0.500"), (0.9999, "1.00"), (9.999, "10.0"),
        (4.9e-15, "4.9e-15"), (-4.9e-15, "-4.9e-15"), (9.99e-5, "1.0e-4"), (9.999e-5, "0.00010"),
        (1e-4, "0.00010"), (5e-324, "4.9e-324"), (2.04e-5, "2.0e-5"),
    ],
)  # fmt: skip
def test_figure(value: float | None, text: str) -> None:
    assert text == figures.figure(value)


def test_imprecise_percentiles_are_marked() -> None:
    assert figures.percentile(Stat(p50=5.0, n=19), "p50") == "~5.00"
    assert figures.percentile(Stat(p50=5.0, n=20), "p50") == "5.00"
    assert figures.percentile(Stat(p95=5.0, n=199), "p95") == "~5.00"
    assert figures.percentile(Stat(p95=5.0, n=200), "p95") == "5.00"
    assert figures.percentile(Stat(p99=5.0, n=999), "p99") == "~5.00"
    assert figures.percentile(Stat(p99=5.0, n=1000), "p99") == "5.00"
    assert figures.percentile(Stat(p99=None, n=50), "p99") == "–"


def test_a_percentile_among_failures_is_infinite() -> None:
    stat = Stat(p50=5.0, p95=None, p99=None, n=60, n_infinite=9)
    shown = [figures.percentile(stat, "p50"), figures.percentile(stat, "p95")]
    assert shown == ["5.00", "~∞"]
    assert figures.percentile(stat, "p99") == "–"  # 60 are too few for it, infinite or not
    assert figures.extreme(stat, "max") == "∞"
    assert figures.extreme(Stat(max=7.0, n=1), "max") == "7.00"


def test_cells_planned_but_not_measured_are_named(runs: dict[str, RunFolder]) -> None:
    for name in ("html", "markdown", "terminal"):
        assert "awq-closed-c128-1" in load_report(name).render(runs["closed-4x4"])


def test_caveats_that_invalidate_come_first(runs: dict[str, RunFolder]) -> None:
    found = [one.invalidates for one in words.warnings(runs["invalid"].read_measurements())]
    assert found == sorted(found, reverse=True)
    assert {True, False} == set(found)


def with_caveats(measurements: Measurements, texts: list[str]) -> Measurements:
    changed = [
        msgspec.structs.replace(
            cell, client=msgspec.structs.replace(cell.client, caveats=[Caveat("few", text)])
        )
        for cell, text in zip(measurements.cells, texts, strict=False)
    ]
    return msgspec.structs.replace(measurements, cells=changed, caveats=[])


def test_a_caveat_of_several_cells_stands_once(runs: dict[str, RunFolder]) -> None:
    measurements = runs["one-build"].read_measurements()
    (one,) = words.warnings(with_caveats(measurements, ["same"] * 4))
    assert one.where == "(all cells)"
    assert [one.where for one in words.warnings(with_caveats(measurements, ["a", "b", "a"]))] == [
        "(awq · 1 stream, awq · 32 streams)",
        "(awq · 8 streams)",
    ]


def test_caveats_that_differ_in_their_numbers_are_one(runs: dict[str, RunFolder]) -> None:
    measurements = runs["one-build"].read_measurements()
    texts = ["lag 2.8 ms", "lag 3 ms", "lag 2.8 ms", "else"]
    one, _ = words.warnings(with_caveats(measurements, texts))
    assert one.text == "lag 2.8 ms"
    assert one.where == "(awq · 1 stream, awq · 32 streams; likewise awq · 8 streams)"
    (one,) = words.warnings(with_caveats(measurements, ["1", "2", "3", "4"]))
    assert one.where == "(awq · 1 stream; likewise the others)"
    found = words.warnings(with_caveats(measurements, ["http_429 1", "http_500 1"]))
    assert len(found) == 2
    problems = [Caveat("server_failed", f"q{n}: no\n  line", invalidates=True) for n in (4, 8)]
    found = words.warnings(
        msgspec.structs.replace(with_caveats(measurements, []), caveats=problems)
    )
    assert [one.text for one in found] == ["q4: no\n  line", "q8: no\n  line"]


def with_validity(measurements: Measurements, valid: list[bool], whole: str = "") -> Measurements:
    """Cells so valid as is said; `whole` is a reason that concerns the run."""
    cells = [
        msgspec.structs.replace(cell, client=msgspec.structs.replace(cell.client, valid=good))
        for cell, good in zip(measurements.cells, valid, strict=False)
    ]
    caveats = [Caveat("server_failed", whole, invalidates=True)] if whole else []
    return msgspec.structs.replace(
        measurements, cells=cells, valid=all(valid) and not whole, caveats=caveats
    )


@pytest.mark.parametrize(
    ("valid", "whole", "text"),
    [
        ([True, True], "", "The measurement is valid."),
        ([True, False], "", "INVALID in 1 of 2 cells: do not use their numbers."),
        ([True, False], "nf4: no", "INVALID in 1 of 2 cells: do not use their numbers."),
        ([False, False], "", "INVALID measurement: do not use these numbers."),
        (
            [True, True],
            "nf4: did not start",
            "INVALID as a whole (server failed), but all 2 measured cells are valid.",
        ),
        (
            [True],
            "nf4: did not start",
            "INVALID as a whole (server failed), but the measured cell is valid.",
        ),
        ([], "nf4: did not start", "INVALID: nothing was measured."),
    ],
)
def test_every_report_says_what_is_invalid(
    runs: dict[str, RunFolder], tmp_path: Path, valid: list[bool], whole: str, text: str
) -> None:
    run = changed(runs["one-build"], tmp_path, lambda m: with_validity(m, valid, whole))
    assert words.validity(run.read_measurements()) == text
    for name in ("html", "markdown", "terminal"):
        shown = one_line(unescape(load_report(name).render(run)).replace("\\", ""))
        assert shown.count(text) == 1
        assert whole in shown


def changed(
    run: RunFolder, parent: Path, change: Callable[[Measurements], Measurements]
) -> RunFolder:
    """A copy of a run with other measurements."""
    copy = RunFolder(parent / run.path.name)
    shutil.copytree(run.path, copy.path)
    copy.write_measurements(change(run.read_measurements()))
    return copy


def test_the_best_cell_is_a_valid_one(runs: dict[str, RunFolder]) -> None:
    measurements = runs["one-build"].read_measurements()
    ordered = sorted(measurements.cells, key=lambda cell: cell.metrics.aggregate_tps)
    best, second = words.label(ordered[-1]), words.label(ordered[-2])
    text = " ".join(words.summary(measurements, {}))
    assert f"Most tokens per second with {best}: " in text
    valid = [cell is not ordered[-1] for cell in measurements.cells]
    text = " ".join(words.summary(with_validity(measurements, valid), {}))
    assert f"Most tokens per second of the valid cells with {second}: " in text
    text = " ".join(words.summary(with_validity(measurements, [False] * 4), {}))
    assert "okens per second" not in text


def test_failures_as_infinite_stand_where_there_are_some(runs: dict[str, RunFolder]) -> None:
    cell = runs["invalid"].read_measurements().cells[0]
    stat = cell.metrics_with_failures["e2e_ms"]
    assert stat.n_infinite == cell.requests.failed > 0
    page = load_report("html").render(runs["invalid"])
    for title in ("TTFT from due", "e2e"):
        assert f'<td class="name">{title}, failures as +∞</td>' in page
    (row,) = re.findall(r"e2e, failures as \+∞</td>(.*?)</tr>", page)
    cells_of_row = re.findall(r"<td[^>]*>([^<]*)</td>", row)
    assert cells_of_row == [
        "ms", "302", "∞", figures.figure(stat.p50), "∞", "∞", "~∞", "–", "∞",
    ]  # fmt: skip
    text = load_report("markdown").render(runs["invalid"])
    assert "With each failed or dropped request counted as +∞:" in text
    assert f"| {figures.figure(stat.p50)} | ∞ | ~∞ |" in text
    for name in ("html", "markdown"):
        plain_run = load_report(name).render(runs["bursty"])
        assert "failures as +∞</td>" not in plain_run
        assert "counted as +∞" not in plain_run


@pytest.mark.parametrize("name", ["terminal", "markdown", "html"])
def test_an_unstable_cell_has_no_percentiles_but_the_backlog_that_grew(
    runs: dict[str, RunFolder], name: str
) -> None:
    steady, flooded = runs["unstable"].read_measurements().cells
    assert (steady.stable, flooded.stable) == (True, False)
    page = load_report(name).render(runs["unstable"])
    word = "†" if name == "terminal" else r"\bunstable\b"
    assert len(re.findall(word, page)) >= 6, "TTFT and e2e, three percentiles each"
    assert f"the backlog grew by {flooded.backlog_growth_rps:.2f} requests/s" in page
    assert figures.figure(flooded.metrics.itl_ms.p50) in page
    assert figures.figure(steady.metrics.e2e_ms.p50) in page
    calm = load_report(name).render(runs["bursty"])
    assert "the backlog grew" not in calm
    assert "†" not in calm


@pytest.mark.parametrize("name", ["markdown", "html"])
def test_arrivals_stand_beside_what_was_planned(runs: dict[str, RunFolder], name: str) -> None:
    (cell,) = runs["bursty"].read_measurements().cells
    assert cell.arrivals is not None
    assert cell.arrivals.planned.dispersion is not None
    page = load_report(name).render(runs["bursty"])
    title = "### Arrivals" if name == "markdown" else "Did requests come as they should?"
    part = page.partition(title)[2]
    for value in (cell.arrivals.realised.rate, cell.arrivals.planned.dispersion):
        assert figures.figure(value) in part
    assert title not in load_report(name).render(runs["closed-4x4"])


def test_the_summary_says_how_fast_a_backlog_grew(runs: dict[str, RunFolder]) -> None:
    found = runs["unstable"].read_measurements()
    growth = figures.figure(found.cells[1].backlog_growth_rps)
    text = " ".join(words.summary(found, {}))
    assert f"Unstable: at awq · 20/s the backlog grew by {growth} requests/s." in text
    manifest = {"request": {"slo": "ttft_due_p95_ms<=100000"}}
    (limit,) = words.objectives(found, manifest)
    assert "broken by awq · 20/s (unstable)" in limit


def test_chunks_of_several_tokens_have_no_itl(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    def in_fours(measurements: Measurements) -> Measurements:
        cells = [msgspec.structs.replace(c, tokens_per_chunk=4.0) for c in measurements.cells]
        return with_caveats(msgspec.structs.replace(measurements, cells=cells), [""])

    run = changed(runs["bursty"], tmp_path, in_fours)
    for name in ("html", "markdown", "terminal"):
        text = load_report(name).render(run).partition("What the words mean")[0]
        text = re.sub("<(style|script).*?</(style|script)>", "", text, flags=re.DOTALL)
        assert "inter-chunk" in text
        assert not re.search("ITL|inter-token", text)
    assert "inter-chunk p50" in " ".join(words.summary(run.read_measurements(), {}))


def test_sessions_stand_turn_by_turn(runs: dict[str, RunFolder], tmp_path: Path) -> None:
    turns = [
        TurnStat(turn=n, n=400, ttft_ms=Stat(p50=p50, p95=2 * p50, n=400), prompt_tokens_mean=mean)
        for n, p50, mean in ((1, 111.0, 64.0), (2, 43.0, 178.0))
    ]
    found = Sessions(planned=1200, complete=1100, broken=7, cut_off=93, turns=turns)

    def with_sessions(measurements: Measurements) -> Measurements:
        cells = [msgspec.structs.replace(c, sessions=found) for c in measurements.cells]
        return msgspec.structs.replace(measurements, cells=cells)

    run = changed(runs["bursty"], tmp_path, with_sessions)
    told = "1,200 sessions: 1,100 complete, 7 broken by a turn that failed, 93 cut off"
    markdown, page = (load_report(name).render(run) for name in ("markdown", "html"))
    assert "| 2 | 400 | 43.0 | 86.0 | 178 |" in markdown
    assert told in markdown
    assert told in page
    assert "<td>2</td>" in page
    assert ">178</td>" in page
    terminal = " ".join(on_terminal(run, 120).split())
    assert told in terminal
    assert "of the profile bursty at 10 sessions a second, measured" in terminal + markdown
    assert "TTFT p50 by turn 111, 43.0" in terminal
    for name in ("markdown", "html", "terminal"):
        assert "sessions" not in load_report(name).render(runs["bursty"])


def test_a_warm_up_is_told_as_it_was(runs: dict[str, RunFolder]) -> None:
    measurements = runs["bursty"].read_measurements()

    def first(profile: dict[str, object]) -> str:
        return words.summary(measurements, {"profile": profile})[0]

    assert first({"warmup_requests": 0}).endswith("measured for 30 s without a warm-up.")
    assert first({"warmup_requests": 8}).endswith(" after a warm-up that does not count.")
    assert first({}).endswith("measured for 30 s.")


def test_samples_that_are_not_the_drivers_are_told(
    runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    run = changed(runs["bursty"], tmp_path, lambda m: m)
    (cell,) = run.read_measurements().cells
    file = run.path / "cells" / cell.id / "samples.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    assert "the driver wrote" not in load_report("html").render(run)
    for kept, count in ((lines[:-2], "300"), (lines + lines[:1], "303")):
        file.write_text("".join(kept))
        text = f"samples.jsonl of {cell.id}: {count} samples, but the driver wrote 302."
        assert text in load_report("html").render(run)


def test_the_suffix_names_the_format(
    runs: dict[str, RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs["bursty"].path
    for suffix, name in ((".txt", "terminal"), (".md", "markdown"), (".CSV", "csv")):
        out = tmp_path / f"x{suffix}"
        report(folder, out=out)
        assert out.read_text() == load_report(name).render(RunFolder(folder))
    report(folder, format="json", out=tmp_path / "x.txt")
    assert json.loads((tmp_path / "x.txt").read_text())["schema"] == 1
    for name in ("x.pdf", "x"):
        with pytest.raises(BadInputError, match="names no format") as refused:
            report(folder, out=tmp_path / name)
        assert ".csv, .html, .json, .xml, .md, .txt, .vllm.json" in (refused.value.hint or "")
    capsys.readouterr()


def test_facts_that_the_server_reported_stand_among_the_others() -> None:
    facts = words.server_facts({"dtype": "auto", "reported": {"dtype": "bf16", "blocks": 3}})
    assert facts == {"dtype": "auto", "reported.dtype": "bf16", "blocks": "3"}


@pytest.mark.parametrize("name", ["html", "markdown", "terminal"])
def test_what_weights_and_kernel_a_build_has(name: str, runs: dict[str, RunFolder]) -> None:
    text = load_report(name).render(runs["closed-4x4"])
    between = ": " if name == "terminal" else " ("
    for build in ("gptq", "awq", "nf4"):
        assert f"{build}{between}4-bit, group 128, asym, CPUWNA16LinearKernel" in text
    assert f"fp16{between}float16" in text


@pytest.mark.parametrize("name", ["html", "markdown", "terminal"])
def test_who_holds_the_slo(name: str, runs: dict[str, RunFolder], tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(runs["one-level"].path, tmp_path / "run"))
    manifest = run.read_manifest()
    assert "held by" not in load_report(name).render(run)
    asked = {"request": {"slo": "error_rate<=0%,ttft_p95_ms<=0.001"}}
    run.write_manifest({**manifest, **asked})
    text = " ".join(unescape(load_report(name).render(run)).replace("\\", "").split())
    assert "error_rate<=0%: held by" in text
    assert "ttft_p95_ms<=0.001: broken by" in text
