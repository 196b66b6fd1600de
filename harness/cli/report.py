"""`harness report`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import TextIO

from harness.cli.tables import json_shown
from harness.errors import ExitCode
from harness.reports.anew import recompute
from harness.reports.kinds import format_of, jobs_of
from harness.reports.several import write_all
from harness.rundir import RunFolder, atomically


def report(run: Path, /, *runs: Path, format: str | None = None, out: Path | None = None) -> int:  # noqa: A002 - the option's name
    """Make the reports of runs again, their numbers computed anew from samples and answers.

    Any run's folder will do: a load, an evaluation, a comparison, a gate or a search for capacity,
    of this or an older harness. Where the numbers differ from those in measurements.json,
    evaluation.json, comparison.json, gate.json or capacity.json, by a newer harness or since the
    run was killed, that file is written, too.

    Args:
        run: The run's folder.
        runs: Further ones. Their csv is one table, their json a list, their junit one document;
            markdown and terminal stand one below the other; html goes into each folder.
        format: html, markdown, json, csv, junit or terminal, and of load vllm (the result file of
            `vllm bench serve`, one object a cell); otherwise by the suffix of --out, else html.
        out: File to write, or a folder for a file a run (of vllm a file a cell); otherwise
            RUN/report.html for html, and stdout for the others.
    """
    folders = [RunFolder.open(path) for path in (run, *runs)]
    name = format or format_of(folders[0], out)
    jobs = [job for folder in folders for job in jobs_of(folder, name)]
    for folder in folders:
        for told in recompute(folder):
            print(told, file=sys.stderr)
    if out is not None and out.is_dir():
        for job in jobs:
            for file, text in job.files():
                with _opened(out / file) as target:
                    target.write(text)
    elif out is not None:
        with _opened(out) as target:
            write_all(jobs, name, target)
    elif name == "html":
        for job in jobs:
            with _opened(job.run.path / "report.html") as target:
                job.write(target)
    elif name == "json":
        whole = StringIO()
        write_all(jobs, name, whole)
        sys.stdout.write(json_shown(whole.getvalue()))
    else:
        write_all(jobs, name, sys.stdout)
    return ExitCode.OK


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """Open a text file that is there as a whole or not at all; print its path at the end."""
    with atomically(path) as file:
        text = TextIOWrapper(file, "utf-8", newline="")
        yield text
        text.detach()  # flushed, and the file left open
    print(path)
