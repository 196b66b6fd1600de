"""Rules of a gate: what a candidate must keep, stage by stage. One TOML of `harness/rules/`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

RULES: Final = Path(__file__).parents[1] / "rules"
CONTRACT: Final = "contract"
"""The stage that comes first and is in no file: what do the servers keep of what they promise?"""
_LOAD: Final = ("levels", "repeats", "duration_s", "requests")


class Stage(BaseModel):
    """`[[stages]]`: one suite that both builds are asked, or one load profile that drives both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    suite: str | None = None
    """A suite's name, or a TOML file's path."""
    limit: int | None = Field(default=None, gt=0)
    """Items (of a perplexity windows) that are asked: a seeded random subset."""
    profile: str | None = None
    """A load profile's name, or a TOML file's path."""
    levels: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Streams or requests per second; empty: the profile's own."""
    repeats: int = Field(default=3, gt=0)
    """Cells of each level; the intervals of load rules come from how they differ."""
    duration_s: float | None = Field(default=None, gt=0)
    """Measured window of a cell; None: the profile's own."""
    requests: int | None = Field(default=None, gt=0)
    """Measured requests of a cell; None: the profile's own."""
    budget_s: float | None = Field(default=None, gt=0)
    """Seconds that the stage may take of one build, its server's start not counted."""
    required: bool = True
    """false: where its suite cannot be asked here (data sets not there), the stage is skipped,
    loudly, and the verdict is that of the other rules."""
    rules: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    """Limits as text, e.g. `retained(domain) >= 95%`, `ratio(ttft_p95_ms@c8) <= 150%`."""

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.suite is None) == (self.profile is None):
            raise ValueError("give either suite or profile: a stage asks one or drives one")
        if self.suite is not None and (odd := set(_LOAD) & self.model_fields_set):
            raise ValueError(f"{', '.join(sorted(odd))}: for a stage with a profile, not a suite")
        if self.profile is not None and self.limit is not None:
            raise ValueError("limit: counts a suite's items; a profile has duration_s and requests")
        if self.name == CONTRACT:
            raise ValueError(f'name: "{CONTRACT}" is the stage before all others; take another')
        return self


class Rules(BaseModel):
    """One file of rules. Its stages are gone through in their order: put the cheap ones first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    budget_s: float = Field(default=1200, gt=0)
    """Seconds that all of it may take, servers' starts counted."""
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unlike(self) -> Self:
        for kind in ("name", "suite", "profile"):
            there = [value for stage in self.stages if (value := getattr(stage, kind)) is not None]
            twice = next((value for value in there if there.count(value) > 1), None)
            if twice is not None:
                raise ValueError(f'stages: the {kind} "{twice}" is there twice; put it in one')
        return self


def builtin_rules() -> dict[str, Path]:
    """The rules shipped with the package: name → TOML file, sorted by name."""
    return {file.stem: file for file in sorted(RULES.glob("*.toml"))}
