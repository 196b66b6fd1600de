"""Which figures a history is of, and the history of them."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.errors import BadInputError, did_you_mean
from harness.evidence.metrics import METRICS, canonical
from harness.history.history import History
from harness.history.scan import scan
from harness.history.series import series_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from harness.evidence.figures import Figure
    from harness.history.scan import Found

HEADLINE: Final = (
    "ttft_p50_ms", "ttft_p95_ms", "itl_p50_ms", "e2e_p95_ms", "aggregate_tps", "memory_peak_gib",
    "score", "perplexity",
)  # fmt: skip
"""What a page shows where no metric is asked for."""
_AGO: Final = re.compile(r"(\d+)([hdw])")
_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}
_LEVEL: Final = re.compile(r"([cr]?)(\d+\.?\d*|\.\d+)")
_KINDS: Final = {"c": "concurrency", "r": "rate"}
_ALL: Final = "all"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is wanted; None: all of it."""

    metrics: tuple[str, ...] | None = None
    builds: tuple[str, ...] | None = None
    profiles: tuple[str, ...] | None = None
    levels: tuple[tuple[str | None, float], ...] | None = None
    """(concurrency, rate or None for either, value)."""
    suites: tuple[str, ...] | None = None
    categories: tuple[str, ...] = ()
    """Also these of each suite, and tasks of that name; "all" is all."""
    since: str | None = None
    """ISO 8601, UTC."""

    def takes(self, one: Figure) -> bool:
        """Whether a figure is wanted."""
        part = one.category or one.task
        return (
            (self.builds is None or one.build in self.builds)
            and (self.profiles is None or one.profile in self.profiles)
            and (self.suites is None or one.suite in self.suites)
            and (self.levels is None or any(_at(one, *level) for level in self.levels))
            and (part is None or part in self.categories or _ALL in self.categories)
        )


def parse_metrics(text: str | None) -> tuple[str, ...] | None:
    """Read names of metrics, separated by commas.

    Raises:
        BadInputError: one is unknown.
    """
    if text is None:
        return None
    names = tuple(canonical(name) for name in _words(text, "--metric"))
    for name in names:
        if name not in METRICS:
            raise BadInputError(
                f'--metric: unknown metric "{name}"{did_you_mean(name, METRICS)}',
                hint="For example ttft_p95_ms, aggregate_tps, memory_peak_gib, score, perplexity.",
            )
    return names


def parse_levels(text: str | None) -> tuple[tuple[str | None, float], ...] | None:
    """Read levels, separated by commas: 8, or c8 for streams and r2.5 for requests per second.

    Raises:
        BadInputError: one is no level.
    """
    if text is None:
        return None
    levels = []
    for word in _words(text, "--level"):
        found = _LEVEL.fullmatch(word)
        if found is None:
            raise BadInputError(
                f'--level: "{word}" is no level',
                hint="Write 8, or c8 for streams, r2.5 for a rate.",
            )
        levels.append((_KINDS.get(found[1]), float(found[2])))
    return tuple(levels)


def parse_since(text: str | None, now: dt.datetime) -> str | None:
    """Read a date (2026-11-01), a time (2026-11-01T12:00) or an age (12h, 30d, 4w).

    Raises:
        BadInputError: it is neither.
    """
    if text is None:
        return None
    if found := _AGO.fullmatch(text.strip()):
        try:
            moment = now - dt.timedelta(**{_UNITS[found[2]]: int(found[1])})
        except OverflowError:
            return None
    else:
        try:
            moment = dt.datetime.fromisoformat(text.strip())
        except ValueError as error:
            raise BadInputError(
                f'--since: "{text}" is no date', hint="Write 2026-11-01, or 30d for 30 days ago."
            ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds")


def parse_words(text: str | None, flag: str) -> tuple[str, ...] | None:
    """Read names separated by commas.

    Raises:
        BadInputError: there is none.
    """
    return None if text is None else tuple(_words(text, flag))


def find(folder: Path, selection: Selection) -> Found:
    """Read a folder's runs and leave the figures that are wanted.

    Raises:
        BadInputError: no run has a build, profile or suite of that name.
    """
    found = scan(folder, metrics=selection.metrics, since=selection.since)
    for flag, asked, known in (
        ("--build", selection.builds, {name for run in found.runs for name in run.builds}),
        ("--profile", selection.profiles, {name for run in found.runs for name in run.profiles}),
        ("--suite", selection.suites, {name for run in found.runs for name in run.suites}),
    ):
        _check(flag, asked or (), known)
    found.figures[:] = [one for one in found.figures if selection.takes(one)]
    return found


def read_history(folder: Path, selection: Selection) -> History:
    """Return what a folder's runs say of the metrics that are wanted; of none, the runs alone.

    Raises:
        BadInputError: no run has a build, profile or suite of that name.
    """
    wanted = selection.metrics or ()
    found = find(folder, selection)
    return History(
        folder=str(folder),
        runs=[run for run in found.runs if _listed(run.builds, selection.builds)
              and _listed(run.profiles, selection.profiles)
              and _listed(run.suites, selection.suites)],
        metrics=list(wanted),
        series=series_of(found.figures, found.setups) if wanted else [],
        skipped=found.skipped,
    )  # fmt: skip


def _check(flag: str, asked: Iterable[str], known: set[str]) -> None:
    for name in asked:
        if known and name not in known:
            raise BadInputError(
                f'{flag}: no run has "{name}"{did_you_mean(name, known)}',
                hint=f"There are {', '.join(sorted(known))}.",
            )


def _listed(there: Sequence[str], asked: Sequence[str] | None) -> bool:
    return asked is None or bool({*there} & {*asked})


def _at(one: Figure, kind: str | None, value: float) -> bool:
    return any(there == value and kind in {None, name} for name, there in (one.level or {}).items())


def _words(text: str, flag: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise BadInputError(f"{flag}: it names nothing")
    return words
