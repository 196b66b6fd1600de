"""Service level objectives: `ttft_p95_ms<=500,itl_p95_ms<=50,error_rate<=0.1%`.

Two readings. A cell holds a limit when the named statistic of its metric does (`observed`). A
single request holds it when its own value does (`Slo.met_by`): that is what goodput counts.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from harness.errors import BadInputError, did_you_mean
from harness.measuring import stats
from harness.measuring.request import RequestValues

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.measuring.measurement import CellMeasurement
    from loadprofiles.records import Sample

Operator = Literal["<=", ">="]

LATENCIES: Final = (
    "ttft_ms", "ttft_due_ms", "ttfa_ms", "itl_ms", "stall_ms", "tpot_ms", "e2e_ms",
)  # fmt: skip
SPEEDS: Final = ("sequence_tps", "decode_tps")
WHOLE_CELL: Final[Mapping[str, Operator]] = {
    "error_rate": "<=", "aggregate_tps": ">=", "request_rate": ">=", "goodput": ">=",
}  # fmt: skip
"""Metrics with one value a cell, and the side on which they are limited."""
STREAMED: Final = frozenset(
    ("ttft_ms", "ttft_due_ms", "ttfa_ms", "itl_ms", "stall_ms", "tpot_ms", "decode_tps")
)
"""Metrics that an answer in one document does not have."""
VLLM_NAMES: Final[Mapping[str, str]] = {"ttft": "ttft_ms", "tpot": "tpot_ms", "e2el": "e2e_ms"}
"""The keys of `vllm bench serve --goodput`, all in ms."""
STATISTICS: Final = (*stats.PERCENTILES, "mean", "max")

STATISTIC = re.compile(r"_(p99_9|p\d+(?:_\d+)?|mean|max)(?=_|$)")
_LIMIT = re.compile(r"([A-Za-z][A-Za-z0-9_.]*)\s*([<>=!~]+)\s*([^\s,<>=]+)")
_VLLM_LIMIT = re.compile(r"([A-Za-z][A-Za-z0-9_]*):([^\s,:]+)")
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(.*)")
_EXAMPLE: Final = "an SLO looks like ttft_p95_ms<=500,itl_p95_ms<=50,error_rate<=0.1%"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One bound."""

    metric: str
    """A name of `Metrics`, or "error_rate"."""
    statistic: str | None
    """p50 … p99_9, mean or max; None: none was named, or the metric has one value a cell."""
    operator: Operator
    value: float
    """In the metric's unit; an error rate as a ratio."""
    text: str
    """As it was written."""

    @property
    def flag(self) -> str:
        """Which flag it is of, by its spelling."""
        return "--goodput" if ":" in self.text else "--slo"

    @property
    def per_request(self) -> bool:
        """Whether a single request can hold or break it."""
        return self.metric not in WHOLE_CELL

    def holds(self, value: float) -> bool:
        """Whether `value` is within the bound."""
        return value <= self.value if self.operator == "<=" else value >= self.value


@dataclass(frozen=True)
class Slo:
    """Limits that must all hold."""

    limits: tuple[Limit, ...]

    def __str__(self) -> str:
        return ",".join(limit.text for limit in self.limits)

    def met_by(self, sample: Sample) -> bool:
        """Whether one request was answered within all per-request limits (for goodput).

        A request without the value (TPOT of a one-token answer, gaps of a single chunk) cannot
        break its limit; one that gave no answer text at all breaks a limit on `ttfa_ms`.
        """
        if sample.error is not None:
            return False
        values = RequestValues.of(sample)
        return all(_met(limit, values, sample) for limit in self.limits if limit.per_request)


