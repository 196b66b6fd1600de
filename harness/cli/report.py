"""`harness report`."""

import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from harness import reports
from harness.errors import BadInputError, ExitCode
from harness.measuring.remeasure import remeasure
from harness.quality.evaluate import evaluate
from harness.quality.record import (
    EVALUATION_FILE,
    is_evaluation,
    read_evaluation,
    write_evaluation,
)
from harness.reports import Report, Streamed, evaluation
from harness.rundir import RunFolder, atomically


def report(run: Path, /, *, format: str | None = None, out: Path | None = None) -> int:  # noqa: A002 - the option's name
    """Make the report of a run again, its numbers computed anew from its samples or answers.

    Where they differ from those in measurements.json or evaluation.json, by a newer harness or
    since the run was killed, that file is written, too.

    Args:
        run: The run's folder.
        format: html, markdown, json, csv, junit, terminal or vllm; otherwise by the suffix of --out,
            else html.
        out: File to write; otherwise RUN/report.html for html, and stdout for the others.
    """
    folder = RunFolder.open(run)
    if is_evaluation(folder):
        names: Sequence[str] = evaluation.NAMES
        load_report = evaluation.load_report
        _recompute_evaluation(folder)
    else:
        names, load_report = reports.NAMES, reports.load_report
        _recompute_measurements(folder)
    name = format or ("html" if out is None else _by_suffix(out, names, load_report))
    made = load_report(name)
    if out is None and name == "html":
        out = folder.path / "report.html"
    if out is None:
        _write(made, folder, sys.stdout)
    else:
        with atomically(out) as file:
            text = TextIOWrapper(file, "utf-8", newline="")
            _write(made, folder, text)
            text.detach()  # flushed, and the file left open
        print(out)
    return ExitCode.OK


def _write(made: Report, folder: RunFolder, out: TextIO) -> None:
    if isinstance(made, Streamed):
        made.write(folder, out)
    else:
        out.write(made.render(folder))


def _recompute_measurements(folder: RunFolder) -> None:
    numbers = remeasure(folder)
    if numbers != folder.read_measurements():
        folder.write_measurements(numbers)
        print(f"{folder.path}: measurements.json computed anew from the samples", file=sys.stderr)


def _recompute_evaluation(folder: RunFolder) -> None:
    numbers = evaluate(folder)
    there = (folder.path / EVALUATION_FILE).is_file()
    if not there or numbers != read_evaluation(folder):
        write_evaluation(folder, numbers)
        print(f"{folder.path}: evaluation.json computed anew from the answers", file=sys.stderr)


def _by_suffix(out: Path, known: Sequence[str], load_report: Callable[[str], Report]) -> str:
    names = {load_report(name).suffix: name for name in known}
    if out.suffix.lower() not in names:
        raise BadInputError(
            f"--out {out}: its suffix names no format",
            hint=f"End it in {', '.join(names)}, or name the --format.",
        )
    return names[out.suffix.lower()]
