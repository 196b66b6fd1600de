"""What `harness capacity` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from harness.capacity.search import PRECISION, PROBES
from harness.errors import BadInputError
from loadprofiles.profile import Overrides, Profile

if TYPE_CHECKING:
    from harness.load.request import LoadRequest
    from harness.measuring.slo import Slo
    from harness.sizing.asked import Asked

REQUESTS: Final = 1500
"""A probe is to have so many, within the bounds below."""
LEAST_S: Final = 15.0
MOST_S: Final = 60.0
ANSWERS: Final = 10
"""A probe lasts so many times as long as one answer alone."""
LEAST_REQUESTS: Final = 20
"""And as long as so many requests take,"""
LONGEST_S: Final = 900.0
"""but for them no longer than this."""
CONVERSATIONS: Final = 5
"""And so many times as long as it takes until most turns of a session are due."""
ALONE: Final = 60
"""Requests of the scout of one stream,"""
ALONE_S: Final = 20.0
"""or so long, whichever comes first."""
MANY_S: Final = (5.0, 30.0)
"""Bounds of the scout of many streams."""
MANY_ANSWERS: Final = 5


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """Everything that was asked."""

    load: LoadRequest
    """Its profile sends at a rate; its levels are not looked at."""
    slo: Slo
    duration_s: float | None = None
    """Of each open-loop probe; None: as long as `REQUESTS` of them take, within bounds."""
    probes: int = PROBES
    precision: float = PRECISION
    sizing: Asked | None = None
    """What it is to be sized for."""

    def scout(self, streams: int, latency_s: float | None) -> Profile:
        """Return the profile of a scout: the same requests in a closed loop.

        Args:
            streams: kept open.
            latency_s: of an answer alone, where that is known.
        """
        closed, most_s = closed_of(self.load.profile), self.duration_s or ALONE_S
        if streams == 1 or latency_s is None:
            return closed.with_overrides(
                Overrides(requests=ALONE, duration_s=min(ALONE_S, most_s), warmup=5)
            )
        low, high = MANY_S
        duration_s = min(max(MANY_ANSWERS * latency_s, min(low, most_s)), high)
        return closed.with_overrides(Overrides(duration_s=duration_s, warmup=streams))

    def probe(self, rate: float, latency_s: float | None, conversation_s: float = 0.0) -> Profile:
        """Return the profile of an open-loop probe.

        Args:
            rate: requests/s, or sessions/s.
            latency_s: of an answer alone.
            conversation_s: how long after a session's begin most of its turns are due.
        """
        duration_s = self.duration_s
        if duration_s is None:
            duration_s = max(probe_s(rate, latency_s or 0.0), CONVERSATIONS * conversation_s)
        return self.load.profile.with_overrides(Overrides(duration_s=float(f"{duration_s:.3g}")))


def probe_s(
    rate: float, latency_s: float, most_s: float = MOST_S, requests: int = REQUESTS
) -> float:
    """Return how long an open-loop probe lasts, unless it is decided before.

    Args:
        rate: requests/s.
        latency_s: of an answer alone.
        most_s: where the next two do not ask for more.
        requests: that it is to have.
    """
    wanted_s = min(max(requests / rate, LEAST_S), most_s)
    least_s = min(LEAST_REQUESTS / rate, LONGEST_S)
    return max(wanted_s, least_s, ANSWERS * latency_s)


def drained(profile: Profile) -> Profile:
    """Return a profile that waits for each answer: one cut off would count as one that failed."""
    return profile.model_copy(update={"drain_s": max(profile.drain_s, profile.timeout_s)})


def closed_of(profile: Profile) -> Profile:
    """Return a profile with the same requests in a closed loop.

    Raises:
        BadInputError: its lengths come from a trace, or it keeps streams open itself.
    """
    if profile.is_closed:
        raise BadInputError(
            f"--profile: {profile.name} keeps streams open, and a highest rate is one of arrivals",
            hint="Take a profile that sends at a rate: steady, gamma, bursty, chat-sessions.",
        )
    fields = profile.model_dump() | {"arrival": {"kind": "closed"}, "levels": (1,)}
    try:
        return Profile.model_validate(fields)
    except ValidationError as error:
        raise BadInputError(
            f"--profile: {profile.name} takes its lengths from a trace, and the first probes keep "
            "streams open",
            hint="Take --profile steady with lengths like the trace's.",
        ) from error