def parse_slo(text: str, *, recorded: bool = False) -> Slo:
    """Read limits separated by commas or spaces; also vLLM's `ttft:500 tpot:50 e2el:5000` (ms).

    Args:
        text: the limits.
        recorded: a run keeps them, perhaps an older one's: `error_rate<=1`, in which a percent sign
            is missing or not, is read as it was then.

    Raises:
        BadInputError: naming the limit that cannot be read and what to write instead.
    """
    limits = []
    rest = text.strip()
    while rest:
        found = _LIMIT.match(rest)
        vllm = None if found else _VLLM_LIMIT.match(rest)
        if found:
            limits.append(_limit(found[1], found[2], found[3], found[0], recorded=recorded))
        elif vllm:
            limits.append(_vllm_limit(vllm[1], vllm[2], vllm[0]))
        else:
            raise BadInputError(f'--slo: cannot read "{rest.split(",")[0].strip()}"', hint=_EXAMPLE)
        rest = rest[len((found or vllm or [""])[0]) :].lstrip(", \t\n")
    if not limits:
        raise BadInputError("--slo: it names no limit", hint=_EXAMPLE)
    return Slo(tuple(limits))


def parse_goodput(words: Iterable[str]) -> tuple[Limit, ...]:
    """Read `--goodput ttft:500 tpot:50`: each word is KEY:MILLISECONDS, or several by comma.

    Raises:
        BadInputError: naming the word that cannot be read and what to write instead.
    """
    hint = "--goodput takes KEY:VALUE in ms with the keys ttft, tpot and e2el, e.g. ttft:500"
    parts = [part for word in words for part in word.replace(",", " ").split()]
    for part in parts:
        if not _VLLM_LIMIT.fullmatch(part):
            raise BadInputError(
                f'--goodput "{part}": is no KEY:VALUE', hint=f"{hint}; other limits go with --slo"
            )
    try:
        return parse_slo(" ".join(parts)).limits
    except BadInputError as error:
        raise BadInputError(error.text.replace("--slo", "--goodput", 1), hint=hint) from error


def observed(limit: Limit, cell: CellMeasurement) -> float | None:
    """Return the value of a cell that `limit` speaks of; None where there is none.

    A distribution without a named statistic is read at its p95; where the queue grew throughout,
    no limit on it is held.
    """
    if limit.metric == "error_rate":
        return error_rate(cell)
    value = getattr(cell.metrics, limit.metric)
    if limit.metric not in WHOLE_CELL:
        if value.unstable:
            return math.inf if limit.operator == "<=" else 0.0
        value = getattr(value, limit.statistic or "p95")
    return None if value is None else float(value)


def error_rate(cell: CellMeasurement) -> float | None:
    """Return (failed + dropped) / (sent + dropped); None where nothing was to be sent."""
    return cell.requests.lost / cell.requests.due if cell.requests.due else None


def _limit(name: str, operator: str, value: str, text: str, *, recorded: bool) -> Limit:
    metric, statistic = _metric(name, text)
    right = _side(metric)
    if operator != right:
        kind = "an upper" if right == "<=" else "a lower"
        raise BadInputError(
            f'--slo "{text}": {metric} has {kind} limit, so its operator is {right}, '
            f"not {operator}",
            hint=f"write {name}{right}{value}",
        )
    return Limit(
        metric=metric,
        statistic=statistic,
        operator=right,
        value=_value(metric, value, text, recorded=recorded),
        text=re.sub(r"\s+", "", text),
    )


def _vllm_limit(name: str, value: str, text: str) -> Limit:
    if name not in VLLM_NAMES:
        raise BadInputError(
            f'--slo "{text}": unknown name "{name}"{did_you_mean(name, VLLM_NAMES)}',
            hint="in the spelling KEY:MILLISECONDS the keys are ttft, tpot and e2el; " + _EXAMPLE,
        )
    metric = VLLM_NAMES[name]
    return Limit(
        metric=metric, statistic=None, operator="<=", value=_value(metric, value, text), text=text
    )


def _side(metric: str) -> Operator:
    if metric in WHOLE_CELL:
        return WHOLE_CELL[metric]
    return "<=" if metric in LATENCIES else ">="


