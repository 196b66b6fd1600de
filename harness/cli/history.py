"""`harness history`."""

import datetime as dt
import io
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from harness.cli.tables import json_shown, stdout
from harness.errors import BadInputError, ExitCode
from harness.history.select import (
    HEADLINE,
    Selection,
    find,
    parse_levels,
    parse_metrics,
    parse_since,
    parse_words,
    read_history,
)
from harness.reports.history import check_name, csv, load_report
from harness.reports.history.terminal import print_history
from harness.rundir import write_atomically

_RUNS = Path("runs")


def history(  # noqa: PLR0913 - one parameter for each flag
    *,
    metric: str | None = None,
    runs: Path | None = None,
    build: str | None = None,
    profile: str | None = None,
    level: str | None = None,
    suite: str | None = None,
    category: str | None = None,
    since: str | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """List the runs of a folder; with --metric show a metric over time and where it changed.

    A series is of runs that agree in build, model, engine, machine, route, profile, level and all
    else that was asked; others are series of their own. Another version of the engine, other
    weights and other arguments are marked within a series. Without any run: a message, and 0.

    Args:
        metric: Names by comma: ttft_p95_ms, aggregate_tps, memory_peak_gib, score, perplexity, …
        runs: Folder with the run folders, runs unless said. A folder that cannot be read is named
            and left out.
        build: Only these builds, by comma.
        profile: Only these profiles, by comma.
        level: Only these levels, by comma: 8, or c8 for streams and r2.5 for requests per second.
        suite: Only these suites, by comma.
        category: Also these categories or tasks of the suites, by comma, or all.
        since: Only runs since then: 2026-11-01, or 30d, 12h, 4w ago.
        format: terminal, json, csv (every figure, a row each), markdown or html (both with the
            usual metrics unless --metric names others).
        out: File to write; otherwise stdout.
        json: The same as --format json.
    """
    if json and format not in {None, "json"}:
        raise BadInputError(f"--json and --format {format}: give one of both")
    name = "json" if json else format or _by_suffix(out)
    check_name(name)
    metrics = parse_metrics(metric)
    if metrics is None and name in {"html", "markdown"}:
        metrics = HEADLINE
    selection = Selection(
        metrics=metrics if metrics or name == "csv" else (),
        builds=parse_words(build, "--build"),
        profiles=parse_words(profile, "--profile"),
        levels=parse_levels(level),
        suites=parse_words(suite, "--suite"),
        categories=parse_words(category, "--category") or (),
        since=parse_since(since, dt.datetime.now(dt.UTC)),
    )
    folder = runs or _RUNS
    if runs is not None and not runs.is_dir():
        raise BadInputError(f"--runs: no folder {runs}", hint="Runs are in runs/ by default.")
    if name == "csv":
        table = io.StringIO()
        csv.write(find(folder, selection).figures, table)
        _put(table.getvalue(), out)
        return ExitCode.OK
    found = read_history(folder, selection)
    if not found.runs:
        where = "that fits" if found.skipped or metric or since else "yet"
        print(f"No run {where} in {folder}: `harness load` and `harness eval` make them.",
              file=sys.stderr)  # fmt: skip
    if name == "terminal" and out is None:
        print_history(found, stdout())
    else:
        text = load_report(name).render(found)
        _put(json_shown(text) if name == "json" else text, out)
    return ExitCode.OK


def _put(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
        print(out)


def _by_suffix(out: Path | None) -> str:
    known = {".html": "html", ".md": "markdown", ".json": "json", ".csv": "csv", ".txt": "terminal"}
    if out is None:
        return "terminal"
    if out.suffix.lower() not in known:
        raise BadInputError(
            f"--out {out}: its suffix names no format",
            hint=f"End it in {', '.join(known)}, or name the --format.",
        )
    return known[out.suffix.lower()]
