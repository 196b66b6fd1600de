"""Asking: items are graded and kept as their answers come."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from evals.client.http import Client
from evals.client.many import batches, for_each
from evals.domain.choosing import LABEL_TOPS, Chosen, labelled, likeliest
from evals.domain.planning import SCORED_ROUTES, plan, routes_of
from evals.graders.choice import Choice
from evals.graders.judge import Judge
from evals.grading import Grade, as_text, gradable, graded, if_cut
from evals.kinds import Size
from evals.records import Answer, Completion, Failure
from evals.store import AnswerStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client import Asks
    from evals.domain.planning import Asked, Plan
    from evals.endpoint import Endpoint
    from evals.grading import Item
    from evals.kinds import Job, Progress
    from evals.records import Route, Scored
    from evals.suite import Suite

_PROMPT_SHOWN = 4000
_CHOICE_PROMPTS = 16
"""Prompts in one request that scores choices; an item's choices stay together."""


class DomainKind:
    """See `evals.kinds.Kind`."""

    def routes(self, suite: Suite) -> tuple[Route, ...]:
        """Return the routes of the suite's method."""
        return routes_of(suite.domain) if suite.domain is not None else ()

    def check(self, job: Job, endpoint: Endpoint) -> Size:
        """Say how much will be asked."""
        asked = plan(job, endpoint).asked
        categories: dict[str, int] = {}
        for one in asked:
            categories[one.item.category] = categories.get(one.item.category, 0) + 1
        clusters = {one.item.cluster or one.item.id for one in asked}
        scored = job.route in SCORED_ROUTES
        tokens = sum(len(ids) for one in asked for ids, _ in one.choices)
        return Size(
            items=len(asked),
            requests=sum(1 for _ in _batches(asked)) if scored else len(asked),
            prompt_tokens=tokens if scored else None,
            categories=categories if set(categories) - {""} else None,
            clusters=len(clusters) if len(clusters) < len(asked) else None,
        )

    async def ask(self, job: Job, client: Asks, progress: Progress) -> None:
        """Ask the items that the folder does not hold yet."""
        planned = plan(job, client.endpoint)
        with AnswerStore(job.folder, planned.identity) as store:
            left = [one for one in planned.asked if ("", one.item.id) not in store.done]
            done, total = len(planned.asked) - len(left), len(planned.asked)
            progress(done, total)

            def keep(answers: list[Answer]) -> None:
                nonlocal done
                store.add(answers)
                done += len(answers)
                progress(done, total)

            async with AsyncExitStack() as stack:
                asking = _Asking(job, planned, client)
                if job.judge is not None and isinstance(planned.grader, Judge):
                    asking.judge = await stack.enter_async_context(Client(job.judge))

                async def one(asked: Asked) -> None:
                    keep([await asking.written(asked)])

                async def several(batch: list[Asked]) -> None:
                    keep(await asking.scored(batch))

                at_once = client.endpoint.concurrency
                if job.route in SCORED_ROUTES:
                    await for_each(_batches(left), several, at_once=at_once)
                else:
                    await for_each(left, one, at_once=at_once)


