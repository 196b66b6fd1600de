"""What a search is to be sized for, as it lies in its run's folder: so that numbers stay pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from harness.rundir import read_json
from harness.sizing.record import Demand, Terms  # noqa: TC001 - msgspec reads them at run time

if TYPE_CHECKING:
    from harness.rundir import RunFolder

DEMAND_FILE: Final = "demand.json"
_SCHEMA: Final = 1


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """All of `demand.json`."""

    schema: int = _SCHEMA
    demand: Demand | None
    """None: only terms were given."""
    terms: Terms


def write_asked(run: RunFolder, asked: Asked) -> None:
    """Write `demand.json`; it replaces the one that is there.

    Raises:
        BadInputError: the folder cannot be written.
    """
    run.write_json(DEMAND_FILE, asked)


def read_asked(run: RunFolder) -> Asked | None:
    """Read `demand.json`; None where a search was asked for no sizing.

    Raises:
        BadInputError: it is broken, or of a newer harness.
    """
    path = run.path / DEMAND_FILE
    return read_json(path, Asked, _SCHEMA) if path.is_file() else None
