"""Run a fitted engine's replicas on some traffic."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.errors import BadInputError
from harness.simulating.drive import Failures, by_schedule
from harness.simulating.engine import UNLIMITED
from harness.simulating.forecast import forecast
from harness.simulating.prediction import Prediction, Window
from harness.simulating.rehearse import tokens_per_second
from harness.simulating.replica import Replica, Work
from harness.simulating.spread import Spread
from harness.simulating.traffic import Fleet, all_of, share_by_turns, share_of_some

if TYPE_CHECKING:
    import numpy.typing as npt

    from harness.measuring.slo import Slo
    from harness.simulating.engine import Engine
    from harness.simulating.fit import Fitted
    from harness.simulating.routing import Routing
    from harness.simulating.traffic import Traffic

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

MOST_REQUESTS: Final = 2_000_000
"""So many are simulated at most: a fraction of the replicas where the traffic has more."""
_MOST_OF_ONE: Final = 10_000_000
"""Requests of one replica: more take minutes and gigabytes."""
_WINDOWS: Final = 48
_SEED: Final = 20261126


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What became of the simulated requests."""

    sent_s: Floats
    first_s: Floats
    last_s: Floats
    outputs: Ints
    gap_s: Floats
    gap_count: Ints
    replicas: int
    busy_s: float
    preemptions: int
    lost: float
    """Of the whole fleet."""
    refused: int


def predict(
    fitted: Fitted,
    traffic: Traffic,
    fleet: Fleet,
    *,
    scale: float = 1.0,
    routing: Routing = "round-robin",
    slo: Slo | None = None,
    most_requests: int = MOST_REQUESTS,
) -> Prediction:
    """Predict what users of a fleet get. The same input gives the same prediction.

    Where there are more than `most_requests`, some replicas are simulated for all. By round robin
    that is exact for those, since no replica changes what another one gets. Of many least-loaded
    ones a smaller fleet at the same load per replica is simulated.

    Args:
        fitted: the engine.
        traffic: the requests of the whole fleet.
        fleet: how many replicas, and which failure.
        scale: multiplies the traffic's rate.
        routing: who gets the next request.
        slo: for goodput, and what it says of each limit.
        most_requests: to simulate.

    Raises:
        BadInputError: the fleet or the scale cannot be.
    """
    fleet.check(traffic.duration_s)
    if not 0 < scale < np.inf:
        raise BadInputError(f"traffic cannot be scaled by {scale:g}", hint="Give a scale above 0.")
    requests = int(len(traffic) * scale)
    if requests / fleet.replicas > _MOST_OF_ONE:
        raise BadInputError(
            f"each of {fleet.replicas:,} replicas would get {requests / fleet.replicas:,.3g} "
            f"requests, and {_MOST_OF_ONE:,} can be simulated",
            hint="Predict a shorter time, a lower rate or more replicas.",
        )
    some = max(1, min(fleet.replicas, int(most_requests * fleet.replicas / max(requests, 1))))
    some = fleet.replicas if some >= fleet.replicas else min(some, fleet.replicas - fleet.failing)
    found = _simulate(fitted.engine, traffic, fleet, scale, routing, some)
    return _prediction(fitted, traffic, fleet, scale, routing, slo, found)


