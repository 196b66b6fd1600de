"""Which probe comes next, and when the highest rate is known. Pure: no clock, no server.

Two scouts in a closed loop, one stream and many, say how long an answer takes alone and, unless the
server could have taken far more, how many are made a second at most. Then rates are tried in an
open loop: from below until one breaks, in leaps as long as nobody knows how many are made at most,
and then where the limit is most likely to lie, a little to either side by turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.stats import beta

from harness.capacity.estimate import CONFIDENCE, Estimate, Shown, estimate
from harness.capacity.estimate import NEAR as TELLING

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
LEAST_TELLING: Final = 3
"""Of them, probes that must lie where neither all nor nothing breaks (`estimate.NEAR`)."""
MANY: Final = 32
"""Streams of the second scout."""
FULL: Final = 0.5
"""Where each of many streams is served at less than this share of what one alone is, the server
has not much more to give."""
LEAP: Final = 8.0
"""Where it has, the next rate is so many times as high."""
FIRST: Final = 0.8
"""The first rate, as a ratio of the most that was served."""
THEN: Final = 1.1
"""The next one, where the first holds."""
BETWEEN: Final = (0.8, 0.95, 1.1, 1.5)
"""The rates, as ratios of the same, between those that held and one far above that broke."""
APART: Final = 1.05
"""Ratio of two rates at least, where the limit is not near yet."""
UP: Final = 2.0
"""How many times as high the next rate is where it holds beyond what seemed the most."""
OVERLOADED: Final = 0.5
"""Share of broken requests from which a probe was more than the server can take."""
ASIDE: Final = 0.6
"""How far from the likeliest rate the next one is, in standard deviations of it."""
MOST_ASIDE: Final = 0.05
LOWEST: Final = 0.02
"""The lowest rate that is possible, as a ratio of 1 / latency alone."""
DOWN: Final = (0.35, 0.7)
"""As long as none has held, the next one is so many times the lowest, at least and at most."""
HOPELESS: Final = 2.0
"""A limit that lies so near the lowest rate that is possible is none."""
CLOSE: Final = 0.95
"""So near the lowest rate for which the client was too slow there is nothing to try."""
CLIENT_TRIES: Final = 2
"""So often a rate is tried at which the client was too slow."""

Outcome = Literal[
    "found",
    "imprecise",
    "not_met_at_any_load",
    "not_reached_by_client",
    "nothing_answered",
    "unfinished",
]
"""imprecise: the interval is wider than asked after all probes · unfinished: the search was cut
off, or after all probes the limit may lie anywhere above, or below, those that were tried."""


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
    conversation_s: float = 0.0
    """How long after a session's begin most of its turns are due; 0 without sessions."""
    client_was_slow: bool = False
    """Whether the client was the bottleneck: what broke may have been its fault."""
    empty: bool = False
    """It was cut off before anything was answered."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An open-loop probe; `shown` is None where the client was the bottleneck, or `empty`."""

    rate: float
    shown: Shown | None
    served_rate: float = 0.0
    """Answers/s; more than that were not to be had where it was overloaded."""
    empty: bool = False
    """Nothing was answered, or it was cut off before anything counted."""


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
        unit: of the rates.
    """

    allowed: tuple[float, ...]
    names: tuple[str, ...]
    arrival: object = None
    scouts: Sequence[Scout] = ()
    tried: Sequence[Tried] = field(default_factory=tuple)
    probes: int = PROBES
    precision: float = PRECISION
    unit: str = "requests/s"

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
        latency_s = self.scouts[0].latency_s or 1.0
        rates = [one.rate for one in self.tried] or [FIRST * self.served]
        low = min(LOWEST / latency_s, 0.2 * self.served, 0.5 * min(rates))
        return low, max(8 * self.served, 4 * max(rates))

    @property
    def served(self) -> float:
        """The most answers/s that a probe got."""
        rates = [one.served_rate for one in self.scouts]
        return max(rates + [one.served_rate for one in self.tried])

    @property
    def filled(self) -> bool:
        """Whether a probe was as much as the server can take, or more."""
        alone = self.scouts[0]
        if any(max(shares_of(one), default=0.0) > OVERLOADED for one in self.shown):
            return True
        return any(
            scout.served_rate <= FULL * scout.streams * alone.served_rate
            or any(share > most for share, most in zip(scout.shares, self.allowed, strict=True))
            for scout in self.scouts[1:]
        )

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
            if scout.streams != 1 or scout.client_was_slow:
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
        if self.scouts and self.scouts[0].served_rate <= 0:
            return self.answer()
        if len(self.scouts) < 2:  # noqa: PLR2004 - one stream, many streams
            return Ask(streams=MANY if self.scouts else 1)
        if self.tried and self.tried[-1].shown is None:
            again = [one for one in self.tried if one.rate == self.tried[-1].rate]
            if len(again) < CLIENT_TRIES:
                return Ask(rate=self.tried[-1].rate, repeat=len(again) + 1)
        rate = self._next_rate()
        return self.answer() if rate is None else Ask(rate=rate)

    def answer(self, *, ended: bool = True) -> Answer:
        """Return what is known by now.

        Args:
            ended: whether the search came to its end.
        """
        return self._no_rate(ended=ended) or self._rate(ended=ended)

    def _no_rate(self, *, ended: bool) -> Answer | None:
        """Return why there is no highest rate; None where there may be one."""
        hopeless = self.hopeless()
        if hopeless is not None:
            text = f"One request at a time breaks {hopeless}: it is not met at any load."
            return _none("not_met_at_any_load", text)
        if self.scouts and self.scouts[0].served_rate <= 0:
            text = "No request was answered. See the failures and the server's log."
            return _none("nothing_answered", text)
        if not self.shown:
            return self._not_reached(None) if self.tried and ended else self._unfinished()
        held = self._highest_held()
        if self.ceiling is not None and self.estimate.median >= 0.97 * self.ceiling:
            return self._not_reached(held)
        if ended and held is None and self.estimate.median < HOPELESS * self.bounds[0]:
            text = "The limits break at the lowest rate that was tried: not met at any load."
            return _none("not_met_at_any_load", text)
        return None

    def _rate(self, *, ended: bool) -> Answer:
        """Return the highest rate, where it has been seen from both sides."""
        low, high = self.estimate.interval
        if low <= self.bounds[0] * APART or high >= self.bounds[1] / APART:
            return self._unfinished()
        if self._highest_held() is None:  # below, the client was too slow
            return self._unfinished()
        precise = self.estimate.half_width <= self.precision
        sure = f"{CONFIDENCE:.0%} interval {low:.4g} to {high:.4g} {self.unit}"
        text = f"The limits hold up to {self.estimate.median:.4g} {self.unit} ({sure})."
        if not ended:
            text = f"The search was not finished. By its probes so far: {text}"
        return Answer(
            outcome="unfinished" if not ended else "found" if precise else "imprecise",
            max_rate=self.estimate.median,
            interval=(low, high),
            text=text,
        )

    def _unfinished(self) -> Answer:
        """The limit has not been seen from both sides."""
        held = self._highest_held()
        broke = min((one.rate for one in self.shown if breaks(one, self.allowed)), default=None)
        known = "" if held is None else f" They hold at {held:.4g} {self.unit}."
        known += "" if broke is None else f" They broke at {broke:.4g} {self.unit}."
        text = f"{self.made} probes do not say where the limits break.{known}"
        return _none("unfinished", text)

    def _not_reached(self, held: float | None) -> Answer:
        ceiling = max(one.rate for one in self.tried) if self.ceiling is None else self.ceiling
        known = "" if held is None else f" They hold at {held:.4g} {self.unit}."
        text = (
            f"The limits were not reached by this client, which was too slow for {ceiling:.4g} "
            f"{self.unit}.{known} Give it cores or workers of its own."
        )
        return _none("not_reached_by_client", text)

    def _next_rate(self) -> float | None:
        """Return the next rate to try; None if there is none that would tell more."""
        if self.tried and not self.shown:
            below = _plain(min(one.rate for one in self.tried) / UP)
            return below if below > 0 else None
        rate = self._by_served()
        if rate is not None and (self.ceiling is None or rate < self.ceiling):
            return rate
        return self._near_limit() if self.broke else self._upwards()

    def _by_served(self) -> float | None:
        """Return a rate by the most that was served; None where all that it says was tried."""
        held = self._highest_held() or 0.0
        if not self.filled:
            return None if self.broke else _plain(LEAP * max(held, self.served))
        broke = min((one.rate for one in self.shown if breaks(one, self.allowed)), default=np.inf)
        for ratio in (FIRST, THEN) if broke == np.inf else BETWEEN:
            if APART * held < ratio * self.served < broke / APART:
                return _plain(ratio * self.served)
        return None

    def _upwards(self) -> float | None:
        """No rate broke a limit yet: return one that may."""
        highest = max(one.rate for one in self.shown)
        up = UP * highest
        if self.ceiling is not None and up >= self.ceiling:
            up = (highest + self.ceiling) / 2
            if up > CLOSE * self.ceiling:
                return None
        return _plain(up)

    def _near_limit(self) -> float | None:
        """Return a rate where the limit is likely, to either side by turns."""
        held, found = self._highest_held(), self.estimate
        off = [abs(np.log(one.rate / found.median)) for one in self.shown]
        near = sum(one <= NEAR for one in off)
        telling = sum(one * max(found.slopes) <= TELLING for one in off)
        done = near >= LEAST_NEAR and telling >= LEAST_TELLING
        done = done and found.half_width <= self.precision
        if done or (held is None and found.median < HOPELESS * self.bounds[0]):
            return None
        spread = np.log(found.quantile(0.84) / found.quantile(0.16)) / 2
        aside = min(ASIDE * spread, MOST_ASIDE) * (-1 if self.made % 2 else 1)
        rate = found.median * float(np.exp(aside))
        if held is None:
            lowest = min(one.rate for one in self.shown)
            rate = min(max(rate, DOWN[0] * lowest), DOWN[1] * lowest)
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


def _none(outcome: Outcome, text: str) -> Answer:
    return Answer(outcome=outcome, max_rate=None, interval=None, text=text)


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
