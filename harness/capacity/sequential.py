"""Whether a probe that is still under way has shown enough already. Pure.

Wald's sequential probability ratio test (Annals of Mathematical Statistics 16 (1945) 117-186), its
evidence divided by how alike requests in a row are. A probe is clearly broken when half of what the
limit allows to hold is broken, too: its queue does not come back. It clearly holds when a fifth of
what is allowed to break did.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.capacity.attainment import Tally

SURE: Final = log(99)
"""Odds of 99 to 1."""
ALIKE: Final = 20.0
"""Requests in a row that tell as much as one alone, where a queue builds up."""
ALIKE_IDLE: Final = 5.0
"""The same where it does not."""
TOGETHER: Final = 2.0
"""Requests that are under way together break a limit together: so many times as many tell as much
as one alone, if that is more than `ALIKE`,"""
TOGETHER_IDLE: Final = 0.2
"""or than `ALIKE_IDLE`."""
LEAST_PART: Final = 0.3
"""Part of the planned length before which nothing is decided."""

Shown = Literal["broken", "holds"]


def decided(
    tallies: Sequence[Tally],
    allowed: Sequence[float],
    part: float,
    *,
    may_hold: bool,
    in_flight: float = 0.0,
) -> Shown | None:
    """Return what a probe has clearly shown by now; None while it is open.

    Args:
        tallies: of each limit, what is known by now of the part that counts.
        allowed: share that may break each.
        part: of the planned length that is over.
        may_hold: whether a probe that clearly holds may be ended; near the limit each request
            that shows that it holds is needed.
        in_flight: requests under way at once, if each takes as long as one alone.
    """
    if part < LEAST_PART:
        return None
    pairs = list(zip(tallies, allowed, strict=True))
    alike = max(ALIKE, TOGETHER * in_flight)
    if any(_evidence(tally, most, (1 + most) / 2, alike) >= SURE for tally, most in pairs):
        return "broken"
    alike = max(ALIKE_IDLE, TOGETHER_IDLE * in_flight)
    holds = all(_evidence(tally, most, most / 5, alike) >= SURE for tally, most in pairs)
    return "holds" if may_hold and holds else None


def _evidence(tally: Tally, allowed: float, instead: float, alike: float) -> float:
    """Log of how much likelier `instead` is than the allowed share, by what was counted."""
    some = tally.counted > 0
    requests = int(some.sum())
    broken = float((tally.broken[some] / tally.counted[some]).sum())
    gain = broken * log(instead / allowed)
    return (gain + (requests - broken) * log((1 - instead) / (1 - allowed))) / alike
