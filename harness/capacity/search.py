"""Which probe comes next, and when the highest rate is known. Pure: no clock, no server.

Two scouts in a closed loop, one stream and many, say how long an answer takes alone and how many
are made a second at most. Then rates are tried in an open loop: from below until one breaks, and
then where the limit is most likely to lie, a little to either side by turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.stats import beta

from harness.capacity.estimate import CONFIDENCE, Estimate, Shown, estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

PROBES: Final = 12
"""The most that are made, scouts included."""
PRECISION: Final = 0.03
"""Half the interval, as a ratio of the rate, at which the search ends."""
LEAST_NEAR: Final = 5
"""Probes that must lie near the limit before it ends."""
NEAR: Final = 0.15
"""How far from it that is, in the log of the rate."""
MANY: Final = 32
"""Streams of the second scout."""
FIRST: Final = 0.8
"""The first rate, as a ratio of what the second scout was served."""
THEN: Final = 1.1
"""The next one, where the first holds."""
UP: Final = 2.0
"""Where that holds, too, the second scout was not all the load: so many times as high each time."""
ASIDE: Final = 0.6
"""How far from the likeliest rate the next one is, in standard deviations of it."""
MOST_ASIDE: Final = 0.05
LOWEST: Final = 0.02
"""The lowest rate that is possible, as a ratio of 1 / latency alone."""
DOWN: Final = 0.7
"""As long as none has held, the next one is at most so many times the lowest."""
HOPELESS: Final = 2.0
"""A limit that lies so near the lowest rate that is possible is none."""
CLOSE: Final = 0.95
"""So near the lowest rate for which the client was too slow there is nothing to try."""
CLIENT_TRIES: Final = 2
"""So often a rate is tried at which the client was too slow."""

Outcome = Literal[
    "found", "imprecise", "not_met_at_any_load", "not_reached_by_client", "nothing_answered"
]
"""imprecise: the interval is wider than asked after all probes."""


@dataclass(frozen=True, kw_only=True)
class Scout:
    """A closed-loop probe."""

    streams: int
    shares: tuple[float, ...]
    """That broke each limit."""
    requests: int
    served_rate: float
    """Answers/s."""
    latency_s: float | None
    """Median from sent to the last token; None where nothing was answered."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An open-loop probe; `shown` is None where the client was the bottleneck."""

    rate: float
    shown: Shown | None


