"""What is found beyond the percentiles, as text: sentences for people, rows for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.measuring.outputs import REPEATING_SHARE
from harness.reports import server
from harness.reports.figures import NOTHING, UNSTABLE, count, figure, percentile, plain, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.compared_stats import OutputsCompared
    from harness.measuring.measurement import (
        Burst,
        Bursts,
        CellMeasurement,
        Contrast,
        Mixture,
        Outputs,
        Stalls,
    )

Row = list[str]
_WORTH_TELLING: Final = 0.05

ARRIVAL_GROUPS = ("Requests/s", "Gaps’ variation", "Dispersion", "Autocorrelation")
"""Three numbers each: what was sent, what was planned, and how likely the process gives that."""
ARRIVAL_HEADER = (
    *(title for group in ARRIVAL_GROUPS for title in (group, "planned", "p")), "Behind at most",
)  # fmt: skip

BURST_HEADER = ("Burst, s", "Requests", "Usual backlog", "Peak backlog", "Back after, s")
BURSTS_HEADER = (
    "TTFT inside p50", "p95", "TTFT between p50", "p95", "TTFT after − before",
    "TPOT after − before",
)  # fmt: skip
LENGTH_HEADER = (
    "Prompt tokens", "n", "TTFT p50", "p95", "TPOT p50", "p95", "e2e p50", "p95",
)  # fmt: skip
NEIGHBOUR_HEADER = (
    "Short / long, tokens", "TTFT beside a long", "alone", "difference",
    "TPOT beside a long", "alone", "difference", "Fairness",
)  # fmt: skip
STALL_HEADER = (
    "Stall above, ms", "Stalls", "Answers with one", "Longest, ms", "At once", "Time frozen",
)  # fmt: skip
STEADY_HEADER = ("Steady state", "Cut", "TTFT p50", "p95", "Gap p50", "e2e p50", "tok/s")
OUTPUT_HEADER = (
    "Ended by", "Tokens p50", "p95", "of planned", "Empty", "One token", "Repeating", "Identical",
    "Length / baseline’s", "Same text",
)  # fmt: skip


def rows_of_arrivals(cell: CellMeasurement) -> Iterator[Row]:
    """How the requests of an open loop came, beside how they were to; p-values of the process."""
    found = cell.arrivals
    if found is None:
        return
    sent, planned, tests = found.realised, found.planned, found.tests
    chances = (
        (tests.p_rate, tests.p_gaps, tests.p_dispersion, tests.p_autocorrelation)
        if tests
        else (None,) * 4
    )
    names = ("rate", "gap_cv", "dispersion", "autocorrelation")
    threes = (
        (getattr(sent, name), getattr(planned, name), chance)
        for name, chance in zip(names, chances, strict=True)
    )
    yield [*(figure(value) for three in threes for value in three), count(found.behind_most)]


def sentences(cell: CellMeasurement) -> Iterator[str]:
    """What is worth a line under the tables; nothing where all is as it should be."""
    if cell.bursts is not None:
        yield bursts(cell.bursts)
    if cell.mixture is not None and cell.stable and _sure(cell.mixture.ttft_ms):
        yield neighbours(cell.mixture)
    if cell.stalls is not None and cell.stalls.count:
        yield stalls(cell.stalls, cell.requests.ok)
    if cell.steady is not None and (
        cell.steady.state == "none" or cell.steady.cut_share >= _WORTH_TELLING
    ):
        yield steady(cell)
    if cell.outputs is not None and _notable(cell.outputs):
        yield outputs(cell.outputs)
    if text := server.sentence(cell):
        yield text


def prefill(cell: CellMeasurement) -> str:
    """TTFT by the length of the prompt, and the line; empty where there is no curve."""
    found = cell.prefill
    if found is None:
        return ""
    steps = [one for one in found.steps if one.ttft_p50_ms is not None]
    listed = ", ".join(f"{figure(one.ttft_p50_ms)} at {figure(one.tokens)}" for one in steps)
    text = f"TTFT p50 in ms by prompt tokens: {listed}"
    if (line := found.line) is not None:
        (a, b), (c, d) = line.fixed_ci95, line.per_1000_ci95
        text += (
            f"; the line through them: {figure(line.fixed_ms)} ms ({figure(a)}–{figure(b)}) + "
            f"{figure(line.per_1000_ms)} ms ({figure(c)}–{figure(d)}) per 1,000 tokens, off by "
            f"{share(line.off)} at most"
        )
    return f"{text}."


def bursts(found: Bursts) -> str:
    """How bursts went, e.g. `TTFT p95 41 → 180 ms inside, back 1.8 s after the end`."""
    between, inside = found.ttft_between_ms, found.ttft_inside_ms
    parts = ["bursts: the backlog grew throughout"]
    if not inside.unstable:
        first, second = percentile(between, "p95"), percentile(inside, "p95")
        parts = [f"bursts: TTFT p95 {first} ms between, {second} ms inside"]
    if found.bursts:
        parts.append(f"backlog up to {count(max(one.peak_backlog for one in found.bursts))}")
    watched = [one for one in found.bursts if one.watched_s]
    times = [one.recovery_s for one in watched if one.recovery_s is not None]
    if times:
        parts.append(f"back {figure(max(times))} s after the end at most")
    if len(times) < len(watched):
        lost = len(watched) - len(times)
        parts.append(f"not back before the next, or the end, after {lost} of {len(watched)}")
    return f"{', '.join(parts)}; {_stayed(found)}."


def _stayed(found: Bursts) -> str:
    slow = [
        f"{name} stayed {figure(one.difference)} ms slower"
        for name, one in (("TTFT", found.stayed["ttft_ms"]), ("TPOT", found.stayed["tpot_ms"]))
        if _slower(one)
    ]
    if slow:
        return " and ".join(slow)
    if found.stayed["ttft_ms"].unstable:
        return "what stayed slow cannot be told"
    if all(one.difference is None for one in found.stayed.values()):
        return "too few answers before and after to say what stayed slow"
    return "nothing was seen to stay slow"


def neighbours(found: Mixture) -> str:
    """What a short request pays for a long neighbour."""
    one = found.ttft_ms
    return (
        f"mixture: for its first text a prompt below {count(found.short_below)} tokens waits "
        f"{_change(one)} ms longer where one of {count(found.long_from)} and more is being read."
    )


def stalls(found: Stalls, answers: int) -> str:
    """How often answers stood still."""
    text = (
        f"stalls: {count(found.count)} gaps above {figure(found.threshold_ms)} ms in "
        f"{count(found.requests)} of {count(answers)} answers, {share(found.frozen_share)} of the "
        f"time, the longest {figure(found.longest_ms)} ms, up to {count(found.at_once)} at once"
    )
    if found.maybe_client:
        text += f"; {count(found.maybe_client)} of them may be the client's late reads"
    return f"{text}."


def steady(cell: CellMeasurement) -> str:
    """From when to when a cell was in steady state, and what looking at that alone changes."""
    found = cell.steady
    if found is None or found.state == "not judged":
        return "steady state: not judged" + (f" ({found.reason})." if found else ".")
    if found.state == "none":
        return f"steady state: none; {found.reason}."
    if found.part is None:
        return "steady state: the whole window."
    whole = cell.metrics.ttft_due_ms if "rate" in cell.level else cell.metrics.ttft_ms
    before, after = whole.p50, found.part.ttft_ms.p50
    change = (
        f", which changes TTFT p50 by {100 * (after / before - 1):+.1f} %"
        if (before and after is not None)
        else ""
    )
    return (
        f"steady state: {figure(found.from_s)} s to {figure(found.to_s)} s; "
        f"{share(found.cut_share)} of the window is cut{change}."
    )


def _notable(found: Outputs) -> bool:
    bad = found.empty or found.one_token or found.identical
    return bool(
        bad
        or found.repeating > REPEATING_SHARE * found.compared_texts
        or found.compared is not None
        or len(found.finish_reasons) > 1
    )


def outputs(found: Outputs) -> str:
    """What the answers are like."""
    parts = [f"ended by {_ended(found)}"]
    parts += [
        f"{count(number)} {what}"
        for number, what in (
            (found.empty, "empty"),
            (found.one_token, "of one token"),
            (found.repeating, "repeat themselves"),
            (found.identical, "say what another says"),
        )
        if number
    ]
    if found.compared is not None:
        parts.append(_against(found.compared))
    return f"answers: {', '.join(parts)}."


def _ended(found: Outputs) -> str:
    return " · ".join(f"{plain(name)} {count(n)}" for name, n in found.finish_reasons.items())


def _against(found: OutputsCompared) -> str:
    length = NOTHING if found.length_ratio is None else share(found.length_ratio)
    return (
        f"{length} of {plain(found.baseline)}'s length and {count(found.identical)} of "
        f"{count(found.compared_texts)} the same text"
    )


def _burst_rows(found: Bursts) -> Iterator[Row]:
    """One row a burst."""
    for one in found.bursts:
        yield [
            f"{figure(one.start_s)}–{figure(one.end_s)}",
            count(one.arrivals),
            figure(found.usual_backlog),
            count(one.peak_backlog),
            _recovery(one),
        ]


def _length_rows(found: Mixture) -> Iterator[Row]:
    """One row a bucket of prompt lengths."""
    for one in found.buckets:
        stats = (one.ttft_ms, one.tpot_ms, one.e2e_ms)
        low, high = count(one.low), count(one.high)
        yield [
            low if one.low == one.high else f"{low}–{high}",
            count(one.ttft_ms.n),
            *(percentile(stat, name) for stat in stats for name in ("p50", "p95")),
        ]


def _neighbour_row(found: Mixture) -> Row:
    """What short requests pay for long ones."""
    return [
        f"< {count(found.short_below)} / ≥ {count(found.long_from)}",
        *(
            text
            for one in (found.ttft_ms, found.tpot_ms)
            for text in (_median(one, one.value), _median(one, one.reference), _change(one))
        ),
        UNSTABLE if found.ttft_ms.unstable else figure(found.fairness),
    ]


def _output_row(found: Outputs) -> Row:
    """The output audit."""
    made, planned = (found.tokens.mean or 0.0) * found.tokens.n, found.planned_tokens
    against = found.compared
    return [
        _ended(found) or NOTHING,
        percentile(found.tokens, "p50"),
        percentile(found.tokens, "p95"),
        share(made / planned) if planned else NOTHING,
        count(found.empty),
        count(found.one_token),
        _of(found.repeating, found.compared_texts),
        _of(found.identical, found.hashed),
        NOTHING if against is None or against.length_ratio is None else share(against.length_ratio),
        NOTHING if against is None else _of(against.identical, against.compared_texts),
    ]


def _of(part: int, whole: int) -> str:
    return f"{count(part)} of {count(whole)}" if whole else NOTHING


def _change(found: Contrast) -> str:
    """A difference with its sign and interval, in ms."""
    if found.unstable:
        return UNSTABLE
    if found.difference is None or found.ci95 is None:
        return NOTHING
    low, high = found.ci95
    return f"{_signed(found.difference)} ({_signed(low)} to {_signed(high)})"


def _median(found: Contrast, value: float | None) -> str:
    return UNSTABLE if found.unstable else figure(value)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "−" if value < 0 else "") + figure(abs(value))


def _sure(found: Contrast) -> bool:
    """Whether the interval leaves 0 out and the difference is worth telling."""
    if found.difference is None or found.ci95 is None or found.reference is None:
        return False
    low, high = found.ci95
    return (low > 0 or high < 0) and abs(found.difference) > 0.05 * abs(found.reference)


def _slower(found: Contrast) -> bool:
    return _sure(found) and (found.difference or 0.0) > 0


def rows_of_bursts(cell: CellMeasurement) -> list[Row]:
    """Rows of the cell's bursts."""
    return [] if cell.bursts is None else list(_burst_rows(cell.bursts))


