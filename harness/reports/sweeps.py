"""Sweeps as text: sentences for people, rows for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.measuring.sweep import UNDER_WAY
from harness.reports.figures import NOTHING, figure, plain, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.sweep import Sweep, SweepLevel

_ENDED: Final = {
    "saturated": "it was saturated",
    "range": "its range was through",
    "levels": "its levels were through",
    "time": "its time was over",
    "client": "the client could do no more",
    "failing": "requests failed",
    "unanswered": "nobody answered",
}


def header(sweep: Sweep) -> list[str]:
    """Return the names of a table's columns."""
    return [
        "Streams" if sweep.level == "concurrency" else "Rate",
        "offered/s",
        "answered/s",
        sweep.unit,
        "±",
        *(["fitted"] if sweep.level == "concurrency" else ["queue"]),
        "in flight",
        "steady",
    ]


def rows(sweep: Sweep) -> Iterator[list[str]]:
    """Yield a row for each level, ascending; in brackets what the fit does not use."""
    for one in sweep.levels:
        queue = "held" if one.stable else "grows"
        yield [
            f"{one.level:g}",
            figure(one.offered_rate),
            figure(one.answered_rate),
            figure(one.throughput) if one.used else f"({figure(one.throughput)})",
            figure(one.reach),
            figure(one.fitted) if sweep.level == "concurrency" else queue,
            figure(one.in_flight),
            _steady(one),
        ]


def _steady(one: SweepLevel) -> str:
    if one.steady != "steady" or not one.cut_share:
        return "yes" if one.steady == "steady" else one.steady
    return f"{share(one.cut_share)} cut"


def sentences(sweep: Sweep) -> Iterator[str]:
    """Yield what came out, why it ended, and what to mind."""
    yield plain(f"{sweep.build}: {headline(sweep)}")
    if sweep.ended == UNDER_WAY:
        yield f"The sweep did not end: {sweep.text}."
    else:
        yield f"The sweep ended since {_ENDED[sweep.ended]}: {sweep.text}."
    yield from map(plain, sweep.notes)


def headline(sweep: Sweep) -> str:
    """Return the knee and the plateau in one sentence."""
    knee = sweep.knee
    if knee is None:
        return "no knee was found."
    at = _with(knee.level, knee.ci95)
    top = f"{_with(sweep.plateau, sweep.plateau_ci95)} {sweep.unit}"
    if knee.kind == "queue":
        return f"the server saturates at {at} requests/s; beyond, the queue grows."
    near = ""
    if sweep.near is not None:
        near = f"; 95 % of it from {_with(sweep.near, sweep.near_ci95)} streams on"
    if knee.kind == "corner":
        return f"throughput grows up to {at} streams, to {top} at most{near}."
    return f"throughput bends at {at} streams, towards a limit of {top}{near}."


def _with(value: float | None, ci95: tuple[float, float] | None) -> str:
    """Return a figure with its interval."""
    if value is None:
        return NOTHING
    return figure(value) if ci95 is None else f"{figure(value)} ({'–'.join(map(figure, ci95))})"
