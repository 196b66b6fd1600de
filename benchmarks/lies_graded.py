"""Ways of grading, each answer held to the truth: the mock's language model, not a server."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.client.many import batches, for_each
from evals.records import Failure
from launchers.mock.asking import Question, read_prompts
from launchers.mock.language import Language, context_of
from launchers.mock.mind import Model, answer_prompt
from launchers.mock.tokens import Tokens, load_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from evals.client.http import Client
    from evals.records import Completion, Scored

ROOT = Path(__file__).parents[1]
TOKENIZER = ROOT / "launchers" / "models" / "demo-fp16"
CONTEXT_LENGTH = 512
AGREES = 1e-6
"""Nats. The mock computes in float64 and JSON keeps all digits."""
STOPS = ("an", "er", "in", "on", "re", "th", "a", "e")
"""So common that every answer of 24 tokens has one of them."""
LETTERS = ("A", "B", "C", "D", "e")
TEXTS = tuple(
    f"At {9 + n % 3}:{10 + n} a card paid ${n * 37 + 5} in Lima. Is that" for n in range(12)
)


@cache
def tokens() -> Tokens:
    """Return the demo model's tokenizer."""
    return load_tokens(TOKENIZER)


@cache
def language(seed: int) -> Language:
    """Return the mock's model."""
    return Language(tokens(), seed)


@cache
def prompts_to_score() -> tuple[tuple[int, ...], ...]:
    """Return ids: texts with BOS, and one of nearly the context's length."""
    found = [tokens().encode(text, special=True) for text in TEXTS]
    found.append(tokens().encode(" ".join(TEXTS * 3), special=True)[: CONTEXT_LENGTH - 2])
    return tuple(map(tuple, found))


def true_text(prompt: str, seed: int, *, special: bool, **asked: Any) -> tuple[str, str]:  # noqa: ANN401 - Question's
    """Return what the model writes, and why it ends."""
    prompts = read_prompts(prompt, tokens(), special=special)
    question = Question(prompts=prompts, temperature=0.0, **asked)
    model = Model(language(seed))
    choice = answer_prompt(question, 0, tokens(), writer=model, scorer=lambda _: model)
    assert choice.text is not None
    return choice.text, choice.finish


# --- ways of grading ----------------------------------------------------------------------------

Outcome = tuple[str, bool]
"""A failure's code; or "", and whether the answer is true."""


async def score(client: Client, seed: int) -> list[Outcome]:
    """Score prompts, as perplexity and domain suites do."""
    return await _score(client, seed, 0)


async def score_bare(client: Client, seed: int) -> list[Outcome]:
    """Score prompts without the likeliest tokens, as lm-eval's multiple choice does."""
    return await _score(client, seed, None)


async def foresee(client: Client, seed: int) -> list[Outcome]:
    """Ask for the next token's scores, as lm-eval's choices of one token are."""
    outcomes: list[Outcome] = []
    named = [tokens().encode(text, special=False)[0] for text in LETTERS]

    async def one(batch: list[tuple[int, ...]]) -> None:
        for ids, found in zip(batch, await client.foresee(batch, named), strict=True):
            if isinstance(found, Failure):
                outcomes.append((found.code, False))
                continue
            view = language(seed).next(context_of(ids, len(ids)))
            truth = {n: view.logprob(n) for n in named}
            told = found.logprobs
            good = told.keys() == truth.keys()
            outcomes.append(("", good and all(abs(told[n] - truth[n]) < AGREES for n in named)))

    work = batches(prompts_to_score(), most=4)
    await for_each(work, one, at_once=client.endpoint.concurrency)
    return outcomes


async def score_top(client: Client, seed: int) -> list[Outcome]:
    """Score with the likeliest tokens at each place by id, as KL and top-1 agreement need."""
    return await _score(client, seed, 5)


async def _score(client: Client, seed: int, top: int | None) -> list[Outcome]:
    outcomes: list[Outcome] = []

    async def one(batch: list[tuple[int, ...]]) -> None:
        for ids, found in zip(batch, await client.score(batch, top=top), strict=True):
            if isinstance(found, Failure):
                outcomes.append((found.code, False))
            else:
                outcomes.append(("", _is_true(found, ids, seed, top, client.endpoint.engine)))

    work = batches(prompts_to_score(), most=4)
    await for_each(work, one, at_once=client.endpoint.concurrency)
    return outcomes


def _is_true(found: Scored, ids: tuple[int, ...], seed: int, top: int | None, engine: str) -> bool:
    if tuple(found.token_ids) != ids or len(found.logprobs) != len(ids):
        return False
    for end in range(1, len(ids)):
        view = language(seed).next(context_of(ids, end))
        best, own = view.top(max(top or 0, 1)), view.logprob(ids[end])
        if abs(found.logprobs[end] - own) > AGREES:
            return False
        if (
            top is not None and engine != "tgi" and found.greedy[end] != (own >= best[0][1])
        ):  # the card: no_greedy
            return False
        if top and found.top_ids and found.top_ids[end][:top] != [number for number, _ in best]:
            return False
    return True


async def write(client: Client, seed: int) -> list[Outcome]:
    """Let it write to the full length, as a domain suite does."""
    return await _write(client, seed, {"max_tokens": 12})


async def write_stop(client: Client, seed: int) -> list[Outcome]:
    """Let it write up to a stop string, as lm-eval's generate_until does."""
    return await _write(client, seed, {"max_tokens": 24, "stop": STOPS})


async def _write(client: Client, seed: int, asked: dict[str, Any]) -> list[Outcome]:
    return await _ask(
        client,
        lambda text: client.complete(text, **asked),
        lambda text: true_text(text, seed, special=True, **asked),
    )


async def chat(client: Client, seed: int) -> list[Outcome]:
    """Send messages."""
    return await _ask(
        client,
        lambda text: client.chat([{"role": "user", "content": text}], max_tokens=12),
        lambda text: true_text(text, seed, special=False, max_tokens=12),
    )


async def label(client: Client, seed: int) -> list[Outcome]:
    """Take the likeliest first tokens, as multiple choice by labels does."""
    outcomes: list[Outcome] = []

    async def one(text: str) -> None:
        found = await client.complete(text, max_tokens=1, top_logprobs=5)
        if isinstance(found, Failure):
            outcomes.append((found.code, False))
            return
        ids = tokens().encode(text, special=True)
        best = language(seed).next(context_of(ids, len(ids))).top(5)
        truth = {tokens().token(number): logprob for number, logprob in best}
        told = found.top[0] if found.top else {}
        good = told.keys() == truth.keys()
        outcomes.append(("", good and all(abs(told[k] - truth[k]) < AGREES for k in truth)))

    await for_each(_texts(), one, at_once=client.endpoint.concurrency)
    return outcomes


async def _ask(
    client: Client,
    ask: Callable[[str], Awaitable[Completion | Failure]],
    truth: Callable[[str], tuple[str, str]],
) -> list[Outcome]:
    outcomes: list[Outcome] = []

    async def one(text: str) -> None:
        found = await ask(text)
        if isinstance(found, Failure):
            outcomes.append((found.code, False))
        elif not found.text:
            outcomes.append(("empty", False))  # an outcome of its own in every report
        else:
            outcomes.append(("", (found.text, found.finish_reason) == truth(text)))

    await for_each(_texts(), one, at_once=client.endpoint.concurrency)
    return outcomes


def _texts() -> list[str]:
    """Return short prompts, and one with many examples before the question."""
    return [*TEXTS, " ".join(TEXTS)]