class _Asking:
    """Asks by one route and grades what comes."""

    def __init__(self, job: Job, planned: Plan, client: Asks) -> None:
        self._route = job.route
        self._settings = planned.settings
        self._grader = planned.grader
        self._client = client
        self._tops = LABEL_TOPS
        self.judge: Asks | None = None
        """Opened by who asks, where the grader is one."""
        self._judging = asyncio.Semaphore(job.judge.concurrency if job.judge is not None else 1)

    async def written(self, asked: Asked) -> Answer:
        """Ask one item that the server answers in writing, or with its first token."""
        label = self._route == "label"
        settings = self._settings
        answer = self._answer(asked)
        if label and isinstance(asked.prompt, str):
            reply = await self._first_token(asked.prompt)
        elif isinstance(asked.prompt, str):
            reply = await self._client.complete(
                asked.prompt, max_tokens=settings.max_tokens, stop=settings.stop
            )
        else:
            reply = await self._client.chat(
                asked.prompt, max_tokens=settings.max_tokens, stop=settings.stop
            )
        if isinstance(reply, Failure):
            return _failed(answer, reply)
        answer.text, answer.finish_reason = reply.text, reply.finish_reason
        answer.prompt_tokens, answer.output_tokens = reply.prompt_tokens, reply.output_tokens
        _timed(answer, reply)
        if label and isinstance(self._grader, Choice):
            return self._choose(answer, asked.item, labelled(reply.top, self._names(asked.item)))
        grade = await self._grade(reply, asked.item)
        return _failed(answer, grade) if isinstance(grade, Failure) else _with(answer, grade)

    async def _first_token(self, prompt: str) -> Completion | Failure:
        """Ask for one token and the likeliest ones in its place."""
        reply = await self._client.complete(prompt, max_tokens=1, top_logprobs=self._tops[0])
        if isinstance(reply, Failure) and reply.code == "status" and len(self._tops) > 1:
            again = await self._client.complete(prompt, max_tokens=1, top_logprobs=self._tops[-1])
            if not isinstance(again, Failure):
                self._tops = self._tops[-1:]
                return again
        return reply

    async def scored(self, batch: list[Asked]) -> list[Answer]:
        """Score all choices of some items in one request."""
        prompts = [ids for asked in batch for ids, _ in asked.choices]
        replies = await self._client.score(prompts)
        answers, at = [], 0
        for asked in batch:
            own = replies[at : at + len(asked.choices)]
            at += len(asked.choices)
            names = self._names(asked.item)
            chosen = likeliest(own, [held for _, held in asked.choices], names)
            answer = self._answer(asked)
            answer.prompt_tokens = sum(len(ids) for ids, _ in asked.choices)
            for reply in own:
                if not isinstance(reply, Failure):
                    _timed(answer, reply)
            answers.append(self._choose(answer, asked.item, chosen))
        return answers

    def _names(self, item: Item) -> tuple[str, ...]:
        return self._grader.names(item) if isinstance(self._grader, Choice) else ()

    def _choose(self, answer: Answer, item: Item, chosen: Chosen | Failure) -> Answer:
        """Grade the likeliest choice."""
        if isinstance(chosen, Failure):
            return _failed(answer, chosen)
        answer.loglikelihoods = chosen.loglikelihoods
        if chosen.place is None:
            return _with(answer, Grade("unparsed", 0.0, "no choice is among the likeliest tokens"))
        name = self._names(item)[chosen.place]
        right = self._grader.place(item) if isinstance(self._grader, Choice) else None
        answer.choice = chosen.place
        answer.text = answer.text if answer.text is not None else name
        if chosen.normed is not None:
            answer.scores = {"accuracy_per_byte": float(chosen.normed == right)}
        return _with(answer, Grade("scored", float(chosen.place == right), name))

    async def _grade(self, reply: Completion, item: Item) -> Grade | Failure:
        grader = self._grader
        if not isinstance(grader, Judge) or self.judge is None:
            return graded(grader, reply.text, item, reply.finish_reason)
        cut = reply.finish_reason == "length"
        answer = gradable(reply.text)
        if isinstance(answer, Grade):
            return if_cut(answer) if cut else answer
        said = []
        for question in grader.questions(answer, item):
            async with self._judging:
                told = await self.judge.chat(question, max_tokens=grader.max_tokens)
            if isinstance(told, Failure):
                return Failure(code="judge", text=f"{told.code}: {told.text}")
            said.append(told.text)
        grade = grader.verdict(answer, item, said)
        wrong = grade.score == 0  # and might not be, had it not been cut off
        return grade._replace(outcome="truncated") if cut and wrong else grade

    def _answer(self, asked: Asked) -> Answer:
        item, prompt = asked.item, asked.prompt
        shown = prompt if isinstance(prompt, str) else msgspec.json.encode(prompt).decode()
        return Answer(
            item=item.id,
            category=item.category,
            cluster=item.cluster,
            tags={name: as_text(item.fields[name]) for name in self._settings.report_by},
            prompt_hash=asked.prompt_hash,
            route=self._route,
            prompt=shown[:_PROMPT_SHOWN],
            expected=as_text(item.expected),
        )


def _batches(asked: Sequence[Asked]) -> list[list[Asked]]:
    """Items whose choices travel in one request, by so many choices as the widest item has."""
    widest = max((len(one.choices) for one in asked), default=1)
    most = max(_CHOICE_PROMPTS // max(widest, 1), 1)
    return list(batches(asked, lambda one: sum(len(ids) for ids, _ in one.choices), most=most))


def _timed(answer: Answer, reply: Completion | Scored) -> None:
    answer.sent_ns, answer.latency_ms = reply.sent_ns, reply.latency_ms
    answer.attempts = reply.attempts


def _failed(answer: Answer, failure: Failure) -> Answer:
    answer.outcome, answer.score = "error", 0.0
    answer.error = f"{failure.code}: {failure.text}"
    answer.attempts = failure.attempts
    return answer


def _with(answer: Answer, grade: Grade) -> Answer:
    answer.outcome, answer.score, answer.read = grade
    return answer
