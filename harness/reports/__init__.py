"""Reports: pure functions of a run folder. The same folder gives the same bytes.

A format is one module of this package that ends in an annotated constant,
`REPORT: Report = Markdown()`; the folder is the registry.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, TextIO, runtime_checkable

from harness.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.rundir import RunFolder

NAMES: Final = ("csv", "html", "json", "junit", "markdown", "terminal", "vllm")
"""The formats, for help texts; a test keeps it equal to the modules that have a `REPORT`."""


class Report(Protocol):
    """One format."""

    @property
    def suffix(self) -> str:
        """File suffix with its dot, e.g. `.html`."""

    def render(self, run: RunFolder) -> str:
        """Return the whole report of a run; reads the folder and changes nothing in it.

        Raises:
            BadInputError: `manifest.json` or `measurements.json` is missing or broken.
        """


@runtime_checkable
class Streamed(Protocol):
    """A format that can be as long as the run, and is written row by row."""

    def write(self, run: RunFolder, out: TextIO) -> None:
        """Write what `render` would return."""


@runtime_checkable
class Split(Protocol):
    """A format that can be several files, one a cell."""

    def files(self, run: RunFolder) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of each."""


def load_report(name: str) -> Report:
    """Load a format by its name, e.g. `html`.

    Raises:
        BadInputError: there is none; the text names the closest one and all that exist.
    """
    return report_of(__name__, name, NAMES, "no report format")


def report_of(package: str, name: str, names: Sequence[str], complaint: str) -> Report:
    """Load a format's module of a package.

    Raises:
        BadInputError: there is none.
    """
    if name in names:
        found: Report = import_module(f"{package}.{name}").REPORT
        return found
    raise BadInputError(
        f'{complaint} "{name}"{did_you_mean(name, names)}', hint=f"Formats: {', '.join(names)}."
    )
