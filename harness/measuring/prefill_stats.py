"""The shape of a prefill curve: TTFT by prompt length, and the line through it."""

from __future__ import annotations

from typing import Literal

import msgspec


class PrefillStep(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to prompts that were planned `low` to `high` tokens long."""

    low: int
    high: int
    tokens: float
    """Mean length of the prompts, by `Prefill.length_source`."""
    n: int
    """Answers."""
    ttft_p50_ms: float | None = None
    ttft_p50_ci95: tuple[float, float] | None = None


class PrefillLine(msgspec.Struct, frozen=True, kw_only=True):
    """TTFT = fixed + per 1,000 prompt tokens; each interval by resampling the requests."""

    fixed_ms: float
    fixed_ci95: tuple[float, float]
    per_1000_ms: float
    """Per 1,000 prompt tokens."""
    per_1000_ci95: tuple[float, float]
    off: float
    """The most that the line departs from a step's median, as a share of that median."""


class Prefill(msgspec.Struct, frozen=True, kw_only=True):
    """How long one stream waits for its first token, by the length of its prompt."""

    length_source: Literal["server", "planned"]
    steps: list[PrefillStep]
    line: PrefillLine | None = None
    """None with fewer than three steps, or lengths within a factor of 2."""
