"""What of a comparison can be found wrong before anything is started."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from harness.comparing.alike import check_alike, unlike_builds
from harness.errors import BadInputError, did_you_mean
from harness.evidence.limits import parse_limits
from harness.evidence.machines import machine_word
from harness.load.checks import check as check_load
from harness.load.checks import check_native
from harness.provenance import host
from harness.quality.checks import check as check_quality
from harness.serving import Url, builds_in, name_of, names_in, urls_in
from launchers.redact import redact_mapping
from launchers.telemetry.records import GIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from evals.kinds import Size
    from harness.comparing.manifest import CompareManifest
    from harness.comparing.request import CompareRequest
    from harness.evidence.limits import Limit
    from harness.serving import Source, Who

_ROOM_GIB: Final = 0.5


def check(request: CompareRequest, parent: Path) -> tuple[list[Source], dict[str, Size]]:
    """Look at all that was asked; return who is brought up, and how much each suite asks.

    Raises:
        BadInputError, BuildError, LoadProfilesError: with the fix.
    """
    _check_weighing(request)
    _check_urls(request)
    check_load(request.load)
    sources, sizes = check_quality(request.quality)
    check_alike(unlike_of(request), allow_different=request.weighing.allow_different)
    _check_room(parent)
    return sources, sizes


def unlike_of(request: CompareRequest) -> list[str]:
    """Say in what the builds' TOML files differ beside the weights, and in what they are asked."""
    builds = [build for build, _ in builds_in(request.builds)]
    lines = unlike_builds(builds, builds[0].name) if builds else []
    asked = {name: request.load.spoken(name) for name in names_in(request.builds)}
    if len({*asked.values()}) > 1:
        lines.append(f"dialect: {', '.join(f'{name} {told}' for name, told in asked.items())}")
    return lines


def described(who: Who) -> dict[str, Any]:
    """Return a build, or a server that runs already, for the manifest, secrets masked."""
    if isinstance(who, Url):
        return {"name": who.name, "url": list(who.urls), "model": who.model}
    build, base_dir = who
    told = build.model_dump(mode="json", exclude_none=True)
    told["environment"] = redact_mapping(build.environment)
    told["arguments"] = redact_mapping({k: str(v) for k, v in build.arguments.items()})
    return {**told, "base_dir": str(base_dir)}


def check_same(manifest: CompareManifest, request: CompareRequest) -> None:
    """Look whether a run that goes on would do so with the same builds on the same machine.

    Raises:
        BadInputError: it would not.
    """
    for who in request.builds:
        if described(who) != manifest.builds.get(name_of(who)):
            raise BadInputError(
                f"{name_of(who)} is not as it was when {manifest.run.path} was begun",
                hint="Start a comparison of its own, or undo the change.",
            )
    was, now = machine_word(manifest.host), machine_word(host())
    if was != now:
        raise BadInputError(
            f"{manifest.run.path} was begun on another machine: {was}, this one is {now}",
            hint="Go on there, or start a comparison of its own here.",
        )


def _check_weighing(request: CompareRequest) -> None:
    weighing = request.weighing
    names = names_in(request.builds)
    for build in weighing.prices:
        if build and build not in names:
            raise BadInputError(
                f'--price-per-hour: "{build}" is not among the builds{did_you_mean(build, names)}'
            )
    if weighing.limits is None:
        return
    limits = parse_limits(weighing.limits)
    _check_goodput(limits, request)
    levels = {f"{level:g}" for level in request.load.levels}
    kind = "concurrency" if request.load.profile.is_closed else "rate"
    for limit in limits:
        at = limit.level
        if at is not None and (at.kind != kind or f"{at.value:g}" not in levels):
            raise BadInputError(
                f'--slo: "{limit.text}" is of the level {at}, which is not measured',
                hint=f"Levels: {', '.join(sorted(f'{kind[0]}{level}' for level in levels))}.",
            )


def _check_urls(request: CompareRequest) -> None:
    """Look that suites and load can go to one address."""
    for at in urls_in(request.builds):
        check_native(at, "harness compare")


def _check_goodput(limits: Sequence[Limit], request: CompareRequest) -> None:
    """Look that goodput has limits on single requests to count by."""
    single = request.load.slo is not None and any(
        one.per_request for one in request.load.slo.limits
    )
    asked = next((one for one in limits if one.metric == "goodput"), None)
    if asked is None or single:
        return
    raise BadInputError(
        f'--slo: "{asked.text}": goodput counts requests that hold limits of their own, and none '
        "is given",
        hint=f"Add one or more for every level, e.g. ttft_ms<=500,itl_ms<=50,{asked.text}",
    )


def _check_room(parent: Path) -> None:
    folder = parent.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GIB
    if free < _ROOM_GIB:
        raise BadInputError(
            f"--out {parent}: {free:.2f} GiB are free there; a comparison wants {_ROOM_GIB}",
            hint="Free some space, or choose another folder.",
        )
