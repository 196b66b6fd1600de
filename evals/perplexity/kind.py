"""Asking: windows travel several in a request, and are kept as their requests are answered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from evals.client.many import batches, for_each
from evals.kinds import Size
from evals.perplexity.planning import Asked, plan
from evals.perplexity.tokens import NO_TOKEN, TokenValues, padded, settle, write_part
from evals.records import Answer, Failure
from evals.store import AnswerStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evals.client import Asks
    from evals.endpoint import Endpoint
    from evals.kinds import Job, Progress
    from evals.perplexity.planning import Plan
    from evals.records import Route, Scored
    from evals.suite import Suite

METRIC = "perplexity"


class PerplexityKind:
    """See `evals.kinds.Kind`."""

    def routes(self, suite: Suite) -> tuple[Route, ...]:  # noqa: ARG002 - all suites alike
        """Return the routes that score a prompt."""
        return ("echo", "native")

    def check(self, job: Job, endpoint: Endpoint) -> Size:
        """Say how much will be asked."""
        asked = plan(job, endpoint).windows
        categories: dict[str, int] = {}
        for window in asked:
            if window.category:
                categories[window.category] = categories.get(window.category, 0) + 1
        return Size(
            items=len(asked),
            requests=sum(1 for _ in _requests(asked)),
            prompt_tokens=sum(len(window.ids) for window in asked),
            categories=categories or None,
        )

    async def ask(self, job: Job, client: Asks, progress: Progress) -> None:
        """Score the windows that the folder does not hold yet."""
        planned = plan(job, client.endpoint)
        with AnswerStore(job.folder, _identity(job, client.endpoint, planned)) as store:
            answered = {int(item.rpartition("-")[2]) for _, item in store.done}
            done = settle(job.folder, answered)
            left = [window for window in planned.windows if window.index not in done]
            top = _top(job)
            progress(len(done), len(planned.windows))

            async def ask(windows: list[Asked]) -> None:
                replies = await client.score([window.ids for window in windows], top=top)
                answers, values = _read(windows, replies, top, job.route)
                if values is not None:
                    write_part(job.folder, values)
                store.add(answers)
                done.update(window.index for window in windows)
                progress(len(done), len(planned.windows))

            try:
                await for_each(_requests(left), ask, at_once=client.endpoint.concurrency)
            finally:
                settle(job.folder, done)


def _requests(windows: Sequence[Asked]) -> Iterator[list[Asked]]:
    return batches(windows, lambda window: len(window.ids))


def _identity(job: Job, endpoint: Endpoint, planned: Plan) -> dict[str, object]:
    """All that decides the answers; `convention` is what is printed with the number."""
    return {
        "kind": METRIC,
        "suite": job.suite.name,
        "route": job.route,
        "model": endpoint.model,
        "identity": endpoint.identity,
        "seed": job.seed,
        "top_k": _top(job),
        "convention": msgspec.to_builtins(planned.convention),
    }


def _top(job: Job) -> int:
    return 0 if job.suite.perplexity is None else job.suite.perplexity.top_k


def _read(
    windows: Sequence[Asked], replies: Sequence[Scored | Failure], top: int, route: Route
) -> tuple[list[Answer], TokenValues | None]:
    answers, parts = [], []
    for window, reply in zip(windows, replies, strict=True):
        values = reply if isinstance(reply, Failure) else _values(window, reply, top)
        if isinstance(values, TokenValues):
            parts.append(values)
        answers.append(_answer(window, reply, values, route))
    return answers, TokenValues.joined(parts) if parts else None


def _values(window: Asked, scored: Scored, top: int) -> TokenValues | Failure:
    """Take the scored tokens' values; element i is ln p(token i | tokens before it) already."""
    sent, first = len(window.ids), window.context
    if not len(scored.logprobs) == len(scored.greedy) == sent:
        text = f"{len(scored.logprobs)} values for {sent} tokens"
        return Failure(code="wrong_length", text=text, attempts=scored.attempts)
    logprobs = np.array(scored.logprobs[first:], dtype=np.float64)
    if not np.isfinite(logprobs).all():
        text = "a scored token has no finite log-probability"
        return Failure(code="no_logprobs", text=text, attempts=scored.attempts)
    return TokenValues(
        window=np.full(window.tokens, window.index, dtype=np.int64),
        position=np.arange(window.position, window.position + window.tokens, dtype=np.int64),
        id=np.array(window.ids[first:], dtype=np.int64),
        logprob=logprobs,
        greedy=np.array(scored.greedy[first:], dtype=np.bool_),
        top_ids=padded(_places(scored.top_ids, window), top, NO_TOKEN).astype(np.int64),
        top_logprobs=padded(_places(scored.top_logprobs, window), top, math.nan),
    )


def _places(rows: Sequence[Sequence[float]], window: Asked) -> Sequence[Sequence[float]]:
    """Rows of the scored tokens; empty ones where the server told none."""
    return rows[window.context :] if len(rows) == len(window.ids) else [()] * window.tokens


def _answer(
    window: Asked, reply: Scored | Failure, values: TokenValues | Failure, route: Route
) -> Answer:
    answer = Answer(
        item=window.item,
        category=window.category,
        cluster=window.cluster,
        prompt_hash=window.prompt_hash,
        route=route,
        weight=float(window.tokens),
        metric=METRIC,
        scores={"bytes": float(window.bytes), "words": float(window.words)},
        prompt=window.text[:4000],
        prompt_tokens=len(window.ids),
        attempts=reply.attempts,
    )
    if isinstance(values, Failure):
        answer.outcome, answer.error = "error", _text(values)
    else:
        answer.score = -math.fsum(values.logprob)
    if not isinstance(reply, Failure):
        answer.sent_ns, answer.latency_ms = reply.sent_ns, reply.latency_ms
    return answer


def _text(failure: Scored | Failure) -> str:
    return f"{failure.code}: {failure.text}" if isinstance(failure, Failure) else ""
