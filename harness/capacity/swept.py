"""A sweep from the numbers of its cells: levels, plateau, knee, and what comes next. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from scipy.special import stdtrit

from harness.capacity.climb import Ask, Bounds, Seen, Stop, step
from harness.capacity.knee import FLOOR, LEAST, fit
from harness.measuring.sweep import UNDER_WAY, Knee, Sweep, SweepLevel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.capacity.knee import Curve
    from harness.measuring.measurement import CellMeasurement
    from harness.measuring.sweep import Ended, SweepPlan

    Cells = Sequence[CellMeasurement]

CLIENT_CODES: Final = frozenset(
    ("late_departures", "streams_not_held", "departures_dropped", "samples_lost", "worker_lost")
)
"""Caveats that say that the load, or its count, was not what was asked. A client that only read too
late to see every gap (`itl_smeared`) has counted all tokens."""
FELL: Final = 0.9
"""Share of the highest throughput; a higher level with less is no part of the plateau."""
CUT: Final = 0.3
"""Share of the windows that may go as not steady without a word."""
GATHER: Final = 1.5
"""Saturated rates up to so many times the lowest tell an open loop's plateau."""
_STATES: Final[tuple[Literal["steady", "not judged", "none"], ...]] = (
    "steady", "not judged", "none",
)  # fmt: skip


def sweeps_of(plan: SweepPlan, cells: Cells, ended: Mapping[str, Ended]) -> list[Sweep]:
    """Return the sweep of each build.

    Args:
        plan: what each may measure.
        cells: of the run.
        ended: build → why its sweep ended before the levels say so.
    """
    builds = dict.fromkeys(cell.build for cell in cells)
    return [
        sweep_of(plan, [cell for cell in cells if cell.build == build], ended.get(build))
        for build in builds
    ]


def sweep_of(plan: SweepPlan, cells: Cells, ended: Ended | None = None) -> Sweep:
    """Return the sweep of one build, which has at least one cell."""
    closed = "concurrency" in cells[0].level
    groups = _by_level(cells)
    tokens = _in_tokens(cells)
    seen = [_seen(plan, level, group, tokens=tokens) for level, group in groups.items()]
    then = step(bounds_of(plan, closed=closed), seen)
    if isinstance(then, Stop):
        why, text = then.why, then.text
    elif ended is not None:
        said = "there was no time left for" if ended == "time" else "no window can be driven at"
        why, text = ended, f"{said} {then.level:g} ({then.why})"
    else:
        why, text = UNDER_WAY, f"the next level is {then.level:g} ({then.why})"
    used = _used(seen) if closed else [one for one in seen if one.usable]
    curve = fit(*zip(*((s.level, s.throughput, s.se) for s in used), strict=True)) if (
        closed and used) else None  # fmt: skip
    sweep = Sweep(
        build=cells[0].build,
        profile=cells[0].profile,
        level="concurrency" if closed else "rate",
        unit="tok/s" if tokens else "req/s",
        levels=[_level(one, groups[one.level], curve, used=one in used) for one in seen],
        ended=why,
        text=text,
    )
    sweep = _on_curve(sweep, curve, seen) if closed else _on_queue(sweep, seen)
    return msgspec.structs.replace(sweep, notes=[*sweep.notes, *_notes(sweep, seen)])


def bounds_of(plan: SweepPlan, *, closed: bool) -> Bounds:
    """Return a plan's bounds."""
    return Bounds(closed=closed, low=plan.low, high=plan.high, least=plan.least, cells=plan.levels)


def next_of(plan: SweepPlan, cells: Cells, *, closed: bool) -> Ask | Stop:
    """Say which level comes next, after those of one build that have numbers."""
    tokens = _in_tokens(cells)
    seen = [_seen(plan, level, group, tokens=tokens) for level, group in _by_level(cells).items()]
    return step(bounds_of(plan, closed=closed), seen)


def _by_level(cells: Cells) -> dict[float, list[CellMeasurement]]:
    """Level → its repeats, ascending."""
    found: dict[float, list[CellMeasurement]] = {}
    for cell in sorted(cells, key=lambda one: next(iter(one.level.values()))):
        found.setdefault(float(next(iter(cell.level.values()))), []).append(cell)
    return found


def _in_tokens(cells: Cells) -> bool:
    """Whether throughput is counted in tokens: in a closed loop, where answers have some."""
    return all(
        "concurrency" in cell.level
        and (cell.throughput is None or not cell.requests.ok or cell.throughput.tps > 0)
        for cell in cells
    )


