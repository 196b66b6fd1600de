"""A simulation in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.simulating.prediction import LimitForecast, Prediction
    from harness.simulating.simulate import Simulation
    from harness.simulating.spread import Spread


def lines(found: Simulation) -> Iterator[str]:
    """Yield the lines, without markup."""
    yield (
        f"{found.build}: simulated, fitted to {len(found.fitted_on)} measured cells. "
        f"This is a prediction, not a measurement."
    )
    if found.prediction is None:
        yield "Not met by any number of replicas: a request alone does not hold the limits."
    else:
        yield from _prediction(found.prediction)
    if found.verdict:
        yield f"Verdict {found.verdict}"
    for caveat in found.caveats:
        yield f"Note: {caveat}"


def _prediction(one: Prediction) -> Iterator[str]:
    failing = f", {one.failing} of them dying at {one.failure_s:,.0f} s" if one.failing else ""
    yield (
        f"{one.replicas:,} replicas{failing}, {one.routing}: {one.request_rate:,.2f} requests/s, "
        f"{one.output_tps:,.0f} tokens/s for {one.duration_s:,.0f} s ({one.requests:,} requests)"
    )
    yield ""
    yield f"  {'':8}{'p50':>10}{'p90':>10}{'p95':>10}{'p99':>10}{'max':>11}"
    for name in ("ttft_ms", "itl_ms", "tpot_ms", "e2e_ms"):
        yield _row(name, getattr(one, name))
    yield ""
    yield (
        f"  Of each replica: {one.in_flight_mean:,.1f} requests under way (worst window "
        f"{one.in_flight_peak:,.1f}), {one.waiting_mean:,.1f} of them without a token "
        f"({one.waiting_peak:,.1f}); busy {one.busy:.0%}"
    )
    yield (
        f"  In the worst of {len(one.windows)} parts of the time: TTFT p95 "
        f"{_most(window.ttft_p95_ms for window in one.windows)} ms, e2e p95 "
        f"{_most(window.e2e_p95_ms for window in one.windows)} ms"
    )
    if one.preemptions or one.lost or one.refused:
        yield (
            f"  {one.preemptions:,.0f} preemptions, {one.lost:,.0f} requests lost, "
            f"{one.refused:,.0f} too long for the KV cache"
        )
    if one.goodput is not None:
        yield f"  Goodput {one.goodput:,.2f} requests/s ({one.attainment or 0:.1%} of all)"
    for limit in one.limits:
        yield f"  {_limit(limit)}"
    yield from _errors(one)
    for text in one.outside:
        yield f"Beyond what was measured: {text}."
    for text in one.approximations:
        yield f"Approximation: {text}."


def _most(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):,.1f}" if known else "-"


def _row(name: str, spread: Spread) -> str:
    metric = name.removesuffix("_ms").upper().replace("E2E", "e2e")
    values = [spread.p50, spread.p90, spread.p95, spread.p99, spread.max]
    cells = "".join(f"{'-' if v is None else f'{v:,.1f}':>10}" for v in values[:-1])
    last = "-" if spread.max is None else f"{spread.max:,.1f}"
    return f"  {metric:8}{cells}{last:>11} ms"


def _limit(limit: LimitForecast) -> str:
    if limit.predicted is None:
        return f"{limit.limit}: not simulated"
    word = "holds" if limit.holds else "does not hold"
    if not limit.decided:
        error = "an unknown error" if limit.error is None else f"the error of {limit.error:.0%}"
        word += f", within {error}: undecided"
    return f"{limit.limit}: {limit.predicted:,.4g}, {word}"


def _errors(one: Prediction) -> Iterator[str]:
    if not one.held_out:
        return
    metrics = list(dict.fromkeys(item.metric for item in one.held_out))
    yield ""
    yield "  Predicted ÷ measured - 1 at measured levels that the fit did not see (their own speed:"
    yield "  were the machine as fast as in these cells):"
    yield f"  {'':28}" + "".join(f"{name.removesuffix('_ms'):>14}" for name in metrics)
    for mode, level in dict.fromkeys((item.mode, item.level) for item in one.held_out):
        here = {i.metric: i for i in one.held_out if (i.mode, i.level) == (mode, level)}
        name = f"{level:g} {'requests/s' if mode == 'open' else 'streams'}"
        yield f"  {name:28}" + _cells([here[m].error if m in here else None for m in metrics])
        own = [here[m].error_at_own_speed if m in here else None for m in metrics]
        if any(error is not None for error in own):
            yield f"  {'  their own speed':28}" + _cells(own)


def _cells(errors: list[float | None]) -> str:
    return "".join(f"{'-' if error is None else f'{error:+.0%}':>14}" for error in errors)
