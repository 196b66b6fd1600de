"""When the requests of an open loop are due, of a process or of a trace, from the seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from loadprofiles.arrivals.trace import Trace
from loadprofiles.dialects import load_dialect
from loadprofiles.draw import Draw
from loadprofiles.errors import ProfileError
from loadprofiles.prompts.lengths import FromTrace
from loadprofiles.prompts.pairs import COLUMNS, longest_of
from loadprofiles.records import Replay
from loadprofiles.traffic.schedule import NS, OpenArrival, schedule, schedule_requests

if TYPE_CHECKING:
    from loadprofiles.arrivals.trace import Replayed
    from loadprofiles.profile import Profile


def check_schedule(
    profile: Profile,
    level: float,
    repeat: int,
    seed: int,
    max_model_len: int | None = None,
    dialect: str = "openai-completions",
) -> None:
    """Refuse a level at which a cell's schedule happens to be empty, or a trace is none.

    So it is with a trace of which a request does not fit the model, the chat template included.

    Raises:
        ProfileError: with the fix.
        UnknownDialectError: no dialect of that name.
    """
    if profile.is_closed:
        return
    sending = open_loop(profile, level, Draw(seed, profile.name, float(level), repeat))
    if "replayed" not in sending or max_model_len is None:
        return
    replayed: Replayed = sending["replayed"]
    total = np.zeros(len(replayed.due_ns), dtype=np.int64)
    for column in COLUMNS:
        from_trace = isinstance(getattr(profile, column), FromTrace)
        total += getattr(replayed, column) if from_trace else longest_of(profile, column)
    room = max_model_len - load_dialect(dialect).template_tokens
    over = int(np.count_nonzero(total > room))
    if over:
        raise ProfileError(
            "arrival.file",
            f"{over} of {len(total)} requests of the trace are longer than the model's "
            f"{max_model_len} tokens (max_model_len), the longest {total.max()}: set clip_to = "
            f"{room} to shorten them (--clip-to), skip_above = {room} to leave them out "
            "(--skip-above), or serve the model with a longer context",
        )


def departures_of(profile: Profile, rate: float, *, repeat: int = 1, seed: int = 0) -> list[int]:
    """Return a cell's departures as ns from the window's start: those that `make_plan` plans.

    Raises:
        ProfileError: the level cannot be, or happens to give no request.
    """
    profile.check_level(rate)
    due: list[int] = open_loop(profile, rate, Draw(seed, profile.name, float(rate), repeat))[
        "due_ns"
    ]
    return due


def open_loop(profile: Profile, rate: float, draw: Draw) -> dict[str, Any]:
    """The schedule. With duration and requests both given, whichever comes first ends it.

    A Profile has both only where the rate is constant: a part of a ramp has another mean rate.
    """
    arrival = profile.arrival
    assert isinstance(arrival, OpenArrival)  # noqa: S101 - the caller asked
    rng = draw.rng("arrivals")
    if isinstance(arrival, Trace):
        return _replay(arrival, rate, profile.duration_s, profile.requests, rng)
    if profile.duration_s is None:
        assert profile.requests is not None  # noqa: S101 - a Profile has one of both
        due, duration_ns = schedule_requests(arrival, rate, profile.requests, rng)
    else:
        due, duration_ns = (
            schedule(arrival, rate, profile.duration_s, rng),
            round(profile.duration_s * NS),
        )
        if profile.requests is not None and len(due) > profile.requests:
            duration_ns = max(int(due[profile.requests]), 1)
            due = due[: profile.requests]
    if len(due) == 0:
        raise ProfileError(
            "rate",
            f"{rate:g} requests/s for {duration_ns / NS:g} s happen to give no request at all; "
            "raise it or duration_s",
        )
    bursts = arrival.bursts(duration_ns / NS)
    return {
        "mode": "open",
        "due_ns": due.tolist(),
        "duration_ns": duration_ns,
        "arrival": arrival.model_dump(mode="json"),
        "rate": rate,
        "bursts_ns": [(round(start * NS), round(end * NS)) for start, end in bursts],
        "bodies": len(due),
    }


def _replay(
    arrival: Trace,
    rate: float,
    duration_s: float | None,
    requests: int | None,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The schedule of a trace."""
    replayed = arrival.replay(rate, duration_s, requests, rng)
    if len(replayed.due_ns) == 0:
        raise ProfileError("rate", f"{rate:g} requests/s leave no request of the trace; raise it")
    return {
        "mode": "open",
        "due_ns": replayed.due_ns.tolist(),
        "duration_ns": replayed.duration_ns,
        "arrival": arrival.model_dump(mode="json"),
        "rate": rate,
        "bodies": len(replayed.due_ns),
        "replayed": replayed,
        "replay": Replay(
            time_scale=replayed.time_scale,
            clipped=replayed.clipped,
            skipped=replayed.skipped,
            thinned=replayed.thinned,
            unsorted=replayed.unsorted,
        ),
    }
