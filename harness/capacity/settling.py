"""How long an open-loop probe takes until it is the load that it is to be. Pure.

It begins at an empty server; and of a profile with sessions at users who all take their first turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from harness.measuring.samples import Floats
    from loadprofiles.records import DrivePlan

SETTLE_SHARE: Final = 0.1
"""Share of a probe's planned length that is left out at least."""
MOST_SHARE: Final = 0.5
"""Of how long it ran, that is left out at most for sessions to come to their later turns."""
FOLLOWED: Final = 0.95
"""Share of all turns that have been reached, by then, of the sessions begun first."""


def conversation_s(plan: DrivePlan, answer_s: float) -> float:
    """Return how long after a session's begin 95 % of all turns are due; 0 without sessions.

    Args:
        plan: of any cell of the profile.
        answer_s: how long an answer takes.
    """
    if not plan.after:
        return 0.0
    think_ns = plan.think_ns or [0] * len(plan.after)
    at_s = np.zeros(len(plan.after))
    for turn, before in enumerate(plan.after):
        if before >= 0:
            at_s[turn] = at_s[before] + answer_s + think_ns[turn] / 1e9
    return float(np.quantile(at_s, FOLLOWED))


def turns_of(plan: DrivePlan) -> float:
    """Return how many turns a session has on average; 1 without sessions."""
    if not plan.after:
        return 1.0
    return len(plan.after) / sum(before < 0 for before in plan.after)


def served_rate(ends_s: Floats, until_s: float) -> float:
    """Return how many answers/s a server gave that was empty at first, and full soon after.

    Those that were begun together end together, in waves: by t there were (t/S - 1/2) of them on
    average, S the time until the first, which is taken for granted.

    Args:
        ends_s: of answers, from the first departure.
        until_s: those that ended later do not count.
    """
    ends_s = ends_s[ends_s < until_s]
    return ends_s.size / (until_s - float(ends_s.min()) / 2) if ends_s.size else 0.0


def settle_s(plan: DrivePlan, planned_s: float, ran_s: float, answer_s: float) -> float:
    """Return the part of an open-loop probe's length that is left out.

    Args:
        plan: its own.
        planned_s: its length, if it is not ended early.
        ran_s: its length as it was.
        answer_s: how long an answer takes.
    """
    return max(SETTLE_SHARE * planned_s, min(conversation_s(plan, answer_s), MOST_SHARE * ran_s))
