"""The samples of one cell as other tools would have had them: times in ms, one row a request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from harness.explaining.explanation import STATISTICS
from harness.measuring.measurement import Stat
from harness.measuring.request import NS_PER_MS, NS_PER_S, chunk_counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measuring.measurement import CellMeasurement
    from harness.measuring.samples import Bools, Floats, Ints, Samples
    from loadprofiles.records import DrivePlan

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Cell:
    """The measured requests of one cell, and our own numbers of it.

    Warm-up is left out, as these tools leave out theirs; so are the requests that kept a closed
    loop busy after the last of `--requests` was sent.
    """

    measured: Samples
    measurement: CellMeasurement
    slo: str | None = None
    plan: DrivePlan | None = None
    schedule_ns: int | None = None
    """Open loop: when the schedule began, which may be before its first request."""
    problems: tuple[str, ...] = ()
    """What of its files could not be read."""

    @cached_property
    def answered(self) -> Samples:
        """Those that were answered in chunks."""
        answered = self.measured.answered
        return answered.where(answered.has("first_ns") & answered.has("last_ns"))

    def at(self, name: str) -> Ints:
        """A stamp of the answered requests, in ns.

        `submitted`: before connecting, as tools that stamp before they call their HTTP library.
        `end`: the last event with a choice, with text or without.
        """
        column = self.answered.column(f"{name}_ns")
        if name == "submitted":
            there = self.answered.has("submitted_ns")
            return np.where(there, column, self.answered.column("due_ns"))
        if name == "end":
            there = self.answered.has("end_ns")
            return np.where(there, column, self.answered.column("last_ns"))
        if name == "done":
            return np.maximum(column, self.at("end"))
        return column

    def ms(self, start: str, end: str) -> Floats:
        """From one stamp to another of each answered request."""
        return np.asarray((self.at(end) - self.at(start)) / NS_PER_MS, dtype=np.float64)

    def mean_ms(self, start: str, end: str) -> str:
        """The mean of `ms` in words."""
        return f"{self.ms(start, end).mean():.3g}" if len(self.answered) else "0"

    def before_sent(self) -> str:
        """How long it was from taking a request up until it was sent, connecting included."""
        opened = int(self.answered.has("connect_ns").sum())
        return (
            f"From taken up to sent: {self.mean_ms('submitted', 'sent')} ms in the mean; "
            f"{opened} of {len(self.answered)} requests opened a connection."
        )

    @property
    def tokens(self) -> Ints:
        """Output tokens of each answered request: the server's count, else its chunks."""
        there = self.answered.has("output_tokens")
        return np.where(there, self.answered.column("output_tokens"), chunk_counts(self.answered))

    @property
    def counted(self) -> Bools:
        """Whether the server counted them."""
        return self.answered.is_in("token_source", {"server"})

    @property
    def prompt_tokens(self) -> Ints:
        """As the server counted them, else 0."""
        there = self.answered.has("prompt_tokens")
        return np.where(there, self.answered.column("prompt_tokens"), 0)

    @property
    def gaps(self) -> Floats:
        """Between chunks with text, pooled, in ms."""
        return np.asarray(self.answered.values("chunk_ns") / NS_PER_MS, dtype=np.float64)

    @property
    def failed(self) -> int:
        """Requests that were sent, or should have been, and got no answer."""
        return len(self.measured) - len(self.measured.answered)

    @cached_property
    def _sent(self) -> Samples:
        return self.measured.where(self.measured.has("submitted_ns") & self.measured.has("done_ns"))

    @property
    def began_ns(self) -> int:
        """When tools begin to count: with the schedule in an open loop, else the first request."""
        first = int(self._sent.column("submitted_ns").min()) if len(self._sent) else 0
        return first if self.schedule_ns is None else min(first, self.schedule_ns)

    @property
    def ended_ns(self) -> int:
        """The end of the last measured request, failed or not."""
        return int(self._sent.column("done_ns").max()) if len(self._sent) else 0

    @cached_property
    def duration_s(self) -> float:
        """From the one to the other: what tools that wait for all their tasks divide by."""
        return (self.ended_ns - self.began_ns) / NS_PER_S if len(self._sent) else 0.0

    def our(self, name: str | None) -> dict[str, float | None]:
        """Our own values of a metric, by statistic."""
        if name is None:
            return {}
        value = getattr(self.measurement.metrics, name)
        if isinstance(value, Stat):
            return {statistic: getattr(value, statistic) for statistic in STATISTICS}
        return {"value": value}


def linear(values: Floats) -> dict[str, float | None]:
    """Mean and percentiles as numpy has them by default: linear between neighbours."""
    return by(values, lambda q: float(np.quantile(values, q)))


def by(
    values: Floats, quantile: Callable[[float], float], mean: float | None = None
) -> dict[str, float | None]:
    """Mean and percentiles by a tool's own way; all None without values."""
    if not values.size:
        return dict.fromkeys(STATISTICS)
    found = {name: quantile(q) for name, q in QUANTILES.items()}
    return {"mean": float(values.mean()) if mean is None else mean, **found}


def per_second(count: float, seconds: float) -> dict[str, float | None]:
    """A rate with one value a cell."""
    return {"value": count / seconds if seconds else None}