def rows_of_all_bursts(cell: CellMeasurement) -> list[Row]:
    """The row of what is said of all bursts together."""
    found = cell.bursts
    if found is None:
        return []
    stats = (found.ttft_inside_ms, found.ttft_between_ms)
    return [
        [
            *(percentile(stat, name) for stat in stats for name in ("p50", "p95")),
            _change(found.stayed["ttft_ms"]),
            _change(found.stayed["tpot_ms"]),
        ]
    ]


def _recovery(found: Burst) -> str:
    if found.recovery_s is not None:
        return figure(found.recovery_s)
    return f"not within {figure(found.watched_s)}" if found.watched_s else NOTHING


def rows_of_lengths(cell: CellMeasurement) -> list[Row]:
    """Rows of the cell's prompt lengths."""
    return [] if cell.mixture is None else list(_length_rows(cell.mixture))


def rows_of_neighbours(cell: CellMeasurement) -> list[Row]:
    """The row of what short requests pay for long ones."""
    return [] if cell.mixture is None else [_neighbour_row(cell.mixture)]


def rows_of_stalls(cell: CellMeasurement) -> list[Row]:
    """The row of stalls."""
    found = cell.stalls
    if found is None:
        return [[NOTHING] * len(STALL_HEADER)]
    return [
        [
            figure(found.threshold_ms),
            count(found.count),
            count(found.requests),
            figure(found.longest_ms) if found.count else NOTHING,
            count(found.at_once) if found.count else NOTHING,
            share(found.frozen_share),
        ]
    ]


def rows_of_steady(cell: CellMeasurement) -> list[Row]:
    """The row of the steady part of the window."""
    found = cell.steady
    if found is None:
        return []
    if found.state != "steady":
        text = f"{found.state}: {found.reason}"
        return [[text, *[NOTHING] * (len(STEADY_HEADER) - 1)]]
    part = found.part
    if part is None:
        return [["the whole window", "0 %", *[NOTHING] * (len(STEADY_HEADER) - 2)]]
    return [
        [
            f"{figure(found.from_s)}–{figure(found.to_s)} s",
            share(found.cut_share),
            percentile(part.ttft_ms, "p50"),
            percentile(part.ttft_ms, "p95"),
            percentile(part.itl_ms, "p50"),
            percentile(part.e2e_ms, "p50"),
            figure(part.aggregate_tps),
        ]
    ]


def rows_of_outputs(cell: CellMeasurement) -> list[Row]:
    """The row of the output audit."""
    return [] if cell.outputs is None else [_output_row(cell.outputs)]
