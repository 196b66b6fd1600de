"""What of an evaluation can be found wrong before anything is started, and how much it will ask."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from evals.endpoint import Endpoint
from evals.errors import NeedError, SuiteError
from evals.kinds import Job
from harness.errors import BadInputError
from harness.load.checks import check_key, check_urls
from harness.quality.baseline import check_run
from harness.quality.kinds import kind_of
from harness.quality.request import EarlierRun
from harness.quality.servers import endpoint_for, sources_of
from harness.serving import Connected, Served, urls_in
from launchers.environments import installed
from launchers.launch import check_build
from launchers.model import HUB_ID, resolve_model
from loadprofiles.prompts.texts import load_tokenizer
from loadprofiles.traffic.crowd import check_descriptors
from loadprofiles.traffic.timetable import check_schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from evals.kinds import Size
    from evals.records import Route
    from evals.suite import Suite
    from harness.quality.request import EvalRequest
    from harness.serving import Source

TOKENIZER_FILE = "tokenizer.json"
LM_EVAL = "lm-eval"
"""The managed environment in which lm-eval lives."""


def check(request: EvalRequest) -> tuple[list[Source], dict[str, Size]]:
    """Look at all that was asked; return who is to be asked, and how much by each suite.

    Raises:
        BadInputError, BuildError, LoadProfilesError: with the fix.
        ConnectError: nothing usable answers at the URL.
    """
    check_asked(request)
    sources = sources_of(request)
    sizes: dict[str, Size] = {}
    for endpoint in _unlike(known_before(request, source) for source in sources):
        try:
            sizes = sizes_of(request, endpoint)
        except BadInputError as error:
            raise _with_the_hub(error, endpoint, sources) from error
    return sources, sizes


def _with_the_hub(
    error: BadInputError, endpoint: Endpoint, sources: Sequence[Source]
) -> BadInputError:
    """Say of a build that wants its tokenizer from a hub how it gets here."""
    builds = [one.build for one in sources if not isinstance(one, Connected)]
    model = next((one.model for one in builds if one.name == endpoint.build), "")
    if endpoint.tokenizer is not None or "tokenizer" not in error.text or Path(model).is_dir():
        return error
    if not HUB_ID.fullmatch(model):
        return error
    return BadInputError(
        error.text,
        hint=f"{model} is not in this machine's cache of the model hub, and its tokenizer comes "
        f"with it: `harness serve {endpoint.build}` fetches both, once.",
    )


def check_asked(request: EvalRequest) -> None:
    """Look at what can be looked at without a server.

    Raises:
        BadInputError, BuildError, LoadProfilesError: with the fix.
    """
    names = [suite.name for suite, _ in request.suites]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f'--suite: "{name}" is there twice; one of them is enough')
    if request.tokenizer is not None:
        load_tokenizer(request.tokenizer)
    if request.calibration is not None and not request.calibration.is_file():
        raise BadInputError(f"--calibration: no file {request.calibration}")
    if request.api_key_env is not None:
        check_key(request.api_key_env)
    if request.under_load is not None:
        profile, level = request.under_load.profile, request.under_load.level
        profile.check_level(level)
        check_schedule(profile, level, 1, request.seed)
        check_descriptors(profile, level, 1, request.seed)
    if isinstance(request.baseline, EarlierRun) and request.resume is None:
        check_run(request.baseline, names)
    for at in urls_in(request.brought_up):
        check_urls(at)
        if len(at.urls) > 1:
            raise BadInputError(
                f"{at.flag}: give one; answers are compared per server",
                hint="Evaluate each by itself.",
            )


def sizes_of(request: EvalRequest, endpoint: Endpoint) -> dict[str, Size]:
    """Say how much each suite will ask.

    Raises:
        BadInputError: something is wrong with a suite, or it needs what is not there.
    """
    return {
        suite.name: check_suite(request, suite, base_dir, endpoint)
        for suite, base_dir in request.suites
    }


def known_before(request: EvalRequest, source: Source) -> Endpoint:
    """Return what is known of a server before it is up.

    Raises:
        BuildError, UnknownNameError: the build cannot be served as it is.
    """
    if isinstance(source, Connected):
        return endpoint_for(request, Served(source.server))
    build = source.build
    check_build(build, source.base_dir)
    folder = request.tokenizer or resolve_model(build, source.base_dir).folder
    has_one = folder is not None and (folder / TOKENIZER_FILE).is_file()
    return Endpoint(
        base_url="http://127.0.0.1:0/v1",
        model=build.name,
        build=build.name,
        engine=build.engine,
        max_model_len=build.max_model_len,
        tokenizer=str(folder) if has_one else None,
        concurrency=request.concurrency,
    )


def _unlike(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Return one of each sort: what a suite asks depends on tokenizer and context alone."""
    sorts: dict[tuple[str | None, int | None], Endpoint] = {}
    for endpoint in endpoints:
        file = endpoint.tokenizer_file
        digest = None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
        sorts[digest, endpoint.max_model_len] = endpoint
    return list(sorts.values())


def check_suite(request: EvalRequest, suite: Suite, base_dir: Path, endpoint: Endpoint) -> Size:
    """Look at one suite.

    Raises:
        BadInputError: something is wrong with it, or it needs what is not there.
    """
    kind = kind_of(suite)
    routes = kind.routes(suite)
    if request.route is not None and request.route not in routes:
        raise BadInputError(
            f"--route: suite {suite.name} cannot be asked by the route {request.route}",
            hint=f"It can by {', '.join(routes)}.",
        )
    try:
        return kind.check(
            job_of(request, suite, base_dir, Path("unmade"), request.route or routes[0]),
            endpoint,
        )
    except (SuiteError, NeedError) as error:
        raise BadInputError(f"suite {suite.name}: {error}") from error


def job_of(request: EvalRequest, suite: Suite, base_dir: Path, folder: Path, route: Route) -> Job:
    """Return a suite's job."""
    return Job(
        suite=suite,
        base_dir=base_dir,
        folder=folder,
        route=route,
        limit=request.limit,
        seed=request.seed,
        python=None if suite.domain is not None else installed(LM_EVAL),
        judge=request.judge,
    )