def _simulate(
    engine: Engine, traffic: Traffic, fleet: Fleet, scale: float, routing: Routing, some: int
) -> _Outcome:
    whole = some == fleet.replicas
    if whole or routing == "least-loaded":
        part = (
            all_of(traffic, scale) if whole else share_of_some(traffic, scale, fleet, some, _SEED)
        )
        dying = range(fleet.replicas - fleet.failing, fleet.replicas) if whole else ()
        failures = Failures(dict.fromkeys(dying, fleet.failure_s))
        outcome = _run(engine, part, some, routing, failures)
        return outcome if whole else _with_lost(outcome, fleet)
    survivors = fleet.replicas - fleet.failing
    chosen = [index * survivors // some for index in range(some)]
    parts = [
        _run(engine, share_by_turns(traffic, scale, fleet, index), 1, routing, Failures())
        for index in chosen
    ]
    return _with_lost(_together(parts), fleet)


def _run(
    engine: Engine, traffic: Traffic, count: int, routing: Routing, failures: Failures
) -> _Outcome:
    fits = traffic.prompts + traffic.outputs <= engine.limits.kv_tokens
    sent, outputs = traffic.times_s[fits], traffic.outputs[fits]
    work = Work(traffic.prompts[fits].tolist(), outputs.tolist())
    replicas = [Replica(engine, work) for _ in range(count)]
    by_schedule(sent, replicas, routing, failures)
    first, last = np.array(work.first_s), np.array(work.last_s)
    first[np.array(failures.lost, dtype=np.int64)] = np.nan
    return _Outcome(
        sent_s=sent,
        first_s=first,
        last_s=last,
        outputs=outputs,
        gap_s=np.frombuffer(work.gap_s, dtype=np.float64),
        gap_count=np.frombuffer(work.gap_weight, dtype=np.int64),
        replicas=count,
        busy_s=sum(replica.busy_s for replica in replicas),
        preemptions=work.preemptions,
        lost=len(failures.lost),
        refused=int((~fits).sum()),
    )


def _together(parts: list[_Outcome]) -> _Outcome:
    def joined(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(part, name) for part in parts])

    arrays = ("sent_s", "first_s", "last_s", "outputs", "gap_s", "gap_count")
    sums = ("replicas", "busy_s", "preemptions", "lost", "refused")
    return _Outcome(
        **{name: joined(name) for name in arrays},  # type: ignore[arg-type]
        **{name: sum(getattr(part, name) for part in parts) for name in sums},
    )


def _with_lost(found: _Outcome, fleet: Fleet) -> _Outcome:
    """Count as lost what the failing ones had, which is as much as the others had then."""
    if not fleet.failing:
        return found
    under_way = (found.sent_s < fleet.failure_s) & (found.last_s > fleet.failure_s)
    lost = float(under_way.sum()) / found.replicas * fleet.failing
    return _Outcome(**{**found.__dict__, "lost": lost})


def _prediction(
    fitted: Fitted,
    traffic: Traffic,
    fleet: Fleet,
    scale: float,
    routing: Routing,
    slo: Slo | None,
    found: _Outcome,
) -> Prediction:
    requests, duration = int(len(traffic) * scale), traffic.duration_s
    whole = requests / max(found.sent_s.size + found.refused, 1)
    answered = np.isfinite(found.last_s)
    ttft = (found.first_s - found.sent_s)[answered] * 1000
    e2e = (found.last_s - found.sent_s)[answered] * 1000
    further = (found.outputs - 1)[answered]
    tpot = (e2e - ttft)[further > 0] / further[further > 0]
    lost = found.lost
    windows = _windows(found, traffic, scale)
    spreads = {
        "ttft_ms": Spread.of(ttft),
        "itl_ms": Spread.weighted(found.gap_s * 1000, found.gap_count),
        "tpot_ms": Spread.of(tpot),
        "e2e_ms": Spread.of(e2e),
    }
    failed = lost + found.refused * whole
    # What a fleet that cannot keep up answers after the traffic has ended is not of its time.
    answered_rate = float((found.last_s < duration).sum()) * whole / duration
    output_tps = whole * tokens_per_second(
        found.first_s, found.last_s, found.outputs, 0.0, duration
    )
    limits, attainment = forecast(
        slo,
        {**spreads, "ttft_due_ms": spreads["ttft_ms"]},
        {"error_rate": failed / max(requests, 1), "request_rate": answered_rate,
         "aggregate_tps": output_tps},
        (ttft, e2e, further),
        fitted,
    )  # fmt: skip
    if attainment is not None:
        attainment *= 1 - failed / max(requests, 1)
    return Prediction(
        replicas=fleet.replicas,
        failing=fleet.failing,
        failure_s=fleet.failure_s if fleet.failing else None,
        routing=routing,
        duration_s=duration,
        requests=requests,
        replicas_simulated=found.replicas,
        requests_simulated=found.sent_s.size,
        request_rate=requests / duration,
        output_tps=output_tps,
        **spreads,
        waiting_mean=_mean_under_way(found.sent_s, found.first_s, duration) / found.replicas,
        waiting_peak=max(window.waiting for window in windows),
        in_flight_mean=_mean_under_way(found.sent_s, found.last_s, duration) / found.replicas,
        in_flight_peak=max(window.in_flight for window in windows),
        busy=min(1.0, found.busy_s / found.replicas / duration),
        preemptions=found.preemptions * whole,
        lost=lost,
        refused=found.refused * whole,
        attainment=attainment,
        goodput=None if attainment is None else attainment * requests / duration,
        limits=limits,
        windows=windows,
        held_out=fitted.held_out,
        outside=_outside(fitted, traffic, found, windows),
        approximations=_approximations(fitted, fleet, routing, found),
    )


