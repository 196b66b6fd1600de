"""Section "Sweeps"."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from arithmetic import mean
from climb import ended
from knee import fit, knee_of
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Record

CLIENT = {
    "late_departures", "streams_not_held", "departures_dropped", "samples_lost", "worker_lost",
}  # fmt: skip
WORST = ("steady", "not judged", "none")


def sweeps(manifest: Record, cells: Sequence[Record]) -> list[Record]:
    """The sweep of each build; `ended` of the manifest says which ended before their time."""
    groups: dict[str, list[Record]] = {}
    for one in cells:
        groups.setdefault(one["build"], []).append(one)
    early = manifest["ended"]
    return [sweep(manifest["plan"], own, early.get(build)) for build, own in groups.items()]


def sweep(plan: Record, cells: Sequence[Record], early: str | None) -> Record:
    closed = "concurrency" in cells[0]["level"]
    unit = closed and all(
        one["throughput"] is None or not one["requests"]["ok"] or one["throughput"]["tps"] > 0
        for one in cells
    )
    groups: dict[float, list[Record]] = {}
    for one in sorted(cells, key=level_of):
        groups.setdefault(level_of(one), []).append(one)
    levels = [of_level(at, group, tokens=unit) for at, group in groups.items()]
    usable = [one for one in levels if usable_at(plan, groups[one["level"]], one)]
    found: Record = {"ended": early}
    found |= dict.fromkeys(("plateau", "plateau_ci95", "knee", "near", "near_ci95"))
    if closed:
        best = max(usable, key=lambda one: one["throughput"], default=None)
        for one in usable:
            low = one["throughput"] < 0.9 * best["throughput"]
            one["used"] = one["level"] <= best["level"] or not low
        used = [one for one in usable if one["used"]]
        curve = fit([(one["level"], one["throughput"], one["se"]) for one in used])
        if curve is not None:
            for one in levels:
                one["fitted"] = curve.best.at(one["level"])
            found |= knee_of(curve)
    else:
        for one in usable:
            one["used"] = True
        found |= queue(usable, groups)
    if closed:
        slow = [{**one, "client": client_was_slow(groups[one["level"]])} for one in levels]
        why = ended(plan, slow, [one for one in slow if one["level"] in at_of(usable)])
        found["ended"] = early if early and why == "under way" else why
    return {
        "build": cells[0]["build"],
        "profile": cells[0]["profile"],
        "level": "concurrency" if closed else "rate",
        "unit": "tok/s" if unit else "req/s",
        "levels": levels,
    } | found


def level_of(cell: Record) -> float:
    return float(next(iter(cell["level"].values())))


def of_level(level: float, cells: Sequence[Record], *, tokens: bool) -> Record:
    name = "tps" if tokens else "rate"
    speeds = [(one["throughput"] or {}).get(name, 0.0) for one in cells]
    errors = [(one["throughput"] or {}).get(f"{name}_se", 0.0) for one in cells]
    n = len(cells)
    own = math.sqrt(sum(one**2 for one in errors)) / n
    apart = sum((one - mean(speeds)) ** 2 for one in speeds) / (n - 1) / n if n > 1 else 0.0
    states = [one["steady"]["state"] for one in cells]
    cut = [one["steady"]["cut_share"] for one in cells if one["steady"]["state"] == "steady"]
    return {
        "level": level,
        "offered_rate": mean([one["offered_rate"] for one in cells]),
        "answered_rate": mean([one["metrics"]["request_rate"] for one in cells]),
        "throughput": mean(speeds),
        "se": max(own, math.sqrt(apart)),
        "in_flight": mean([one["in_flight_mean"] for one in cells]),
        "steady": max(states, key=WORST.index),
        "cut_share": mean(cut) if cut else 0.0,
        "stable": all(one["stable"] for one in cells),
        "fitted": None,
        "used": False,
    }


def at_of(levels: Sequence[Record]) -> set[float]:
    return {one["level"] for one in levels}


def client_was_slow(cells: Sequence[Record]) -> bool:
    caveats = [one for cell in cells for one in cell["client"]["caveats"]]
    return any(one["invalidates"] and one["code"] in CLIENT for one in caveats)


def usable_at(plan: Record, cells: Sequence[Record], level: Record) -> bool:
    """Whether the load was what was asked, and not too much failed."""
    requests = [cell["requests"] for cell in cells]
    due = sum(one["sent"] + one["dropped"] for one in requests)
    lost = sum(one["failed"] + one["dropped"] for one in requests)
    return (
        not client_was_slow(cells)
        and lost <= plan["max_fail_ratio"] * due
        and level["throughput"] > 0
    )


# --- an open loop --------------------------------------------------------------------------------


def queue(usable: Sequence[Record], groups: dict[float, list[Record]]) -> Record:
    """Knee and plateau are what was answered at saturated rates."""
    over = []
    for one in usable:
        requests = [cell["requests"] for cell in groups[one["level"]]]
        due = sum(each["sent"] + each["dropped"] for each in requests)
        short = one["answered_rate"] < 0.9 * one["offered_rate"] and due >= 50
        if not one["stable"] or short:
            over.append(one)
    near = [one for one in over if one["level"] <= 1.5 * over[0]["level"]]
    if not near:
        return {}
    weights = [1 / (one["se"] ** 2 + (0.01 * one["throughput"]) ** 2) for one in near]
    total = math.fsum(weights)
    limit = math.fsum(w * one["throughput"] for w, one in zip(weights, near, strict=True)) / total
    error = 1 / math.sqrt(total)
    if len(near) > 1:
        away = [w * (o["throughput"] - limit) ** 2 for w, o in zip(weights, near, strict=True)]
        error *= math.sqrt(max(1.0, math.fsum(away) / (len(near) - 1)))
    reach = error * float(stdtrit(20 * len(near) - 1, 0.975))
    ends = [limit - reach, limit + reach]
    knee = {"level": limit, "ci95": ends, "kind": "queue"}
    return {"plateau": limit, "plateau_ci95": ends, "knee": knee}
