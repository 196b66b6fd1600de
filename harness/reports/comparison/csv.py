"""The numbers of a comparison, flat: one row a build, place and metric."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

from harness.comparing import words
from harness.comparing.record import read_comparison
from harness.reports.csv import Rows, cell_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from evals.compare.records import Interval
    from harness.comparing.comparison import Comparison, QualityPart
    from harness.reports import Report
    from harness.rundir import RunFolder

COLUMNS: Final = (
    "kind", "build", "baseline", "profile_or_suite", "level_or_part", "metric", "value", "low",
    "high", "difference", "difference_low", "difference_high", "ratio", "ratio_low", "ratio_high",
    "finding", "repeats",
)  # fmt: skip
_NONE: Final = (None, None)


class Csv(Rows):
    """Rows of load, then of quality, then of servers."""

    def write(self, run: RunFolder, out: TextIO) -> None:
        """Write the table, a row at a time."""
        writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        found = read_comparison(run)
        for row in _rows(found):
            shown = {name: cell_value(value) for name, value in row.items() if value is not None}
            writer.writerow({"baseline": cell_value(found.baseline), **shown})


def _rows(found: Comparison) -> Iterator[dict[str, object]]:
    yield from _load(found)
    for row in found.quality:
        parts: list[tuple[str, QualityPart]] = [("", row)]
        parts += [*row.categories.items(), *row.tasks.items()]
        for name, part in parts:
            metric = "perplexity" if row.perplexity_ratio or "perplexity" in row.metric else "score"
            yield {
                "kind": "quality",
                "build": row.build,
                "profile_or_suite": row.suite,
                "level_or_part": name,
                "metric": metric,
                "value": part.score,
                **_ends("", part.ci95),
                "difference": part.difference,
                **_ends("difference_", part.difference_ci95),
                "ratio": row.perplexity_ratio if metric == "perplexity" else part.retained,
                **_ends(
                    "ratio_",
                    row.perplexity_ratio_ci95 if metric == "perplexity" else part.retained_ci95,
                ),
                "finding": part.noninferiority.verdict if part.noninferiority else None,
            }
    for server in found.servers:
        for name in ("ready_s", "first_token_s", "memory_peak_gib"):
            value = getattr(server, name)
            if value is not None:
                yield {
                    "kind": "server",
                    "build": server.build,
                    "metric": name,
                    "value": value.value,
                    **_ends("", value.ci95),
                    "repeats": value.repeats,
                }
        for name in ("scheme", "kernel", "weights_gib", "kv_cache_gib", "kv_cache_tokens"):
            if getattr(server, name) is not None:
                told = {"metric": name, "value": getattr(server, name)}
                yield {"kind": "server", "build": server.build, **told}


def _load(found: Comparison) -> Iterator[dict[str, object]]:
    for row in found.load:
        for metric, value in row.metrics.items():
            against = row.against.get(metric)
            yield {
                "kind": "load",
                "build": row.build,
                "profile_or_suite": row.profile,
                "level_or_part": words.level(row.level),
                "metric": metric,
                "value": value.value,
                **_ends("", value.ci95),
                "difference": against.difference if against else None,
                **_ends("difference_", against.ci95 if against else None),
                "ratio": against.ratio if against else None,
                **_ends("ratio_", against.ratio_ci95 if against else None),
                "finding": against.side if against else None,
                "repeats": ["" if one is None else one for one in value.repeats],
            }


def _ends(name: str, ci95: Interval | None) -> dict[str, object]:
    low, high = ci95 or _NONE
    return {f"{name}low": low, f"{name}high": high}


REPORT: Report = Csv()