def _metric(name: str, text: str) -> tuple[str, str | None]:
    """Split `ttft_p95_ms` into `ttft_ms` and `p95`."""
    found = STATISTIC.search(name)
    statistic = found[1] if found else None
    base = STATISTIC.sub("", name, count=1) if found else name
    if base not in (*LATENCIES, *SPEEDS, *WHOLE_CELL):
        raise BadInputError(f'--slo "{text}": {_unknown(base, statistic)}', hint=_EXAMPLE)
    if statistic and base in WHOLE_CELL:
        raise BadInputError(
            f'--slo "{text}": {base} has one value a cell and no {statistic}',
            hint=f"write {base}{WHOLE_CELL[base]}…",
        )
    if statistic and statistic not in STATISTICS:
        raise BadInputError(
            f'--slo "{text}": {statistic} is not measured', hint=f"one of {', '.join(STATISTICS)}"
        )
    return base, statistic


def _unknown(base: str, statistic: str | None) -> str:
    """Say what is wrong with a metric's name: its unit, or all of it."""
    names = (*LATENCIES, *SPEEDS)
    stem, _, unit = base.rpartition("_")
    for metric in names:
        known_stem, _, known_unit = metric.rpartition("_")
        right = spelled(metric, statistic)
        if base == known_stem:
            return f'"{base}" names no unit: write {right}'
        if stem == known_stem:
            return f"{known_stem} is measured in {known_unit}, not in {unit}: write {right}"
    choices = [spelled(name, statistic) for name in names] + list(WHOLE_CELL)
    asked = spelled(base, statistic) if "_" in base else base
    return f'unknown metric "{base}"{did_you_mean(asked, choices)}'


def spelled(metric: str, statistic: str | None) -> str:
    """Return how a statistic of a metric is spelled, e.g. `ttft_p95_ms`, `sequence_p50_tps`."""
    stem, _, unit = metric.rpartition("_")
    return f"{stem}_{statistic}_{unit}" if statistic else metric


def _value(metric: str, value: str, text: str, *, recorded: bool = False) -> float:
    found = _NUMBER.fullmatch(value)
    if found is None:
        raise BadInputError(f'--slo "{text}": "{value}" is no number', hint=_EXAMPLE)
    number, unit = float(found[1]), found[2]
    if metric == "error_rate":
        if unit not in ("", "%"):
            raise BadInputError(
                f'--slo "{text}": an error rate is a ratio or a percentage, not in "{unit}"',
                hint="write error_rate<=0.1% or error_rate<=0.001",
            )
        if not recorded and not unit and 1 <= number <= 100:  # noqa: PLR2004
            raise BadInputError(
                f'--slo "{text}": an error rate lies between 0 and 1: {value} needs its '
                "percent sign",
                hint=f"write error_rate<={value}% or error_rate<={number / 100:g}",
            )
        number = number / 100 if unit else number
        if not 0 <= number <= 1:
            raise BadInputError(
                f'--slo "{text}": an error rate lies between 0 and 1 (or 0% and 100%)',
                hint="write error_rate<=0.1% or error_rate<=0.001",
            )
        return number
    own = metric.rpartition("_")[2] if metric in (*LATENCIES, *SPEEDS) else ""
    if unit not in ("", own):
        wanted = f"in {own}" if own else "without a unit"
        raise BadInputError(
            f'--slo "{text}": {metric} is measured {wanted}, not in "{unit}"',
            hint=f"write {found[1]} for {found[1]} {own}" if own else f"write {found[1]}",
        )
    if not math.isfinite(number) or number <= 0:
        raise BadInputError(f'--slo "{text}": a limit is a positive number', hint=_EXAMPLE)
    return number


def _met(limit: Limit, values: RequestValues, sample: Sample) -> bool:
    if limit.metric == "itl_ms":
        value = _own_gap(limit.statistic, sample)
    else:
        value = getattr(values, limit.metric)
    if value is None:
        return limit.metric not in ("ttft_ms", "ttft_due_ms", "ttfa_ms", "e2e_ms")
    return limit.holds(value)


def _own_gap(statistic: str | None, sample: Sample) -> float | None:
    """Return the request's own mean gap, or the percentile or the longest if one was named."""
    if not sample.chunk_ns:
        return None
    gaps = np.sort(np.asarray(sample.chunk_ns, dtype=np.float64)) / 1e6
    if statistic is None or statistic == "mean":
        return float(gaps.mean())
    if statistic == "max":
        return float(gaps[-1])
    return stats.percentile(gaps, stats.PERCENTILES[statistic])
