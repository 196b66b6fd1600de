"""Which reports there are of which kind of run, and one of them to be made."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from harness.errors import BadInputError
from harness.evidence.folders import CAPACITY, COMPARISON, EVAL, GATE, LOAD, kind_of, parts
from harness.reports import Split, Streamed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from harness.reports import Report
    from harness.rundir import RunFolder

PACKAGES: Final = {
    LOAD: "harness.reports",
    EVAL: "harness.reports.evaluation",
    COMPARISON: "harness.reports.comparison",
    GATE: "harness.reports.gate",
    CAPACITY: "harness.reports.capacity",
}
"""By kind: the package with `NAMES` and `load_report`."""
_OF_PARTS: Final = ("vllm",)
"""Formats that a comparison or a gate has of the load in it."""


@dataclass(frozen=True)
class Job:
    """One report to be made of one run."""

    run: RunFolder
    kind: str
    report: Report

    def write(self, out: TextIO) -> None:
        """Write the whole report."""
        if isinstance(self.report, Streamed):
            self.report.write(self.run, out)
        else:
            out.write(self.report.render(self.run))

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each file that it makes in a folder."""
        if isinstance(self.report, Split):
            yield from self.report.files(self.run)
        else:
            yield f"{self.run.path.name}{self.report.suffix}", self.report.render(self.run)


def package_of(kind: str) -> Any:  # noqa: ANN401 - a module
    """The package with the reports of a kind.

    Raises:
        BadInputError: no such kind is known.
    """
    if kind not in PACKAGES:
        raise BadInputError(
            f'a run of the kind "{kind}" has no reports here',
            hint=f"Kinds: {', '.join(PACKAGES)}. A newer harness may know it.",
        )
    return import_module(PACKAGES[kind])


def jobs_of(run: RunFolder, name: str) -> list[Job]:
    """Return what is to be made of a run in a format: one report, or one of each part.

    Raises:
        BadInputError: its kind has no such format; the text names those that it has.
    """
    kind = kind_of(run)
    if kind in {COMPARISON, GATE} and name in _OF_PARTS:
        loads = [part for part in parts(run) if kind_of(part) in {LOAD, CAPACITY}]
        return [job for part in loads for job in jobs_of(part, name)]
    return [Job(run, kind, package_of(kind).load_report(name))]


def format_of(run: RunFolder, out: Path | None) -> str:
    """The format that a file's suffix names; html without one, or for a folder.

    Raises:
        BadInputError: the suffix names none.
    """
    if out is None or out.is_dir():
        return "html"
    package = package_of(kind_of(run))
    known = {package.load_report(name).suffix: str(name) for name in package.NAMES}
    for suffix, name in known.items():
        if out.name.lower().endswith(suffix) and suffix.count(".") > 1:  # .vllm.json is no .json
            return name
    if out.suffix.lower() not in known:
        raise BadInputError(
            f"--out {out}: its suffix names no format",
            hint=f"End it in {', '.join(known)}, or name the --format.",
        )
    return known[out.suffix.lower()]
