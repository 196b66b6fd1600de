"""Prometheus's text format, read for a few names out of hundreds.

Source: "Exposition formats", prometheus.io/docs/instrumenting/exposition_formats (version 0.0.4).
A page is read every second while load runs, so lines of other names cost one comparison each;
`prometheus_client`'s parser takes all of them apart.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launchers.telemetry.records import Histogram

if TYPE_CHECKING:
    from collections.abc import Collection

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*", re.ASCII)
_BOUND = re.compile(r'(?:^|,)\s*le="([^"]*)"')
_TYPE = "# TYPE "
_SHOWN = 80


class ExpositionError(ValueError):
    """A line is not what the format wants."""


@dataclass
class Samples:
    """The samples of the names that were asked for."""

    values: dict[str, list[float]] = field(default_factory=dict)
    """One for each set of labels."""
    bounded: dict[str, dict[float, float]] = field(default_factory=dict)
    """Buckets of a name that ends in `_bucket`: upper bound → count, added up over other labels."""
    kinds: dict[str, str] = field(default_factory=dict)
    """By the names that the page declares, whether or not it has samples of them."""

    def counted(self, name: str) -> list[float] | None:
        """Return a name's values. A counter that is declared and has none has counted nothing."""
        if (found := self.values.get(name)) is not None:
            return found
        kinds = {self.kinds.get(name), self.kinds.get(name.removesuffix("_total"))}
        return [0.0] if "counter" in kinds else None

    def histogram(self, name: str) -> Histogram | None:
        """Return a histogram, added up over its labels; None when the page has none of the name."""
        count = self.values.get(f"{name}_count")
        if count is None:
            empty = self.kinds.get(name) == "histogram"
            return Histogram(sum_s=0.0, count=0.0) if empty else None
        buckets = sorted(self.bounded.get(f"{name}_bucket", {}).items())
        return Histogram(
            sum_s=math.fsum(self.values.get(f"{name}_sum", [])),
            count=math.fsum(count),
            buckets=[(None if math.isinf(bound) else bound, n) for bound, n in buckets],
        )


def read_samples(text: str, prefix: str, names: Collection[str]) -> Samples:
    """Read the samples of some names; values that are no finite numbers are left out.

    Args:
        text: the page.
        prefix: how all the names begin.
        names: of samples: a histogram has three, with `_sum`, `_count` and `_bucket`.

    Raises:
        ExpositionError: one of these lines is malformed.
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
    name, labels, written = parts[1], parts[2] or "", parts[3]
    value = _number(written, line)
    if not math.isfinite(value):
        return
    if not name.endswith("_bucket"):
        found.values.setdefault(name, []).append(value)
        return
    bound = _BOUND.search(labels)
    if bound is None:
        raise ExpositionError(f"a bucket without bound: {line[:_SHOWN]!r}")
    buckets = found.bounded.setdefault(name, {})
    at = _number(bound[1], line)
    buckets[at] = buckets.get(at, 0.0) + value


def _number(text: str, line: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ExpositionError(f"{text[:_SHOWN]!r} is no number: {line[:_SHOWN]!r}") from None
