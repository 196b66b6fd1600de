"""Which cells a run has: builds × levels × repeats of one profile. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Lengths = Literal["forced", "natural"]
"""Whether the engine is told to make exactly as many tokens as planned, where it can be."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement to be made."""

    build: str
    profile: str
    level: float
    repeat: int
    closed: bool
    lengths: Lengths = "forced"
    baseline: str | None = None
    """The cell whose answers to the same prompts this one's are compared with."""

    @property
    def id(self) -> str:
        """Its folder's name, e.g. `awq-bursty-r10-1`."""
        level = f"{self.level:.9f}".rstrip("0").rstrip(".")
        kind, natural = "c" if self.closed else "r", "-natural" * (self.lengths == "natural")
        return f"{self.build}-{self.profile}-{kind}{level}{natural}-{self.repeat}"

    @property
    def level_value(self) -> dict[str, float]:
        """The level as `measurements.json` has it."""
        return {"concurrency": int(self.level)} if self.closed else {"rate": self.level}

    @property
    def level_words(self) -> str:
        """The level as people say it."""
        natural = ", natural length" * (self.lengths == "natural")
        return f"{self.level:g}{' streams' if self.closed else '/s'}{natural}"

    def describe(self) -> dict[str, object]:
        """The manifest's entry."""
        return {
            "id": self.id,
            "build": self.build,
            "profile": self.profile,
            "level": self.level_value,
            "repeat": self.repeat,
            "lengths": self.lengths,
            "baseline": self.baseline,
        }

    @classmethod
    def described(cls, entry: Mapping[str, Any]) -> Cell:
        """Return the cell of a manifest's entry."""
        [(kind, level)] = entry["level"].items()
        return cls(
            build=entry["build"],
            profile=entry["profile"],
            level=float(level),
            repeat=entry["repeat"],
            closed=kind == "concurrency",
            lengths=entry["lengths"],
            baseline=entry["baseline"],
        )


def expand(
    builds: Sequence[str],
    profile: str,
    levels: Sequence[float],
    repeats: int,
    *,
    closed: bool,
    lengths: Sequence[Lengths] = ("forced",),
) -> list[Cell]:
    """Return the cells in the order they are measured: each build is brought up once.

    The first build is the baseline: the others' answers are compared with its own.
    """
    cells = [
        Cell(
            build=build, profile=profile, level=level, repeat=repeat, closed=closed, lengths=length
        )
        for build in builds
        for repeat in range(1, repeats + 1)
        for level in levels
        for length in lengths
    ]
    return [
        cell
        if cell.build == builds[0]
        else replace(cell, baseline=replace(cell, build=builds[0]).id)
        for cell in cells
    ]
