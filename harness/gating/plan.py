"""A gate as it will be gone through; all that can be wrong with it is found here."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from evals.errors import EvalError
from harness.config import find_profile, find_suite
from harness.errors import BadInputError, did_you_mean
from harness.evidence.limits import parse_limit
from harness.gating.answers import EVERY
from harness.gating.copied import lacking
from harness.gating.power import unreachable
from harness.gating.request import Finished
from harness.gating.speeds import ERRORS, is_estimated
from harness.load.checks import check as check_load
from harness.load.checks import check_native
from harness.load.request import LoadRequest
from harness.quality.checks import check as check_quality
from harness.quality.request import EvalRequest
from harness.serving import urls_in
from launchers.errors import LauncherError
from loadprofiles.errors import LoadProfilesError
from loadprofiles.profile import Overrides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from evals.kinds import Size
    from evals.suite import Suite
    from harness.evidence.limits import Limit
    from harness.gating.request import GateRequest
    from harness.gating.rules import Stage
    from harness.quality.request import EarlierRun
    from harness.serving import Who
    from loadprofiles.profile import Profile

_LACKING: Final = (
    "Take a run that has them, name the build to have it asked, or go through some stages only "
    "with --stages."
)

NOT_STARTED: Final = (
    "{} runs already and is not started anew for each repeat: what starts of it differ by is in no "
    "interval here."
)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One stage, with all that it names found."""

    stage: Stage
    limits: tuple[Limit, ...]
    suite: tuple[Suite, Path] | None = None
    profile: Profile | None = None
    levels: tuple[float, ...] = ()
    size: Size | None = None
    """Of its suite; None where nobody will be asked it."""
    skipped: str = ""
    """Why it cannot be gone through here, where it is not required."""

    @property
    def asks(self) -> str:
        """The suite's or the profile's own name."""
        if self.suite is not None:
            return self.suite[0].name
        return "" if self.profile is None else self.profile.name

    @property
    def tests(self) -> int:
        """How many tests its rules make."""
        return sum(self._tests(limit) for limit in self.limits)

    def _tests(self, limit: Limit) -> int:
        if limit.kind != "quality":
            levels = 1 if limit.level is not None or limit.kind == "server" else len(self.levels)
            tested = is_estimated(limit.metric) or (limit.metric == ERRORS and not limit.ratio)
            return levels if tested else 0
        categories = {} if self.size is None else self.size.categories or {}
        return max(1, len(categories)) if limit.part == EVERY else 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All stages, in their order."""

    stages: tuple[Planned, ...]
    notes: tuple[str, ...] = field(default=())
    """Which rules cannot be shown to be kept."""
    running: tuple[str, ...] = field(default=())
    """What not starting a server leaves out."""


def plan_gate(request: GateRequest) -> Plan:
    """Look at all that was asked, before anything is started.

    Raises:
        BadInputError: with all mistakes of the rules, or what is wrong with a build.
        BuildError, LoadProfilesError: with the fix.
    """
    sides = [who for who in (request.baseline, request.candidate) if not isinstance(who, Finished)]
    for at in urls_in(sides):
        check_native(at, "harness gate")
    problems: list[str] = []
    found = [_find(request, stage, problems) for stage in request.rules.stages]
    stages = [one for one in found if one is not None]
    names = [one.asks for one in stages]
    problems += [
        f"{one.stage.name}: {one.asks} is in two stages; put its rules into one"
        for place, one in enumerate(stages)
        if one.asks in names[:place]
    ]
    for one in stages:
        problems += [text for limit in one.limits if (text := _misfit(one, limit))]
    _raise(request, problems)
    stages = [_sized(request, one) for one in stages]
    problems = [text for one in stages if not one.skipped for text in _weak(one)]
    if problems and not request.allow_underpowered:
        _raise(
            request,
            problems,
            hint="--allow-underpowered goes on: these rules are INCONCLUSIVE at best.",
        )
    notes = [NOT_STARTED.format(at.name) for at in urls_in(sides)]
    return Plan(stages=tuple(stages), notes=tuple(problems), running=tuple(notes))


def eval_request(
    request: GateRequest,
    who: Who,
    stages: Sequence[Planned],
    earlier: EarlierRun | None = None,
) -> EvalRequest:
    """Return the evaluation that asks one build the suites of stages."""
    return EvalRequest(
        servers=[who],
        suites=[one.suite for one in stages if one.suite is not None],
        baseline=earlier,
        seed=request.seed,
        concurrency=request.concurrency,
        timeout_s=request.timeout_s,
        asked=request.asked,
        command=request.command,
    )


def load_request(request: GateRequest, who: Who, one: Planned) -> LoadRequest:
    """Return the load run that drives one build in one stage."""
    assert one.profile is not None  # noqa: S101 - only called for such a stage
    return LoadRequest(
        servers=[who],
        profile=one.profile,
        levels=list(one.levels),
        repeats=one.stage.repeats,
        order="mirrored",
        again=True,
        seed=request.seed,
        asked=request.asked,
        command=request.command,
    )


def _find(request: GateRequest, stage: Stage, problems: list[str]) -> Planned | None:
    """Find what a stage names; add what is wrong to `problems`."""
    limits = []
    for rule in stage.rules:
        try:
            limits.append(parse_limit(rule, stage.name))
        except BadInputError as error:
            problems.append(str(error))
    planned = Planned(stage=stage, limits=tuple(limits))
    try:
        if stage.suite is not None:
            suite, folder = find_suite(_beside(stage.suite, request.rules_dir), request.config)
            if stage.limit is not None:
                suite = suite.model_copy(update={"limit": stage.limit})
            return replace(planned, suite=(suite, folder))
        profile = find_profile(_beside(stage.profile or "", request.rules_dir), request.config)
        profile = profile.with_overrides(
            Overrides(duration_s=stage.duration_s, requests=stage.requests)
        )
        levels = stage.levels or profile.own_levels(as_recorded=False)
        return replace(planned, profile=profile, levels=levels)
    except (BadInputError, LoadProfilesError) as error:
        problems.append(f"{stage.name}: {error}")
        return None


def _beside(name: str, folder: Path) -> str:
    """A path as it is meant in a file of that folder; a name stays one."""
    is_path = name.endswith(".toml") or "/" in name or os.sep in name
    return str(folder / name) if is_path else name


def _misfit(one: Planned, limit: Limit) -> str:
    """Say why a rule has nothing to do with its stage; empty: it has."""
    where = f"{one.stage.name}: {limit.text}"
    return (
        _of_answers(where, one, limit) if limit.kind == "quality" else _of_load(where, one, limit)
    )


def _of_answers(where: str, one: Planned, limit: Limit) -> str:
    if one.suite is None:
        return f"{where} is of answers; put it into a stage with a suite"
    names = _names(one.suite[0])
    if limit.suite is None or limit.suite not in names:
        near = did_you_mean(limit.suite or "", names)
        return f"{where} names no suite or task of this stage{near}: {', '.join(names)}"
    return ""


def _of_load(where: str, one: Planned, limit: Limit) -> str:
    if one.profile is None:
        return f"{where} is of a load; put it into a stage with a profile"
    closed = one.profile.is_closed
    if limit.metric == "goodput":
        return (
            f"{where}: a gate's stage has no limits that goodput is counted by; put them as rules "
            "of their own, e.g. ttft_p95_ms <= 500 and error_rate <= 1%, or take request_rate"
        )
    if limit.level is not None:
        kind = "concurrency" if closed else "rate"
        if limit.level.kind != kind or limit.level.value not in one.levels:
            there = ", ".join(f"@{kind[0]}{level:g}" for level in one.levels)
            return f"{where}: the stage has no such level; it has {there}"
    if one.stage.repeats == 1 and is_estimated(limit.metric):
        return f"{where}: one repeat has no interval; set repeats = 2 or more (3 are usual)"
    return ""


def _names(suite: Suite) -> list[str]:
    return [suite.name, *(suite.lmeval.tasks if suite.lmeval is not None else ())]


def _sized(request: GateRequest, one: Planned) -> Planned:
    """Let the leaves look at a stage of each build that will be brought up."""
    try:
        for who in (request.baseline, request.candidate):
            if isinstance(who, Finished):
                _check_finished(who, one)
            elif one.suite is None:
                check_load(load_request(request, who, one))
            else:
                _, sizes = check_quality(eval_request(request, who, [one]))
                one = replace(one, size=sizes[one.asks])
    except (BadInputError, EvalError, LauncherError) as error:
        if one.stage.required:
            raise
        return replace(one, skipped=str(error).partition("\n")[0], size=None)
    return one


def _check_finished(who: Finished, one: Planned) -> None:
    if text := lacking(who, one):
        raise BadInputError(f"stage {one.stage.name}: {text}", hint=_LACKING)


def _weak(one: Planned) -> list[str]:
    """Say which rules cannot come out as PASS with so few items, and how many are needed."""
    if one.size is None:
        return []
    found = []
    for limit in one.limits:
        text = unreachable(limit, one.size)
        if text:
            found.append(f"{one.stage.name}: {limit.text}: {text}")
    return found


def _raise(request: GateRequest, problems: list[str], hint: str | None = None) -> None:
    if not problems:
        return
    count = f"{len(problems)} mistakes in the rules " if len(problems) > 1 else "rules "
    lines = "\n".join(problems)
    raise BadInputError(f"{count}{request.rules_file}:\n{lines}", hint=hint)
