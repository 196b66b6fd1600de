"""`harness report`."""

import sys
from pathlib import Path

from harness.errors import ExitCode
from harness.reports import load_report
from harness.rundir import RunFolder, write_atomically

_BY_SUFFIX = {".html": "html", ".md": "markdown", ".json": "json", ".csv": "csv"}


def report(run: Path, /, *, format: str | None = None, out: Path | None = None) -> int:  # noqa: A002 - the option's name
    """Make the report of a run again, from its sample files.

    Args:
        run: The run's folder.
        format: html, markdown, json, csv or terminal; otherwise by the suffix of --out, else html.
        out: File to write; otherwise RUN/report.html for html, and stdout for the others.
    """
    folder = RunFolder.open(run)
    name = format or _BY_SUFFIX.get(out.suffix if out else ".html", "html")
    text = load_report(name).render(folder)
    if out is None and name == "html":
        out = folder.path / "report.html"
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
        print(out)
    return ExitCode.OK
