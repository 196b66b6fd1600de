"""Reports of one or several runs in one text."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, cast

from harness.errors import BadInputError
from harness.reports.testcases import merged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from harness.reports.kinds import Job


def write_all(jobs: Sequence[Job], name: str, out: TextIO) -> None:
    """Write one report as it is; several as one document of their format.

    Raises:
        BadInputError: they do not make one: pages, or tables with different columns.
    """
    if len(jobs) == 1:
        jobs[0].write(out)
    elif name == "csv":
        _tables(jobs, out)
    elif name == "html":
        raise BadInputError(
            f"--out: {len(jobs)} runs make {len(jobs)} pages",
            hint="Name a folder that exists, or leave --out away: each run's folder gets its own.",
        )
    else:
        texts = [job.report.render(job.run) for job in jobs]
        if name == "json":
            out.write(json.dumps([json.loads(text) for text in texts], indent=2) + "\n")
        elif name == "junit":
            out.write(merged(texts))
        else:
            out.write(("" if name == "vllm" else "\n").join(texts))


def _tables(jobs: Sequence[Job], out: TextIO) -> None:
    """Write tables with the same columns under one header."""
    if len({job.kind for job in jobs}) > 1:
        raise BadInputError(
            "runs of different kinds have tables with different columns",
            hint="Name runs of one kind, or a folder with --out for a table each.",
        )
    for at, job in enumerate(jobs):
        job.write(out if at == 0 else cast("TextIO", _Headless(out)))


class _Headless(io.TextIOBase):
    """Passes on all that is written but the first line."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._begun = out, False

    def write(self, text: str, /) -> int:
        """Write, once a line has ended."""
        if self._begun:
            return self._out.write(text)
        _, end, rest = text.partition("\n")
        self._begun = bool(end)
        return self._out.write(rest)