def _windows(found: _Outcome, traffic: Traffic, scale: float) -> list[Window]:
    edges = np.linspace(0, traffic.duration_s, _WINDOWS + 1)
    asked = np.diff(np.searchsorted(traffic.times_s, edges)) * scale
    waiting = _under_way(found.sent_s, found.first_s, edges) / found.replicas
    in_flight = _under_way(found.sent_s, found.last_s, edges) / found.replicas
    order = np.argsort(found.sent_s, kind="stable")
    sent, first, last = found.sent_s[order], found.first_s[order], found.last_s[order]
    bounds = np.searchsorted(sent, edges)
    length = traffic.duration_s / _WINDOWS
    windows = []
    for index, (low, high) in enumerate(pairwise(bounds.tolist())):
        part = slice(low, high)
        windows.append(
            Window(
                start_s=float(edges[index]),
                request_rate=float(asked[index]) / length,
                ttft_p95_ms=_p95(first[part] - sent[part]),
                e2e_p95_ms=_p95(last[part] - sent[part]),
                waiting=float(waiting[index]),
                in_flight=float(in_flight[index]),
            )
        )
    return windows


def _p95(seconds: Floats) -> float | None:
    finite = seconds[np.isfinite(seconds)]
    return float(np.percentile(finite, 95)) * 1000 if finite.size else None


def _mean_under_way(start: Floats, end: Floats, duration_s: float) -> float:
    return float(_under_way(start, end, np.array([0.0, duration_s]))[0])


def _under_way(start: Floats, end: Floats, edges: Floats) -> Floats:
    """Return how many lie between start and end, mean over the time of each window."""
    some = np.isfinite(end)
    began, ended = np.sort(start[some]), np.sort(end[some])
    spent = _integral(began, edges) - _integral(ended, edges)
    return np.asarray(np.diff(spent) / np.diff(edges), dtype=np.float64)


def _integral(events: Floats, at: Floats) -> Floats:
    """Return the integral, from 0 to each moment, of how many events have been; they ascend."""
    count = np.searchsorted(events, at, side="right")
    sums = np.concatenate([[0.0], np.cumsum(events)])
    return np.asarray(count * at - sums[count], dtype=np.float64)


def _outside(fitted: Fitted, traffic: Traffic, found: _Outcome, windows: list[Window]) -> list[str]:
    seen, texts = fitted.seen, []
    most = max(window.in_flight - window.waiting for window in windows)
    if most > seen.batch * 1.05:
        texts.append(
            f"up to {most:.0f} requests decode at once in one replica (mean of a window), "
            f"{seen.batch:.0f} did at most in the cells of the fit"
        )
    for name, values, (low, high) in (
        ("prompts", traffic.prompts, seen.prompt_tokens),
        ("answers", traffic.outputs, seen.output_tokens),
    ):
        beyond = float(((values < low) | (values > high)).mean())
        if beyond > 0:
            texts.append(
                f"{beyond * 100:.2g} % of the {name} have fewer than {low} or more than {high} "
                f"tokens, the range of the cells of the fit"
            )
    rates = found.outputs.sum() / found.replicas / traffic.duration_s
    if rates > seen.tokens_per_s * 1.05:
        texts.append(
            f"{rates:,.0f} tokens/s are asked of each replica, {seen.tokens_per_s:,.0f} was the "
            f"most in the cells of the fit"
        )
    return texts


def _approximations(fitted: Fitted, fleet: Fleet, routing: Routing, found: _Outcome) -> list[str]:
    texts = [
        "a step's length is linear in its sequences, prompt tokens and context, and has no noise",
        "KV is counted in tokens, not in blocks, and no prompt is read from a prefix cache",
    ]
    if fitted.engine.limits.kv_tokens == UNLIMITED:
        texts.append("the KV cache's size is unknown and taken as unlimited")
    if found.replicas < fleet.replicas:
        texts.append(
            f"{found.replicas} of {fleet.replicas} replicas were simulated for all"
            + (
                "; the others' loads are not known to the router"
                if routing != "round-robin"
                else ""
            )
        )
    if fleet.failing:
        texts.append("what a dying replica had is lost, not sent again; the router knows at once")
        texts.append("percentiles and limits are of all the time, from before the failure, too")
    return texts
