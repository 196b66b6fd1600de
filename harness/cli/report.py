"""`harness report`."""

import sys
from pathlib import Path

from harness.errors import BadInputError, ExitCode
from harness.measuring.remeasure import remeasure
from harness.reports import NAMES, load_report
from harness.rundir import RunFolder, write_atomically


def report(run: Path, /, *, format: str | None = None, out: Path | None = None) -> int:  # noqa: A002 - the option's name
    """Make the report of a run again, its numbers computed anew from its sample files.

    Where they differ from those in measurements.json, by a newer harness or since the run was
    killed, that file is written, too.

    Args:
        run: The run's folder.
        format: html, markdown, json, csv or terminal; otherwise by the suffix of --out, else html.
        out: File to write; otherwise RUN/report.html for html, and stdout for the others.
    """
    folder = RunFolder.open(run)
    numbers = remeasure(folder)
    if numbers != folder.read_measurements():
        folder.write_measurements(numbers)
        print(f"{folder.path}: measurements.json computed anew from the samples", file=sys.stderr)
    name = format or ("html" if out is None else _by_suffix(out))
    text = load_report(name).render(folder)
    if out is None and name == "html":
        out = folder.path / "report.html"
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
        print(out)
    return ExitCode.OK


def _by_suffix(out: Path) -> str:
    names = {load_report(name).suffix: name for name in NAMES}
    if out.suffix.lower() not in names:
        raise BadInputError(
            f"--out {out}: its suffix names no format",
            hint=f"End it in {', '.join(names)}, or name the --format.",
        )
    return names[out.suffix.lower()]
