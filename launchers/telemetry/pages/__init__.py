"""What engines call things on their metrics pages.

Each module ends in `PAGE: PageNames = …`; the folder is the registry. Which of them a page is
seen from its names, so that an engine behind a gateway is known, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from launchers.telemetry.exposition import HISTOGRAM_ENDS, Samples, read_samples
from launchers.telemetry.records import EnginePage, Histogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LARGEST: Final = frozenset({"kv_cache_use"})
"""Numbers of which the largest counts where there are several; the others are added up."""

_COUNTERS: Final = (
    "preemptions", "prefix_cache_queries", "prefix_cache_hits", "prompt_tokens",
    "generation_tokens", "finished", "prefill_s", "decode_s",
)  # fmt: skip
"""Numbers that an engine only ever adds to."""


class PageError(ValueError):
    """A page that cannot be read as any engine's."""


@dataclass(frozen=True, kw_only=True)
class PageNames:
    """One engine's names."""

    engine: str
    prefix: str
    """How all its names begin, on no other engine's page."""
    numbers: Mapping[str, tuple[str, ...]]
    """Field of `EnginePage` → what versions of the engine call it, the newest first."""
    histograms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The same for `EnginePage.histograms`, without `_sum`, `_count` and `_bucket`."""


@cache
def pages() -> tuple[PageNames, ...]:
    """Return those there are."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    return tuple(
        import_module(f"{__name__}.{name}").PAGE for name in names if not name.startswith("_")
    )


def read_page(text: str, *, at_ns: int, took_ms: float, histograms: bool) -> EnginePage:
    """Read a page.

    Args:
        text: the page.
        at_ns: when it came in, CLOCK_MONOTONIC.
        took_ms: how long that took.
        histograms: whether to read these as well.

    Raises:
        PageError: no engine that is known here writes such a page.
        ExpositionError: a line of it is malformed.
    """
    names = next((one for one in pages() if _begins(text, one.prefix)), None)
    if names is None:
        known = ", ".join(one.engine for one in pages())
        raise PageError(f"has no name of an engine known here ({known})")
    wanted = {name for several in names.numbers.values() for name in several}
    if histograms:
        wanted |= {
            f"{name}{end}" for several in names.histograms.values() for name in several
            for end in HISTOGRAM_ENDS
        }  # fmt: skip
    samples = read_samples(text, names.prefix, wanted)
    numbers: dict[str, Any] = {
        to: _number(to, several, samples) for to, several in names.numbers.items()
    }
    return EnginePage(
        at_ns=at_ns,
        took_ms=took_ms,
        engine=names.engine,
        odd=[f"{name} {value}" for name, value in sorted(samples.odd.items())],
        histograms=_histograms(names, samples) if histograms else {},
        **numbers,
    )


def combine(found: Sequence[EnginePage]) -> EnginePage:
    """Return several replicas' pages as one deployment's."""
    first, *others = found
    if not others:
        return first
    told = [msgspec.structs.asdict(page) for page in found]
    numbers: dict[str, Any] = {}
    for name in {name for page in pages() for name in page.numbers}:
        values = [page[name] for page in told]
        numbers[name] = None if None in values else _together(name, values)
    shared = set.intersection(*(set(page.histograms) for page in found))
    return EnginePage(
        at_ns=max(page.at_ns for page in found),
        took_ms=max(page.took_ms for page in found),
        engine=" + ".join(dict.fromkeys(page.engine for page in found)),
        odd=sorted({each for page in found for each in page.odd}),
        histograms={
            name: _sum_of([page.histograms[name] for page in found]) for name in sorted(shared)
        },
        **numbers,
    )


def fell(before: EnginePage, after: EnginePage) -> bool:
    """Whether a counter of one replica is less than it was: the engine was started anew."""
    pairs = ((getattr(before, name), getattr(after, name)) for name in _COUNTERS)
    return any(None not in pair and pair[1] < pair[0] for pair in pairs)


def _begins(text: str, prefix: str) -> bool:
    return text.startswith(prefix) or f"\n{prefix}" in text or f"# TYPE {prefix}" in text


def _number(field_name: str, several: tuple[str, ...], samples: Samples) -> float | None:
    for name in several:
        if values := samples.counted(name):
            return _together(field_name, values)
    return None


def _together(field_name: str, values: Sequence[float]) -> float:
    return max(values) if field_name in LARGEST else math.fsum(values)


def _histograms(names: PageNames, samples: Samples) -> dict[str, Histogram]:
    found: dict[str, Histogram] = {}
    for to, several in names.histograms.items():
        for name in several:
            if (histogram := samples.histogram(name)) is not None:
                found[to] = histogram
                break
    return found


def _sum_of(several: Sequence[Histogram]) -> Histogram:
    """Add histograms up; their buckets only where all have the same bounds."""
    filled = [one for one in several if one.buckets]
    bounds = {tuple(bound for bound, _ in one.buckets) for one in filled}
    buckets: list[tuple[float | None, float]] = []
    if len(bounds) == 1:
        counts = zip(*([count for _, count in one.buckets] for one in filled), strict=True)
        buckets = list(zip(*bounds, map(math.fsum, counts), strict=True))
    return Histogram(
        sum_s=math.fsum(one.sum_s for one in several),
        count=math.fsum(one.count for one in several),
        buckets=buckets,
    )
