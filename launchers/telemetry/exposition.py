"""Prometheus's text format, read for a few names out of hundreds.

Source: "Exposition formats", prometheus.io/docs/instrumenting/exposition_formats (version 0.0.4).
A page is read every second while load runs, so lines of other names cost one comparison each;
`prometheus_client`'s parser takes all of them apart.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from launchers.telemetry.records import Histogram

if TYPE_CHECKING:
    from collections.abc import Collection

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*", re.ASCII)
_BOUND = re.compile(r'(?:^|,)\s*le="([^"]*)"')
_TYPE = "# TYPE "
_SHOWN = 80
HISTOGRAM_ENDS: Final = ("_sum", "_count", "_bucket")


class ExpositionError(ValueError):
    """A line is not what the format wants."""


@dataclass
class Samples:
    """The samples of the names that were asked for."""

    values: dict[str, dict[str, float]] = field(default_factory=dict)
    """Name → its labels, as they are written → value."""
    kinds: dict[str, str] = field(default_factory=dict)
    """By the names that the page declares, whether or not it has samples of them."""
    odd: dict[str, str] = field(default_factory=dict)
    """Names with a value that is no amount of anything (NaN, infinite, below 0), and that value.
    The others of the name do not stand for it: the name is unknown."""

    def counted(self, name: str) -> list[float] | None:
        """Return a name's values. A counter that is declared and has none has counted nothing."""
        if name in self.odd:
            return None
        if (found := self.values.get(name)) is not None:
            return list(found.values())
        kinds = {self.kinds.get(name), self.kinds.get(name.removesuffix("_total"))}
        return [0.0] if "counter" in kinds else None

    def histogram(self, name: str) -> Histogram | None:
        """Return a histogram, added up over its labels; None when the page has none of the name.

        Raises:
            ExpositionError: a bucket has no bound.
        """
        if any(f"{name}{end}" in self.odd for end in HISTOGRAM_ENDS):
            return None
        buckets: dict[float, float] = {}
        for labels, number in self.values.get(f"{name}_bucket", {}).items():
            bound = _bound(labels)
            buckets[bound] = buckets.get(bound, 0.0) + number
        count = self.values.get(f"{name}_count")
        if count is None:
            empty = self.kinds.get(name) == "histogram"
            return Histogram(sum_s=0.0, count=0.0) if empty else None
        return Histogram(
            sum_s=math.fsum(self.values.get(f"{name}_sum", {}).values()),
            count=math.fsum(count.values()),
            buckets=[(None if math.isinf(le) else le, n) for le, n in sorted(buckets.items())],
        )


def read_samples(text: str, prefix: str, names: Collection[str]) -> Samples:
    """Read the samples of some names.

    Args:
        text: the page.
        prefix: how all the names begin.
        names: of samples: a histogram has three, with `HISTOGRAM_ENDS`.

    Raises:
        ExpositionError: one of these lines is malformed, or contradicts another.
    """
    found = Samples()
    declared = _TYPE + prefix
    for line in text.split("\n"):
        if line.startswith(prefix):
            if re.split(r"[{\s]", line, maxsplit=1)[0] in names:
                _take(found, line)
        elif line.startswith(declared):
            _, _, rest = line.partition(_TYPE)
            name, _, kind = rest.strip().partition(" ")
            found.kinds[name] = kind.strip()
    return found


def _take(found: Samples, line: str) -> None:
    parts = _LINE.fullmatch(line)
    if parts is None:
        raise ExpositionError(f"no sample: {line[:_SHOWN]!r}")
    name, labels = parts[1], parts[2] or ""
    value = _number(parts[3], line)
    # A sum of times can be below 0 where an engine's processes disagree about the clock.
    if not math.isfinite(value) or (value < 0 and not name.endswith("_sum")):
        found.odd[name] = parts[3][:_SHOWN]
        return
    if found.values.setdefault(name, {}).setdefault(labels, value) != value:
        raise ExpositionError(f"another value stands for the same on the page: {line[:_SHOWN]!r}")


def _bound(labels: str) -> float:
    """Return the upper bound of a bucket, which is one of its labels."""
    found = _BOUND.search(labels)
    if found is None:
        raise ExpositionError(f"a bucket without bound: {labels[:_SHOWN]!r}")
    bound = _number(found[1], labels)
    if math.isnan(bound):
        raise ExpositionError(f"a bucket without bound: {labels[:_SHOWN]!r}")
    return bound


def _number(text: str, line: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ExpositionError(f"{text[:_SHOWN]!r} is no number: {line[:_SHOWN]!r}") from None
