"""How long nothing was measured in a run that was cut off and went on."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

RESUMED: Final = "resumed"
"""The code of the caveat of a run that went on after it was cut off."""
_MEASURED: Final = ("samples.jsonl", "answers.jsonl")


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a run went on; the manifest's `resumed` is a list of these."""

    at: str
    """When it went on, UTC."""
    gap_s: float
    """Since the last sample or answer that was there; since the manifest where there was none."""
    kept: int | None = None
    """Parts (cells, or passes of a suite) that were whole."""
    planned: int | None = None


def gap_of(run: Path, *, kept: int | None = None, planned: int | None = None) -> Gap:
    """Return the gap of a run that goes on now, from when its files were last written."""
    now = dt.datetime.now(dt.UTC)
    paths = [path for name in _MEASURED for path in run.rglob(name)] or [run / "manifest.json"]
    written = max(path.stat().st_mtime for path in paths)
    return Gap(
        at=now.isoformat(timespec="seconds"),
        gap_s=round(max(0.0, now.timestamp() - written), 1),
        kept=kept,
        planned=planned,
    )


def words(gap: Gap) -> str:
    """Say it in the words of a caveat, as far as all kinds of runs have in common."""
    at = dt.datetime.fromisoformat(gap.at)
    return (
        f"This run was cut off and went on at {at:%Y-%m-%d %H:%M:%S} UTC, {gap.gap_s:.0f} s after "
        "its last numbers"
    )
