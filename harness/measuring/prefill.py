"""TTFT by prompt length at one stream: the prefill curve, and the line through it. Pure.

Definitions and sources: docs/method.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring import stats
from harness.measuring.mixture import lengths_of
from harness.measuring.prefill_stats import Prefill, PrefillLine, PrefillStep

if TYPE_CHECKING:
    from harness.measuring.samples import Floats, Ints, Samples
    from loadprofiles.records import DrivePlan

_FEW: Final = 12
"""Up to so many different lengths each is a step of its own; of more, steps are eighths."""
_PARTS: Final = 8
_LEAST: Final = 2
"""Answers that a step needs for its median."""
_LINE_STEPS: Final = 3
_SPAN: Final = 2.0
"""The longest step's tokens ÷ the shortest's, below which a line says nothing of a slope."""
_PER: Final = 1000.0


def measure_prefill(plan: DrivePlan, samples: Samples, ttft_ms: Floats) -> Prefill | None:
    """Describe TTFT by prompt length; None unless one stream sent prompts of several lengths.

    The steps are those of the planned lengths, so that builds that are asked the same have the
    same ones.

    Args:
        plan: of the cell.
        samples: all of it.
        ttft_ms: of its answered measured requests, NaN where an answer has none.
    """
    answered = samples.measured.answered
    if plan.mode != "closed" or plan.streams != 1 or plan.after or not plan.prompt_tokens:
        return None
    body = answered.column("body")
    if not body.size or int(body.max()) >= len(plan.prompt_tokens):
        return None
    planned = np.array(plan.prompt_tokens, dtype=np.int64)
    bounds = _bounds(planned[plan.warmup :])
    lengths, source = lengths_of(plan, answered)
    if len(bounds) < _LEAST or lengths is None:
        return None
    own, known = planned[body], ~np.isnan(ttft_ms)
    steps, groups = [], []
    for low, high in bounds:
        chosen = (own >= low) & (own <= high) & known
        if int(chosen.sum()) < _LEAST:
            continue
        values = np.sort(ttft_ms[chosen])
        found = stats.describe(values.tolist(), rng=stats.rng_for(f"prefill {low}"))
        tokens = float(lengths[chosen].mean())
        groups.append((tokens, values))
        steps.append(
            PrefillStep(
                low=low,
                high=high,
                tokens=tokens,
                n=found.n,
                ttft_p50_ms=found.p50,
                ttft_p50_ci95=found.ci95.get("p50"),
            )
        )
    return Prefill(length_source=source, steps=steps, line=_line(groups)) if steps else None


def _bounds(planned: Ints) -> list[tuple[int, int]]:
    """Return the shortest and longest planned length of each step."""
    values = np.unique(planned)
    if values.size <= _FEW:
        return [(int(value), int(value)) for value in values]
    edges = np.unique(np.quantile(planned, np.arange(1, _PARTS) / _PARTS, method="higher"))
    parts = np.split(values, np.searchsorted(values, edges))
    return [(int(part[0]), int(part[-1])) for part in parts if part.size]


def _line(groups: list[tuple[float, Floats]]) -> PrefillLine | None:
    """Fit the line with the least squared relative residuals through the steps' medians."""
    tokens = np.array([at for at, _ in groups])
    if len(groups) < _LINE_STEPS or tokens.max() < _SPAN * tokens.min():
        return None
    medians = np.array([[np.median(values)] for _, values in groups])
    if medians.min() <= 0:
        return None
    fixed, slope = _fit(tokens, medians)
    rng = stats.rng_for("prefill line")
    drawn = np.array([stats.median_replicates(values, rng) for _, values in groups])
    many_fixed, many_slopes = _fit(tokens, drawn)
    residuals = (fixed + slope * tokens)[:, None] / medians - 1
    return PrefillLine(
        fixed_ms=float(fixed[0]),
        fixed_ci95=_ends(many_fixed),
        per_1000_ms=_PER * float(slope[0]),
        per_1000_ci95=_ends(_PER * many_slopes),
        off=float(np.abs(residuals).max()),
    )


def _fit(tokens: Floats, medians: Floats) -> tuple[Floats, Floats]:
    """Return intercepts and slopes of least Σ ((m − a − b n) ÷ m)², a column of medians each."""
    weights = 1 / medians**2
    total = weights.sum(axis=0)
    x = tokens[:, None]
    middle = (weights * x).sum(axis=0) / total
    level = (weights * medians).sum(axis=0) / total
    slope = (weights * (x - middle) * medians).sum(axis=0) / (weights * (x - middle) ** 2).sum(0)
    return level - slope * middle, slope


def _ends(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
