"""From probes to the highest rate, with its interval. Pure.

Near the limit the share of requests that break it grows as a power of the rate (a queue's tail is
exponential, with an exponent that falls linearly): with x the log of the rate,
log(share) = log(allowed) + slope · (x - x*) up to a half, and mirrored above. What is looked for is
x*, and both numbers have a distribution on a grid (Bayes; as in probabilistic bisection, Waeber,
Frazier & Henderson, Bisection search with noisy responses, SIAM J. Control Optim. 51 (2013)
2261-2279, but with the share of each probe instead of the side that it is on). Requests in a row
are alike: a probe counts for as many as the spread between its blocks says that independent ones
would be. Of several limits the first to break decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from harness.capacity.virtual import (
    SHARES,
    UTILIZATIONS,
    WIDTHS,
    VirtualQueue,
    can_control,
    virtual_queue,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.capacity.attainment import Tally
    from harness.measuring.samples import Floats

    _OnPaper = Callable[[Floats, Floats, float, float], Floats]

BLOCKS: Final = 16
"""Equal parts of a probe between which its share is seen to spread."""
NEAR: Final = 2.5
"""Probes whose log share is so near the allowed one's count in full."""
NEAR_RATE: Final = 0.3
"""And whose log rate is so near the limit's."""
FAR_WORTH: Final = 8.0
"""Independent requests that others are worth: they only say on which side it lies."""
CONFIDENCE: Final = 0.95
MOST_FACTOR: Final = 1.5
"""Of the virtual queue's luck, which is that of as large a share: more is chance."""
_USUAL_SPREAD: Final = 10.0
"""Variance of a share over that of independent requests, before anything is known."""
_LEAST_SPREAD: Final = 0.05
SAFETY: Final = 1.5
"""The spread between a few blocks is often seen too small."""
OFF: Final = 0.006
"""Standard deviation of what the search is off by when luck is averaged out, as a ratio. On slots
of known limit benchmarks/goodput_search.py printed -0.4 to -0.2 %, on batches +0.4 and +1.0 %."""
_STEP: Final = 0.003
"""Of the grid, in the log of the rate."""
_SLOPES: Final = np.geomspace(2.0, 300.0, 28)
_SLOPE_PRIOR: Final = -0.5 * (np.log(_SLOPES / 15.0) / 1.0) ** 2
_NEVER: Final = 0.5
"""What a limit is given, before anything is known, not to break at any rate of the grid."""
_LEAST_SHARE: Final = 1e-5
_TINY: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One open-loop probe of which the client was no bottleneck."""

    rate: float
    """Requests/s, as planned."""
    from_s: float
    to_s: float
    """What part of the window counts."""
    tallies: tuple[Tally, ...]
    """One for each limit, of the whole window."""
    due_s: Floats
    """All departures, from the window's start."""
    work: Floats
    """Of each: its planned output tokens."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A distribution of the highest rate."""

    log_rates: Floats
    below: Floats
    """Probability that the highest rate is no higher than each."""
    spread: float
    """Variance of a share over that of independent requests, near the limit, luck taken out."""
    control: float | None
    """Correlation of the probes' blocks with the virtual queue's; None without one."""
    slopes: tuple[float, ...]
    """Of each limit, the likeliest."""

    def quantile(self, share: float) -> float:
        """Return a quantile of the highest rate; the grid's end if it lies beyond."""
        at = int(np.searchsorted(self.below, share))
        if at >= self.below.size:
            return float(np.exp(self.log_rates[-1]))
        low = self.below[at - 1] if at else 0.0
        part = (share - low) / max(self.below[at] - low, _TINY)
        step = self.log_rates[1] - self.log_rates[0]
        return float(np.exp(self.log_rates[at] - (1 - part) * step))

    @property
    def median(self) -> float:
        """The highest rate, as likely too low as too high."""
        return self.quantile(0.5)

    @property
    def interval(self) -> tuple[float, float]:
        """The central interval of `CONFIDENCE`."""
        return self.quantile((1 - CONFIDENCE) / 2), self.quantile((1 + CONFIDENCE) / 2)

    @property
    def half_width(self) -> float:
        """Of the interval, as a ratio of the rate: 0.03 is 3 %."""
        low, high = self.interval
        return float(np.expm1(np.log(high / low) / 2))


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """One probe under one limit, in blocks."""

    x: float
    share: float
    broken: Floats
    counted: Floats

    @property
    def total(self) -> float:
        return float(self.counted.sum())


