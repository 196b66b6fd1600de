"""A pass: one suite asked of one build once. A run is a list of them, each with its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from harness.errors import BadInputError
from harness.foreign import FolderName  # noqa: TC001 - msgspec reads it at run time
from harness.rundir import write_atomically
from loadprofiles.decoding import decoded
from loadprofiles.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

What = Literal["idle", "again", "load"]
"""idle: nothing else is asked of the server · again: the same once more, the noise floor · load:
while a load profile runs at the same server."""
RECORD_FILE: Final = "pass.json"
EVALS: Final = "evals"


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """One suite, asked of one build once."""

    suite: FolderName
    build: FolderName
    what: What = "idle"

    @property
    def folder(self) -> str:
        """Its folder's name within the suite's."""
        return self.build if self.what == "idle" else f"{self.build}-{self.what}"

    @property
    def title(self) -> str:
        """For a person."""
        note = {"idle": "", "again": " · again", "load": " · under load"}[self.what]
        return f"{self.build} · {self.suite}{note}"


class PassRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a pass went; `pass.json` in its folder."""

    ended: Literal["under_way", "done", "failed", "refused", "out_of_time"] = "under_way"
    """failed: `problem` says why; what was answered counts · refused: no route was proved."""
    route: str | None = None
    items: int = 0
    """As planned."""
    problem: str | None = None
    wall_s: float = 0.0
    """Spent asking, over all attempts."""
    cells: list[FolderName] = []
    """Load cells that ran beside it."""
    copied_from: str | None = None
    """The run whose answers these are, where a baseline was read."""


def passes(
    suites: Sequence[str], build: str, *, baseline: bool, candidate: bool, under_load: bool
) -> list[Pass]:
    """List what is to be asked of one build.

    Args:
        suites: names, in their order.
        build: the build.
        baseline: whether others are compared with it.
        candidate: whether it is itself under examination.
        under_load: whether a load profile is to run while items are graded.
    """
    whats: list[What] = ["idle"]
    if under_load:
        whats.append("again")
        if candidate:
            whats.append("load")
    assert baseline or candidate  # noqa: S101 - else it is not asked anything
    return [Pass(suite=suite, build=build, what=what) for suite in suites for what in whats]


def check_folders(planned: Sequence[Pass]) -> None:
    """Look that no two passes share a folder.

    Raises:
        BadInputError: they would, because of how builds are called.
    """
    folders: dict[tuple[str, str], Pass] = {}
    for one in planned:
        other = folders.setdefault((one.suite, one.folder), one)
        if other != one:
            raise BadInputError(
                f"the answers of {one.title} and of {other.title} would lie in one folder",
                hint=f"Give the build {one.build!r} another name.",
            )


def read_pass(folder: Path) -> PassRecord:
    """Read how a pass went; a pass that has not begun is under way with nothing done."""
    try:
        return decoded((folder / RECORD_FILE).read_bytes(), PassRecord, RECORD_FILE)
    except FileNotFoundError:
        return PassRecord()
    except (OSError, RecordError) as error:
        raise BadInputError(f"{folder / RECORD_FILE}: {error}") from error


def write_pass(folder: Path, record: PassRecord) -> None:
    """Write how a pass went.

    Raises:
        BadInputError: the folder cannot be written.
    """
    write_atomically(folder / RECORD_FILE, msgspec.json.encode(record) + b"\n")
