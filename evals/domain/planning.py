"""From a suite and an endpoint to the questions that will be asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.contamination import calibration_texts, contamination
from evals.domain.choosing import continuations
from evals.domain.items import load_items
from evals.domain.prompts import Prompts, hash_of
from evals.domain.subset import subset
from evals.errors import NeedError, RouteError, SuiteError
from evals.graders.choice import Choice
from evals.graders.judge import Judge
from evals.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from evals.contamination import Contamination
    from evals.domain.prompts import Messages
    from evals.endpoint import Endpoint
    from evals.grading import Grader, Item
    from evals.kinds import Job
    from evals.records import Route
    from evals.suite import DomainSettings

SCORED_ROUTES: tuple[Route, ...] = ("echo", "native")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One item, ready to be asked."""

    item: Item
    prompt: str | Messages
    prompt_hash: str
    choices: list[tuple[list[int], int]]
    """Of each choice the ids of prompt and choice, and how many of them are the prompt's; empty
    where the route does not score them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that will be asked."""

    settings: DomainSettings
    grader: Grader
    asked: list[Asked]
    identity: dict[str, object]
    """All that decides the answers."""


def overlap(job: Job, calibration: Path) -> Contamination:
    """Compare all items of a suite, whatever its limit, with a calibration file.

    Raises:
        SuiteError: one of both cannot be read.
    """
    if job.suite.domain is None:
        raise SuiteError(f"{job.suite.name}: has no [domain]")
    items, _ = load_items(job.suite.domain, job.base_dir)
    return contamination({item.id: item.input for item in items}, calibration_texts(calibration))


def routes_of(settings: DomainSettings) -> tuple[Route, ...]:
    """Return the routes by which a suite can be asked, the best first."""
    if settings.method == "choices":
        return (*SCORED_ROUTES, "label", "generative")
    return ("generative",)


def plan(job: Job, endpoint: Endpoint) -> Plan:
    """Read, check and choose the items, and make their prompts.

    Raises:
        SuiteError: with all mistakes of the items.
        NeedError: a tokenizer or a judge is missing.
        RouteError: the suite cannot be asked by this route.
    """
    settings = job.suite.domain
    if settings is None:
        raise SuiteError(f"{job.suite.name}: has no [domain]")
    if job.route not in routes_of(settings):
        raise RouteError(
            f"{job.suite.name} cannot be asked by the route {job.route}; its routes are "
            f"{', '.join(routes_of(settings))}"
        )
    grader = settings.grader.beside(job.base_dir)
    if isinstance(grader, Judge) and job.judge is None:
        raise NeedError(
            f"{job.suite.name}: its grader is a judge, and none is given; name one with "
            "--judge-url and --judge-model, or in a [judge] table of harness.toml"
        )
    items, mistakes = load_items(settings, job.base_dir)
    try:
        prompts = Prompts(settings)
    except ValueError as error:
        raise SuiteError(f"domain.{error}") from error
    prompts.check(items, mistakes)
    for item in items:
        if grader.needs_expected and item.expected in ("", None, []):
            mistakes.add(item.line, "expected is missing or empty; write the right answer")
        elif problem := grader.problem(item):
            mistakes.add(item.line, problem)
    mistakes.tell()
    limit = job.limit if job.limit is not None else job.suite.limit
    chosen = subset(items, limit, job.seed)
    asked = _ready(chosen, prompts, settings, grader, job.route, endpoint)
    return Plan(
        settings=settings,
        grader=grader,
        asked=asked,
        identity=_identity(job, endpoint, settings, asked),
    )


def _ready(
    items: list[Item],
    prompts: Prompts,
    settings: DomainSettings,
    grader: Grader,
    route: Route,
    endpoint: Endpoint,
) -> list[Asked]:
    vocabulary = load_vocabulary(endpoint.tokenizer) if route in SCORED_ROUTES else None
    asked = []
    for item in items:
        prompt = prompts.messages(item) if settings.chat else prompts.text(item)
        choices: list[tuple[list[int], int]] = []
        sent: object = prompt
        if isinstance(grader, Choice) and isinstance(prompt, str) and settings.method == "choices":
            names = [settings.answer_prefix + name for name in grader.names(item)]
            sent = [prompt, names]
            if vocabulary is not None:
                choices = continuations(vocabulary, prompt, names, f"{settings.items}:{item.line}")
                sent = choices
        hashed = hash_of(settings, [route, sent])
        asked.append(Asked(item=item, prompt=prompt, prompt_hash=hashed, choices=choices))
    return asked


def _identity(
    job: Job, endpoint: Endpoint, settings: DomainSettings, asked: list[Asked]
) -> dict[str, object]:
    digest = hashlib.sha256()
    for one in asked:
        digest.update(f"{one.item.id}\0{one.prompt_hash}\0{one.item.expected!r}\0".encode())
    judge = job.judge
    return {
        "kind": "domain",
        "suite": job.suite.name,
        "route": job.route,
        "model": endpoint.model,
        "identity": endpoint.identity,
        "seed": job.seed,
        "items": len(asked),
        "items_sha256": digest.hexdigest(),
        "settings": settings.model_dump(mode="json"),
        "judge": None if judge is None else [judge.base_url, judge.model],
    }