def _seen(plan: SweepPlan, level: float, cells: Cells, *, tokens: bool) -> Seen:
    """Put the repeats of a level together."""
    values, errors = [], []
    for cell in cells:
        found = cell.throughput
        values.append((found.tps if tokens else found.rate) if found else 0.0)
        errors.append((found.tps_se if tokens else found.rate_se) if found else 0.0)
    sent = sum(cell.requests.due for cell in cells)
    failed = sum(cell.requests.lost for cell in cells)
    latencies = [value for cell in cells if (value := cell.metrics.e2e_ms.p50) is not None]
    return Seen(
        level=level,
        throughput=_mean(values),
        se=max(_own(errors), _spread(values)),
        offered_rate=_mean([cell.offered_rate for cell in cells]),
        answered_rate=_mean([cell.metrics.request_rate for cell in cells]),
        latency_s=_mean(latencies) / 1000 if latencies else None,
        requests=sent,
        stable=all(cell.stable for cell in cells),
        client_was_slow=any(
            caveat.invalidates and caveat.code in CLIENT_CODES
            for cell in cells
            for caveat in cell.client.caveats
        ),
        failing=failed > plan.max_fail_ratio * sent,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _own(errors: Sequence[float]) -> float:
    """Standard error of the mean of windows by their own."""
    return math.sqrt(sum(error**2 for error in errors)) / len(errors)


def _spread(values: Sequence[float]) -> float:
    """Return it by how the repeats differ, 0 for one."""
    if len(values) < 2:  # noqa: PLR2004 - one has no spread
        return 0.0
    mean = _mean(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def _used(seen: Sequence[Seen]) -> list[Seen]:
    """Return what a closed loop's curve is fitted to: not what fell again beyond the plateau."""
    usable = [one for one in seen if one.usable]
    if not usable:
        return []
    best = max(usable, key=lambda one: one.throughput)
    return [
        one for one in usable if one.level <= best.level or one.throughput >= FELL * best.throughput
    ]


def _level(one: Seen, cells: Cells, curve: Curve | None, *, used: bool) -> SweepLevel:
    found = [cell.steady for cell in cells if cell.steady is not None]
    states = [steady.state for steady in found] or ["not judged"]
    cut = [steady.cut_share for steady in found if steady.state == "steady"]
    return SweepLevel(
        level=one.level,
        offered_rate=one.offered_rate,
        answered_rate=one.answered_rate,
        throughput=one.throughput,
        se=one.se,
        in_flight=_mean([cell.in_flight_mean for cell in cells]),
        steady=max(states, key=_STATES.index),
        cut_share=_mean(cut) if cut else 0.0,
        stable=one.stable,
        fitted=None if curve is None else curve.at(one.level),
        used=used,
    )


def _on_curve(sweep: Sweep, curve: Curve | None, seen: Sequence[Seen]) -> Sweep:
    """Add what the curve of a closed loop says."""
    if curve is None:
        note = f"No knee: it takes {LEAST} levels with answers, and there are fewer."
        return msgspec.structs.replace(sweep, notes=[note])
    notes = []
    highest = max(one.level for one in seen if one.usable)
    if curve.knee is None:
        notes.append(
            f"No knee: throughput still grows at {highest:g} streams, the highest level measured."
        )
        return msgspec.structs.replace(sweep, notes=notes)
    assert curve.knee_ci95 is not None  # noqa: S101 - there is a knee
    if curve.knee_ci95[1] >= highest:
        notes.append("The knee may lie beyond the highest level.")
    if curve.kind == "gradual":
        notes.append(
            "Throughput has no corner: each further stream slows the others down, up to a limit "
            "that no load reaches. The knee is where 90 % of it are reached."
        )
    return msgspec.structs.replace(
        sweep,
        plateau=curve.plateau,
        plateau_ci95=curve.plateau_ci95,
        knee=Knee(level=curve.knee, ci95=curve.knee_ci95, kind=curve.kind),
        near=curve.near,
        near_ci95=curve.near_ci95,
        notes=notes,
    )


def _on_queue(sweep: Sweep, seen: Sequence[Seen]) -> Sweep:
    """Add what the rates at which the queue grew say: so much is answered, whatever is offered."""
    over = [one for one in seen if one.usable and one.saturated]
    if not over:
        note = "No knee: the server kept up with every rate that was measured."
        return msgspec.structs.replace(sweep, notes=[note])
    near = [one for one in over if one.level <= GATHER * over[0].level]
    weights = [1 / (one.se**2 + (FLOOR * one.throughput) ** 2) for one in near]
    total = sum(weights)
    limit = sum(w * one.throughput for w, one in zip(weights, near, strict=True)) / total
    error = 1 / math.sqrt(total)
    if len(near) > 1:
        chi2 = sum(w * (one.throughput - limit) ** 2 for w, one in zip(weights, near, strict=True))
        error *= math.sqrt(max(1.0, chi2 / (len(near) - 1)))
    reach = error * float(stdtrit(20 * len(near) - 1, 0.975))
    ci95 = (limit - reach, limit + reach)
    notes = []
    held = [one.level for one in seen if one.usable and not one.saturated]
    if held and max(held) > ci95[1]:
        notes.append(
            f"At {max(held):g}/s, which is more, the queue was not seen to grow: in a longer "
            "window it might."
        )
    return msgspec.structs.replace(
        sweep,
        plateau=limit,
        plateau_ci95=ci95,
        knee=Knee(level=limit, ci95=ci95, kind="queue"),
        notes=notes,
    )


def _notes(sweep: Sweep, seen: Sequence[Seen]) -> list[str]:
    """What a reader must mind of either kind."""
    unit = " streams" if sweep.level == "concurrency" else "/s"

    def named(levels: Sequence[float]) -> str:
        return ", ".join(f"{level:g}" for level in levels) + unit

    notes = []
    if restless := [one.level for one in sweep.levels if one.steady == "none" and one.stable]:
        notes.append(f"No steady state at {named(restless)}: measure longer (--duration).")
    if cut := [one.level for one in sweep.levels if one.cut_share > CUT]:
        notes.append(f"More than {CUT:.0%} of the window was not steady at {named(cut)}.")
    if slow := [one.level for one in seen if one.client_was_slow]:
        notes.append(f"The client was the bottleneck at {named(slow)}: not used.")
    if failing := [one.level for one in seen if one.failing]:
        notes.append(f"Too many requests failed at {named(failing)}: not used.")
    fell = [one.level for one in sweep.levels if not one.used]
    if fell := [level for level in fell if level not in {*slow, *failing}]:
        notes.append(f"Throughput falls again at {named(fell)}: not used for the plateau.")
    return notes