def estimate(
    shown: Sequence[Shown],
    allowed: Sequence[float],
    bounds: tuple[float, float],
    arrival: object = None,
) -> Estimate:
    """Return where the highest rate lies by all probes.

    Args:
        shown: the probes, in any order.
        allowed: the share that may break each limit.
        bounds: lowest and highest rate that are possible at all.
        arrival: the law of their arrivals; where it has a long run luck is taken out.
    """
    low, high = np.log(bounds)
    grid = np.linspace(low, high, int((high - low) / _STEP) + 2)
    above, slopes, spreads, controls = np.ones(grid.size), [], [], []
    for place, share in enumerate(allowed):
        found = _Limit(shown, place, share, grid, arrival)
        above *= 1 - found.below
        slopes.append(found.slope)
        spreads.append(found.spread)
        controls.append(found.control)
    known = [one for one in controls if one is not None]
    return Estimate(
        log_rates=grid,
        below=1 - above,
        spread=max(spreads),
        control=max(known) if known else None,
        slopes=tuple(slopes),
    )


class _Limit:
    """Where one limit breaks."""

    def __init__(
        self,
        shown: Sequence[Shown],
        place: int,
        allowed: float,
        grid: Floats,
        arrival: object,
    ) -> None:
        self._allowed, self._grid = allowed, grid
        self.control: float | None = None
        self.spread = _USUAL_SPREAD
        self._with_luck: float | None = None
        some = [(one, _blocks(one, one.tallies[place])) for one in shown]
        some = [(one, probe) for one, probe in some if probe.total]
        probes = [probe for _, probe in some]
        shares = [probe.share for probe in probes]
        self._fit(probes, shares, [probe.broken for probe in probes])
        if not any(map(self._is_near, probes)):
            return
        self._fit(probes, shares, [probe.broken for probe in probes])
        self._with_luck = self.spread
        if can_control(arrival):
            for _ in range(2):
                if not any(self._is_near(probe) and probe.share for _, probe in some):
                    break
                better, rest = self._without_luck(some, place, arrival)
                self._fit(probes, better, rest)

    # --- the distribution ----------------------------------------------------------------------

    def _fit(
        self, probes: Sequence[_Probe], shares: Sequence[float], residual: Sequence[Floats]
    ) -> None:
        """Compute the distribution; the first time from what is usual, then from what was seen."""
        first = not hasattr(self, "below")
        if not first:
            self.spread = self._spread(probes, shares, residual)
        score = np.tile(_SLOPE_PRIOR[:, None], (1, self._grid.size))
        never = 0.0
        for probe, share in zip(probes, shares, strict=True):
            worth = min(probe.total / _USUAL_SPREAD, FAR_WORTH)
            if first or self._is_near(probe):
                spread = self.spread if probe.share else self._with_luck or self.spread
                worth = max(worth, probe.total / spread)
            seen = float(np.clip(share, 0.0, 1.0))
            model = _grown(self._allowed, _SLOPES[:, None] * (probe.x - self._grid[None, :]))
            score += worth * (seen * np.log(model) + (1 - seen) * np.log1p(-model))
            never += worth * seen * np.log(_LEAST_SHARE)
        weight = np.exp(score - max(score.max(), never))
        weight *= (1 - _NEVER) / (self._grid.size * np.exp(_SLOPE_PRIOR).sum())
        rest = _NEVER * np.exp(never - max(score.max(), never))
        total = weight.sum() + rest
        density = weight.sum(axis=0)
        self.at = float(self._grid[int(np.argmax(density))])
        step = float(self._grid[1] - self._grid[0])
        self.below = np.cumsum(gaussian_filter1d(density, OFF / step, mode="nearest")) / total
        self.slope = float(_SLOPES[int(np.argmax(weight.sum(axis=1)))])

    def _is_near(self, probe: _Probe) -> bool:
        off = abs(probe.x - self.at)
        return off <= NEAR_RATE and self.slope * off <= NEAR

    def _model(self, x: float) -> float:
        """Share that breaks the limit at a log rate, by the likeliest fit."""
        return float(_grown(self._allowed, np.asarray(self.slope * (x - self.at))))

    def _spread(
        self, probes: Sequence[_Probe], shares: Sequence[float], residual: Sequence[Floats]
    ) -> float:
        """Variance of a share over that of independent requests, near the limit.

        From the spread of blocks (those that follow each other are alike, too: their covariance
        counts twice), and where it is larger from how far the probes are from the fit (the ratio
        of Birge, Physical Review 40 (1932) 207-227).
        """
        squares, misses, usual = [], [], []
        for probe, seen, rest in zip(probes, shares, residual, strict=True):
            if not self._is_near(probe) or (self._with_luck is not None and not probe.share):
                continue
            off = rest - probe.counted * rest.sum() / probe.total
            square = float((off**2).sum() + 2 * max(0.0, float((off[1:] * off[:-1]).sum())))
            square *= BLOCKS / (BLOCKS - 1)
            share = float(np.clip(self._model(probe.x), 1 / probe.total, 0.9))
            squares.append(square)
            misses.append(((seen - share) * probe.total) ** 2)
            usual.append(probe.total * share * (1 - share))
        if not usual:
            return _USUAL_SPREAD
        ratio = max(one / of for one, of in zip(squares, usual, strict=True))
        mean = sum(usual) / len(usual)
        own = (sum(squares) + mean * min(_USUAL_SPREAD, ratio)) / (sum(usual) + mean)
        between = (sum(misses) + 2 * mean * own) / sum(usual)
        return SAFETY * max(_LEAST_SPREAD, own, between)

    # --- the virtual queue ---------------------------------------------------------------------

    def _without_luck(
        self, some: Sequence[tuple[Shown, _Probe]], place: int, arrival: object
    ) -> tuple[list[float], list[Floats]]:
        """Return each probe's share and blocks less what the virtual queue says was luck."""
        best: tuple[float, float, list[Floats]] | None = None
        near = [self._is_near(probe) for _, probe in some]
        for queue in _queues(some, arrival):
            laws: list[tuple[_OnPaper, float]] = [(queue.exceeded, at) for at in UTILIZATIONS]
            laws += [(queue.crowded, at) for at in WIDTHS]
            for law, size in laws:
                controls = [
                    self._control(one, probe, place, law, size) if is_near else probe.counted * 0
                    for (one, probe), is_near in zip(some, near, strict=True)
                ]
                correlation, factor = _regress(
                    [probe for (_, probe), is_near in zip(some, near, strict=True) if is_near],
                    [one for one, is_near in zip(controls, near, strict=True) if is_near],
                )
                if best is None or correlation > best[0]:
                    best = correlation, factor, controls
        assert best is not None  # noqa: S101 - there are queues and utilizations
        self.control, factor, controls = best
        rest = [  # where nothing broke, nobody knows whether that was luck
            probe.broken - factor * control if probe.share else probe.broken
            for (_, probe), control in zip(some, controls, strict=True)
        ]
        return [
            float(left.sum()) / probe.total for (_, probe), left in zip(some, rest, strict=True)
        ], rest

    def _control(self, one: Shown, probe: _Probe, place: int, law: _OnPaper, size: float) -> Floats:
        """Return how many more than usual are late on paper, block by block."""
        there = float(size * np.exp(probe.x - self.at))
        share = float(np.clip(self._model(probe.x), *SHARES))
        late = law(one.due_s * one.rate, one.work, there, share) - share
        tally = one.tallies[place]
        at = np.searchsorted(one.due_s, tally.at_s + _TINY, side="right") - 1
        own = late[np.maximum(at, 0)] * tally.counted
        return _in_blocks(tally, own, one.from_s, one.to_s)