@dataclass(frozen=True, kw_only=True)
class Ask:
    """The next probe."""

    streams: int | None = None
    """Of a scout."""
    rate: float | None = None
    """Of an open-loop probe, requests/s."""
    repeat: int = 1


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a search."""

    outcome: Outcome
    max_rate: float | None
    """Highest rate at which the limits hold, requests/s; None where there is none."""
    interval: tuple[float, float] | None
    text: str


@dataclass(kw_only=True)
class Search:
    """One search by all its probes so far.

    Args:
        allowed: share that may break each limit.
        names: the limits as they were written.
        arrival: the law of the arrivals, for `estimate`.
        scouts: so far.
        tried: so far.
        probes: how many may be made.
        precision: half the interval at which it ends, as a ratio.
    """

    allowed: tuple[float, ...]
    names: tuple[str, ...]
    arrival: object = None
    scouts: Sequence[Scout] = ()
    tried: Sequence[Tried] = field(default_factory=tuple)
    probes: int = PROBES
    precision: float = PRECISION

    @property
    def shown(self) -> list[Shown]:
        """The probes that say something of the server."""
        return [one.shown for one in self.tried if one.shown is not None]

    @property
    def made(self) -> int:
        """How many probes were made."""
        return len(self.scouts) + len(self.tried)

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest rate that are possible at all."""
        alone, many = self.scouts[0], self.scouts[-1]
        latency_s = alone.latency_s or 1.0
        rates = [one.rate for one in self.tried] or [FIRST * many.served_rate]
        low = min(LOWEST / latency_s, 0.2 * many.served_rate, 0.5 * min(rates))
        return low, max(8 * many.served_rate, 4 * max(rates))

    @cached_property
    def estimate(self) -> Estimate:
        """The distribution of the highest rate."""
        return estimate(self.shown, self.allowed, self.bounds, self.arrival)

    @property
    def ceiling(self) -> float | None:
        """Lowest rate for which the client was too slow, each time it was tried."""
        rates = {one.rate for one in self.tried if one.shown is None}
        for rate in sorted(rates):
            tries = [one for one in self.tried if one.rate == rate]
            if len(tries) >= CLIENT_TRIES and all(one.shown is None for one in tries):
                return rate
        return None

    def hopeless(self) -> str | None:
        """Return the limit that one request at a time breaks, by more than chance; None if none."""
        for scout in self.scouts:
            if scout.streams != 1:
                continue
            for share, allowed, name in zip(scout.shares, self.allowed, self.names, strict=True):
                broken = round(share * scout.requests)
                if scout.requests and broken:
                    least = beta.ppf(0.01, broken, scout.requests - broken + 1)
                    if least > allowed:  # Clopper & Pearson 1934
                        return name
        return None

    def next(self) -> Ask | Answer:
        """Return what to do next, or what came of it."""
        if self.hopeless() is not None or (self.made >= self.probes and self.tried):
            return self.answer()
        if any(one.served_rate <= 0 for one in self.scouts):
            return self.answer()
        if len(self.scouts) < 2:  # noqa: PLR2004 - one stream, many streams
            return Ask(streams=MANY if self.scouts else 1)
        if self.tried and self.tried[-1].shown is None:
            again = [one for one in self.tried if one.rate == self.tried[-1].rate]
            if len(again) < CLIENT_TRIES:
                return Ask(rate=self.tried[-1].rate, repeat=len(again) + 1)
        rate = self._next_rate()
        return self.answer() if rate is None else Ask(rate=rate)

    def answer(self) -> Answer:
        """Return what is known by now."""
        hopeless = self.hopeless()
        if hopeless is not None:
            text = f"One request at a time breaks {hopeless}: it is not met at any load."
            return Answer(outcome="not_met_at_any_load", max_rate=None, interval=None, text=text)
        if not self.shown:
            if self.tried:
                return self._not_reached(None)
            text = "No request was answered. See the failures and the server's log."
            return Answer(outcome="nothing_answered", max_rate=None, interval=None, text=text)
        low, high = self.estimate.interval
        held = self._highest_held()
        if self.ceiling is not None and self.estimate.median >= 0.97 * self.ceiling:
            return self._not_reached(held)
        if held is None and self.estimate.median < HOPELESS * self.bounds[0]:
            text = "The limits break at the lowest rate that was tried: not met at any load."
            return Answer(outcome="not_met_at_any_load", max_rate=None, interval=None, text=text)
        precise = self.estimate.half_width <= self.precision
        sure = f"{CONFIDENCE:.0%} interval {low:.4g} to {high:.4g} requests/s"
        return Answer(
            outcome="found" if precise else "imprecise",
            max_rate=self.estimate.median,
            interval=(low, high),
            text=f"The limits hold up to {self.estimate.median:.4g} requests/s ({sure}).",
        )

    def _not_reached(self, held: float | None) -> Answer:
        ceiling = max(one.rate for one in self.tried) if self.ceiling is None else self.ceiling
        known = "" if held is None else f" They hold at {held:.4g} requests/s."
        return Answer(
            outcome="not_reached_by_client",
            max_rate=None,
            interval=None,
            text=f"The limits were not reached by this client, which was too slow for "
            f"{ceiling:.4g} requests/s.{known} Give it cores or workers of its own.",
        )

    def _next_rate(self) -> float | None:
        """Return the next rate to try; None if there is none that would tell more."""
        if not self.tried:
            return _plain(FIRST * self.scouts[-1].served_rate)
        if not self.shown:
            below = _plain(min(*(one.rate for one in self.tried), np.inf) / UP)
            return below if below > 0 else None
        return self._near_limit() if self.broke else self._upwards()

    def _upwards(self) -> float | None:
        """No rate broke a limit yet: return one that may."""
        highest, served = max(one.rate for one in self.shown), self.scouts[-1].served_rate
        up = THEN * served if highest < served else UP * highest
        if self.ceiling is not None and up >= self.ceiling:
            up = (highest + self.ceiling) / 2
            if up > CLOSE * self.ceiling:
                return None
        return _plain(up)

    def _near_limit(self) -> float | None:
        """Return a rate where the limit is likely, to either side by turns."""
        held, found = self._highest_held(), self.estimate
        near = [one for one in self.shown if abs(np.log(one.rate / found.median)) <= NEAR]
        done = len(near) >= LEAST_NEAR and found.half_width <= self.precision
        if done or (held is None and found.median < HOPELESS * self.bounds[0]):
            return None
        spread = np.log(found.quantile(0.84) / found.quantile(0.16)) / 2
        aside = min(ASIDE * spread, MOST_ASIDE) * (-1 if self.made % 2 else 1)
        rate = found.median * float(np.exp(aside))
        if held is None:
            rate = min(rate, DOWN * min(one.rate for one in self.shown))
        else:
            rate = min(rate, UP * held)
        if self.ceiling is not None and rate >= self.ceiling:
            return None
        return _other(_plain(rate), [one.rate for one in self.tried])

    def _highest_held(self) -> float | None:
        rates = [one.rate for one in self.shown if not breaks(one, self.allowed)]
        return max(rates) if rates else None

    @property
    def broke(self) -> bool:
        """Whether a rate was tried that broke a limit."""
        return any(breaks(one, self.allowed) for one in self.shown)


def shares_of(one: Shown) -> tuple[float, ...]:
    """Return the share that broke each limit, as counted."""
    return tuple(tally.within(one.from_s, one.to_s).share for tally in one.tallies)


def breaks(one: Shown, allowed: Sequence[float]) -> bool:
    """Whether a probe broke a limit, as counted."""
    return any(share > most for share, most in zip(shares_of(one), allowed, strict=True))


def _plain(rate: float) -> float:
    """Round to four digits: a rate is a cell's name, too."""
    return float(f"{rate:.4g}")


def _other(rate: float, taken: Sequence[float]) -> float:
    """Return a rate that was not tried yet: each rate has a schedule of its own."""
    while rate in taken:
        rate = _plain(rate * 1.002)
    return rate
