"""Whether a level's connections fit into what the drivers' processes may have open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from loadprofiles.descriptors import OWN, room
from loadprofiles.errors import ProfileError
from loadprofiles.traffic.schedule import NS
from loadprofiles.traffic.timetable import departures_of

if TYPE_CHECKING:
    from loadprofiles.profile import Profile

LESS: Final = 0.98
"""A rate whose arrivals are too many is lowered by this factor until they are not."""


def check_descriptors(
    profile: Profile, level: float, repeat: int, seed: int, processes: int = 1
) -> None:
    """Refuse a level for which the drivers will find no file descriptor left.

    A closed loop has a connection a stream. An open loop has as many as are under way, which
    nobody knows before; the arrivals of any one second are taken to be.

    Args:
        profile: with all overrides.
        level: streams, or requests/s.
        repeat: of the cell; an open loop's arrivals depend on it.
        seed: the run's.
        processes: how many share the level, each with a limit of its own.

    Raises:
        ProfileError: with a level that would work, and how to have this one.
    """
    most = room() * processes
    if profile.is_closed:
        if level > most:
            what, fits = f"{level:g} streams are as many open files", str(most) if most else ""
            _refuse("level", what, math.ceil(level / processes), processes, fits)
        return
    arrivals = _in_one_second(profile, level, repeat, seed)
    if arrivals > most:
        what = f"at {level:g} requests/s, {arrivals} arrive within one second and may all be open"
        fits = _rate_that_fits(profile, level * most / arrivals, repeat, seed, most)
        _refuse("rate", what, math.ceil(arrivals / processes), processes, fits)


def _refuse(field: str, what: str, each: int, processes: int, fits: str) -> None:
    hard = room() + OWN
    who = "the client" if processes == 1 else f"each of the {processes} workers"
    raise ProfileError(
        field,
        f"{what}, and {who} may have {hard}, {OWN} of them for itself: "
        + (f"take at most {fits}, or " if fits else "")
        + f"allow it more (ulimit -Hn {each + OWN}; of a container --ulimit nofile={each + OWN})",
    )


def _in_one_second(profile: Profile, rate: float, repeat: int, seed: int) -> int:
    due = np.array(departures_of(profile, rate, repeat=repeat, seed=seed), dtype=np.int64)
    until = np.searchsorted(due, due + NS, side="left")
    return int((until - np.arange(len(due))).max())


def _rate_that_fits(profile: Profile, rate: float, repeat: int, seed: int, most: int) -> str:
    """A rate of three digits whose arrivals fit; nothing where none was found."""
    for step in range(100):
        found = float(f"{rate * LESS**step:.3g}")
        try:
            profile.check_level(found)
            if found and _in_one_second(profile, found, repeat, seed) <= most:
                return f"{found:g}"
        except ProfileError:
            break
    return ""
