"""Asking many things: a bounded number of tasks, and prompts put together into requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

T = TypeVar("T")

BATCH_PROMPTS = 16
BATCH_TOKENS = 4096


async def for_each(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int
) -> None:
    """Await `work(item)` for every item, at most `at_once` at a time, in the items' order.

    Items are taken as workers get free, so that a million of them cost no million tasks. The first
    exception ends all and is raised as it is.

        async def one(batch): keep(await client.score(batch))
        await for_each(batches(prompts), one, at_once=client.endpoint.concurrency)
    """
    source = iter(items)

    async def run() -> None:
        for item in source:
            await work(item)

    workers = [asyncio.create_task(run()) for _ in range(max(at_once, 1))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def batches(
    prompts: Iterable[T],
    length: Callable[[T], int] = len,  # type: ignore[assignment]
    *,
    most: int = BATCH_PROMPTS,
    tokens: int = BATCH_TOKENS,
) -> Iterator[list[T]]:
    """Put prompts together, in their order, for one request each.

    Args:
        prompts: what travels, e.g. token ids.
        length: tokens of one.
        most: prompts in one request.
        tokens: in one request, unless one prompt alone has more.
    """
    batch: list[T] = []
    held = 0
    for prompt in prompts:
        count = length(prompt)
        if batch and (len(batch) >= most or held + count > tokens):
            yield batch
            batch, held = [], 0
        batch.append(prompt)
        held += count
    if batch:
        yield batch
