"""Flags about sweeps, and going on with a load run."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import BadInputError
from harness.measuring.sweep import SweepPlan
from loadprofiles.profile import MAX_REQUESTS, MAX_STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import SimpleNamespace

    from harness.load.request import LoadRequest
    from harness.rundir import RunFolder
    from loadprofiles.profile import Profile

MOST_LEVELS: Final = 16
MOST_MINUTES: Final = 30.0
_LEAST_LEVELS: Final = 4
_ENDS: Final = 2
_LEAST_REQUESTS: Final = 10
_NOW: Final = frozenset({"header", "api_key_env", "quiet", "json", "resume"})
"""What may be said when a run goes on."""
_PATHS: Final = ("ca_file", "tokenizer", "dataset", "trace", "config", "out")


def plan_of(
    profile: Profile,
    levels: Sequence[float] | None,
    max_levels: int | None,
    max_minutes: float | None,
    max_fail_ratio: float,
) -> SweepPlan:
    """Return what a sweep may measure.

    Args:
        profile: with the command line's overrides.
        levels: the lowest and, if there is a second, the highest level; None: found by itself.
        max_levels: so many at most.
        max_minutes: for the levels of a build.
        max_fail_ratio: share of failed requests above which it goes no higher.

    Raises:
        BadInputError: with the flag and the fix.
    """
    flag = "--level" if profile.is_closed else "--rate"
    if profile.duration_s is None:
        raise BadInputError(
            "--sweep: windows of a number of requests are too short for many streams and too long "
            "for few; give seconds, e.g. --duration 30",
        )
    if levels is not None and len(levels) > _ENDS:
        raise BadInputError(f"{flag}: a sweep takes the lowest and the highest level, e.g. 1,64")
    if levels is not None and len(levels) == _ENDS and levels[0] >= levels[1]:
        raise BadInputError(f"{flag}: {levels[0]:g},{levels[1]:g}: the lowest level comes first")
    count = MOST_LEVELS if max_levels is None else max_levels
    if count < _LEAST_LEVELS:
        raise BadInputError(f"--max-levels: {count} must be {_LEAST_LEVELS} or more: a knee is fit")
    minutes = MOST_MINUTES if max_minutes is None else max_minutes
    if not 0 < minutes < float("inf"):
        raise BadInputError(f"--max-minutes: {minutes:g} must be more than 0")
    least = _LEAST_REQUESTS / profile.duration_s
    if profile.is_closed:
        low, high = 1.0, float(MAX_STREAMS)
    else:
        low, high = max(min(profile.levels), least), MAX_REQUESTS / profile.duration_s
    if levels is not None:
        low = least = levels[0]
        high = levels[1] if len(levels) == _ENDS else high
    return SweepPlan(
        low=low,
        high=high,
        least=least,
        levels=count,
        limit_s=60 * minutes,
        max_fail_ratio=max_fail_ratio,
    )


def check_sweep(said: SimpleNamespace) -> None:
    """Look whether a sweep's flags go together.

    Raises:
        BadInputError: they do not.
    """
    if not said.sweep:
        for flag in ("max_levels", "max_minutes"):
            if getattr(said, flag) is not None:
                raise BadInputError(f"--{flag.replace('_', '-')} goes with --sweep; add it")
        return
    if said.lengths == "both":
        raise BadInputError("--sweep: --lengths both are two curves; sweep forced, then natural")
    if said.order not in {None, "each"}:
        raise BadInputError("--sweep: levels are found one after the other; leave --order out")
    if said.expect_workers:
        raise BadInputError(
            "--sweep: workers elsewhere are not told yet that another level comes",
            hint="Use --workers N of this machine, or list the levels.",
        )


def resumed(
    run: RunFolder, given: Mapping[str, Any], command: Callable[..., object]
) -> dict[str, Any]:
    """Return the flags of a run that goes on, as it began, with the little that is said now.

    Args:
        run: that goes on.
        given: flag → value, as said now.
        command: whose flags they are, with their defaults.

    Raises:
        BadInputError: more is said, or headers are missing.
    """
    for name, one in signature(command).parameters.items():
        if name not in _NOW and given[name] != one.default:
            raise BadInputError(
                f"--{name.replace('_', '-')} and --resume do not go together: a run goes on as it "
                "began"
            )
    kept: Any = run.read_manifest().get("request")
    if not isinstance(kept, dict) or "max_levels" not in kept:
        raise BadInputError(f"{run.path} is no run of this harness's `harness load`")
    flags = {name: kept[name] for name in given.keys() & kept.keys()}
    flags |= {name: Path(flags[name]) for name in _PATHS if flags.get(name) is not None}
    flags["url"] = (kept["url"],) if kept.get("url") else ()
    pairs = kept.get("metadata") or {}
    flags["metadata"] = tuple(f"{key}={value}" for key, value in pairs.items())
    missing = {*kept.get("headers", ())} - {text.partition("=")[0] for text in given["header"]}
    if missing:
        raise BadInputError(
            f"--resume: the run was begun with headers whose values are in no file: "
            f"{', '.join(sorted(missing))}",
            hint="Say them again with --header K=V.",
        )
    flags["api_key_env"] = given["api_key_env"] or kept.get("api_key_env")
    return {**given, **flags}


def check_same(run: RunFolder, request: LoadRequest) -> None:
    """Look whether a run would go on with the same traffic.

    Raises:
        BadInputError: it would not.
    """
    if run.read_manifest().get("profile") != request.profile.model_dump(mode="json"):
        raise BadInputError(
            f"the profile {request.profile.name} is not as it was when {run.path} was begun",
            hint="Begin a run of its own, or undo the change.",
        )
