"""Which cells a run has: builds × levels × repeats of one profile. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement to be made."""

    build: str
    profile: str
    level: float
    repeat: int
    closed: bool

    @property
    def id(self) -> str:
        """Its folder's name, e.g. `awq-bursty-r10-1`."""
        level = f"{self.level:.9f}".rstrip("0").rstrip(".")
        return f"{self.build}-{self.profile}-{'c' if self.closed else 'r'}{level}-{self.repeat}"

    @property
    def level_value(self) -> dict[str, float]:
        """The level as `measurements.json` has it."""
        return {"concurrency": int(self.level)} if self.closed else {"rate": self.level}

    @property
    def level_words(self) -> str:
        """The level as people say it."""
        return f"{self.level:g} {'streams' if self.closed else 'requests/s'}"

    def describe(self) -> dict[str, object]:
        """The manifest's entry."""
        return {
            "id": self.id,
            "build": self.build,
            "profile": self.profile,
            "level": self.level_value,
            "repeat": self.repeat,
        }


def expand(
    builds: Sequence[str], profile: str, levels: Sequence[float], repeats: int, *, closed: bool
) -> list[Cell]:
    """Return the cells in the order they are measured: each build is brought up once."""
    return [
        Cell(build=build, profile=profile, level=level, repeat=repeat, closed=closed)
        for build in builds
        for repeat in range(1, repeats + 1)
        for level in levels
    ]
