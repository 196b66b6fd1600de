"""Reports: pure functions of a run folder. The same folder gives the same bytes.

A format is one module of this package that ends in an annotated constant,
`REPORT: Report = Markdown()`; the folder is the registry.
"""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, TextIO, runtime_checkable

from harness.errors import BadInputError, HarnessError, did_you_mean
from harness.rundir import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

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


def write_files(
    run: RunFolder, load: Callable[[str], Report], files: Mapping[str, str]
) -> list[str]:
    """Write the reports that lie in a run's folder; return what went wrong, in words.

    Args:
        run: the run.
        load: the `load_report` of its kind.
        files: format → name of the file.
    """
    problems = []
    for name, file in files.items():
        try:
            write_atomically(run.path / file, load(name).render(run).encode())
        except HarnessError as error:
            problems.append(f"no {name} report: {error}")
        except Exception:  # noqa: BLE001 - a bug in it must not cost the numbers
            problems.append(f"no {name} report, which is a bug:\n{traceback.format_exc()}")
    return problems
