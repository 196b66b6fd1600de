"""What an evaluation can show, and what it will cost, before it is run."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from evals.endpoint import Endpoint
from evals.power import reach
from harness.errors import BadInputError
from harness.quality.asking import ask_pass
from harness.quality.checks import check, check_asked, job_of, sizes_of
from harness.quality.kinds import kind_of
from harness.quality.probing import probe_server
from harness.quality.servers import endpoint_for
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from evals.records import Route
    from harness.live import Live
    from harness.quality.request import EvalRequest
    from harness.serving import Source

ICC: Final = 0.02
"""Correlation that changes of answers within a cluster are taken to have, before any was seen."""
SAMPLE: Final = 48
"""Items asked to measure how fast a server answers."""


class SuitePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One suite: how many items there are, what they can show, and what asking them takes."""

    suite: str
    kind: str
    route: str
    items: int
    requests: int
    prompt_tokens: int | None
    margin: float
    """Points, as asked."""
    items_needed: int | None
    """For that margin; None for perplexity, whose items are windows of a text."""
    margin_reached: float | None
    """Points, with the items there are."""
    enough: bool | None
    smallest: str | None = None
    """Of several tasks, each of which must pass, the one with the fewest items: what is needed and
    reached is said of it."""
    clusters: int | None = None
    design_effect: float = 1.0
    """By how much clusters of items that fail together make more of them necessary."""
    items_per_s: float | None = None
    """Measured on this server."""
    seconds: float | None = None
    """For all items, of one build."""


class EvalPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `harness eval plan --json` prints."""

    schema: int = 1
    margin: float
    power: float
    flip_rate: float
    suites: list[SuitePlan]
    seconds: float | None
    """For one build; each build takes so long, and the baseline too."""


def plan_evaluation(
    request: EvalRequest, live: Live, *, power: float, flip_rate: float, measure: bool
) -> EvalPlan:
    """Say what an evaluation can show and, measured on a short sample, how long it will take.

    Args:
        request: what is to be asked.
        live: shows what is going on.
        power: chance of a PASS for a build that lost nothing.
        flip_rate: share of answers that are expected to change.
        measure: whether a server was named, so that a sample can be asked.

    Raises:
        BadInputError: what was asked is impossible.
        LauncherError, ServerError: the server does not come up.
        RouteError: it was not proved able to do what a suite needs.
    """
    if measure:
        sources, sizes = check(request)
        if len(sources) > 1:
            raise BadInputError("--server: name one build, which is asked the sample")
        samples = _ask_samples(request, sources[0], live)
    else:
        check_asked(request)
        folder = None if request.tokenizer is None else str(request.tokenizer)
        nobody = Endpoint(base_url="http://127.0.0.1:0/v1", model="", tokenizer=folder)
        sizes, samples = sizes_of(request, nobody), {}
    suites = []
    for suite, _ in request.suites:
        found, sample = sizes[suite.name], samples.get(suite.name)
        rate = None if sample is None else sample.items_per_s
        best = request.route or kind_of(suite).routes(suite)[0]
        tasks = found.categories if suite.kind == "lmeval" else None
        smallest = min(tasks, key=tasks.__getitem__) if tasks else None
        there = found.items if tasks is None or smallest is None else tasks[smallest]
        shown = None
        if suite.kind != "perplexity" and there:
            shown = reach(
                there,
                margin=request.margin / 100,
                flip_rate=flip_rate,
                power=power,
                clusters=found.clusters,
                icc=ICC,
            )
        suites.append(
            SuitePlan(
                suite=suite.name,
                kind=suite.kind,
                route=best if sample is None else sample.route,
                items=found.items,
                requests=found.requests,
                prompt_tokens=found.prompt_tokens,
                margin=request.margin,
                items_needed=None if shown is None else shown.items_needed,
                margin_reached=None if shown is None else 100 * shown.margin,
                enough=None if shown is None else there >= shown.items_needed,
                smallest=smallest,
                clusters=found.clusters,
                design_effect=1.0 if shown is None else shown.design_effect,
                items_per_s=rate,
                seconds=None if rate is None else found.items / rate,
            )
        )
    known = [one.seconds for one in suites if one.seconds is not None]
    return EvalPlan(
        margin=request.margin,
        power=power,
        flip_rate=flip_rate,
        suites=suites,
        seconds=sum(known) if len(known) == len(suites) else None,
    )


class _Sample(NamedTuple):
    """What a few items of a suite have shown."""

    route: Route
    items_per_s: float


def _ask_samples(request: EvalRequest, source: Source, live: Live) -> dict[str, _Sample]:
    """Ask a few items of each suite, by the route that the probe proved."""
    short = replace(request, limit=min(request.limit or SAMPLE, SAMPLE))
    found: dict[str, _Sample] = {}
    with tempfile.TemporaryDirectory(prefix="harness-eval-plan-") as place:
        folder = RunFolder(Path(place))
        with source.serve(folder, live) as served:
            probed = probe_server(folder, endpoint_for(short, served), served, live)
            for suite, base_dir in short.suites:
                kind = kind_of(suite)
                route = probed.route_for(kind.routes(suite), short.route)
                job = job_of(short, suite, base_dir, folder.path / suite.name, route)
                items = kind.check(job, probed.endpoint).items
                began = time.monotonic()
                title = f"{suite.name}: a sample"
                pace = ask_pass(kind, job, probed.endpoint, served, live, title)
                whole = items / (time.monotonic() - began)
                found[suite.name] = _Sample(route, pace.per_s or whole)
    return found