def _grown(allowed: float, rise: Floats) -> Floats:
    """Return the share that has grown by so much in its logarithm, mirrored above a half."""
    log = np.log(allowed) + rise
    log = np.clip(log, -20, 20)
    share = np.where(log < np.log(0.5), np.exp(log), 1 - 0.25 * np.exp(-log))
    return np.asarray(np.clip(share, _LEAST_SHARE, 1 - _LEAST_SHARE), dtype=np.float64)


def _queues(some: Sequence[tuple[Shown, _Probe]], arrival: object) -> list[VirtualQueue]:
    """Return the queue of equal requests, and of requests as long as planned where that differs."""
    assert can_control(arrival)  # noqa: S101 - the caller asked
    work = np.sort(np.concatenate([one.work for one, _ in some]))
    found = [virtual_queue(arrival, (1.0,))]
    if work[0] != work[-1]:
        steps = tuple(np.quantile(work, np.linspace(0.005, 0.995, 100)).tolist())
        found.append(virtual_queue(arrival, steps))
    return found


def _regress(probes: Sequence[_Probe], controls: Sequence[Floats]) -> tuple[float, float]:
    """Return correlation and factor of what broke on the controls, within probes."""
    pairs = [
        (
            probe.broken - probe.counted * probe.share,
            control - probe.counted * control.sum() / probe.total,
        )
        for probe, control in zip(probes, controls, strict=True)
    ]
    ours = np.concatenate([one for one, _ in pairs])
    theirs = np.concatenate([one for _, one in pairs])
    square = float((theirs**2).sum())
    if square < _TINY or not ours.any():
        return 0.0, 0.0
    product = float((ours * theirs).sum())
    return product / float(np.sqrt(square * (ours**2).sum())), float(
        np.clip(product / square, 0.0, MOST_FACTOR)
    )


def _blocks(one: Shown, tally: Tally) -> _Probe:
    broken = _in_blocks(tally, tally.broken, one.from_s, one.to_s)
    counted = _in_blocks(tally, tally.counted, one.from_s, one.to_s)
    total = float(counted.sum())
    share = float(broken.sum()) / total if total else 0.0
    return _Probe(x=float(np.log(one.rate)), share=share, broken=broken, counted=counted)


def _in_blocks(tally: Tally, values: Floats, from_s: float, to_s: float) -> Floats:
    """Return sums of one value a request over equal parts of [from_s, to_s)."""
    part = (tally.at_s - from_s) / (to_s - from_s) * BLOCKS
    inside = (part >= 0) & (part < BLOCKS)
    places = part[inside].astype(int)
    return np.bincount(places, weights=values[inside], minlength=BLOCKS).astype(np.float64)
