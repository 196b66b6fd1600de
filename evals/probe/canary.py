"""The canary: a few prompts asked at the start and again at the end.

Other answers mean that another model, or another state of it, answers by now: what was graded in
between is nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from evals.client.http import Client
from evals.probe.agreement import agree, difference
from evals.probe.card import Canary, Card, Caveat
from evals.probe.material import TEXTS
from evals.records import Completion, Failure

if TYPE_CHECKING:
    from evals.endpoint import Endpoint

_TOKENS: Final = 24
_MOST_OTHER: Final = 0.5
"""Share of written answers from which on other texts are no near ties any more."""


async def sing(client: Client, prompts: list[list[int]], *, scores: bool) -> Canary:
    """Ask all, one at a time.

    Args:
        client: by the route that scores, where there is one.
        prompts: ids; used where `scores`.
        scores: whether a scoring route was proved.
    """
    logprobs: list[list[float]] = []
    for prompt in prompts if scores else ():
        (one,) = await client.score([prompt])
        logprobs.append([] if isinstance(one, Failure) else one.logprobs[1:])
    written = [await client.complete(text, max_tokens=_TOKENS) for text in TEXTS]
    return Canary(
        prompts=prompts if scores else [],
        logprobs=logprobs,
        texts=list(TEXTS),
        written=[one.text if isinstance(one, Completion) else None for one in written],
    )


async def sing_again(endpoint: Endpoint, card: Card) -> list[Caveat]:
    """Ask the card's canary once more and say what has changed.

    Raises:
        ReachError: nobody answers any more.
    """
    scoring = next((route for route in card.routes if route in {"echo", "native"}), None)
    async with Client(endpoint, scoring or "echo") as client:
        after = await sing(client, card.canary.prompts, scores=scoring is not None)
    return compare(card.canary, after)


def compare(before: Canary, after: Canary) -> list[Caveat]:
    """Say in what the later answers differ."""
    found = []
    pairs = list(zip(before.logprobs, after.logprobs, strict=False))
    gone = sum(bool(one) and not other for one, other in pairs)
    gone += len(before.logprobs) - len(pairs)
    moved = [
        difference(one, other) for one, other in pairs if one and other and not agree(one, other)
    ]
    if moved:
        found.append(
            Caveat(
                code="drift",
                text=f"{len(moved)} of {len(pairs)} prompts have other scores than at the start, "
                f"by up to {max(moved):.2g} nats: another model answers by now",
                invalidates=True,
            )
        )
    if gone:
        found.append(
            Caveat(
                code="drift",
                text=f"{gone} prompts that were scored at the start cannot be any more",
                invalidates=True,
            )
        )
    texts = list(zip(before.written, after.written, strict=False))
    other = sum(one != another for one, another in texts)
    if other:
        many = other >= _MOST_OTHER * len(texts)
        found.append(
            Caveat(
                code="drift" if many else "answers_vary",
                text=f"{other} of {len(texts)} greedy answers differ from those at the start",
                invalidates=many,
            )
        )
    return found
