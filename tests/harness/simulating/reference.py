"""An engine in steps, written plainly: one loop a step. What the simulator's leaps must equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness.simulating.observed import Observed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.simulating.engine import Engine


@dataclass
class Request:
    sent_s: float
    prompt: int
    output: int
    reaches_s: float = 0.0
    left: int = 0
    """Prompt tokens still to take in."""
    tokens_s: list[float] = field(default_factory=list)


def serve(engine: Engine, requests: Sequence[Request]) -> None:
    """Fill in when each token of the requests came, which are in the order of sending."""
    unsent = list(requests)
    coming: list[Request] = []
    waiting: list[Request] = []
    running: list[Request] = []
    clock = 0.0
    while unsent or coming or waiting or running:
        if not waiting and not running:
            soonest = [one.reaches_s for one in coming] + [one.sent_s for one in unsent[:1]]
            clock = max(clock, min(soonest))
        while unsent and unsent[0].sent_s <= clock:
            one = unsent.pop(0)
            load = len(coming) + len(waiting) + len(running)
            one.reaches_s = one.sent_s + engine.overhead_s + engine.overhead_each_s * load
            one.left = one.prompt
            coming.append(one)
        there = sorted((one for one in coming if one.reaches_s <= clock), key=lambda r: r.reaches_s)
        coming = [one for one in coming if one.reaches_s > clock]
        waiting += there
        if not waiting and not running:
            continue
        _admit(engine, waiting, running)
        clock = _step(engine, running, clock)
        running = [one for one in running if len(one.tokens_s) < one.output]


def _admit(engine: Engine, waiting: list[Request], running: list[Request]) -> None:
    limits = engine.limits
    decoding = [one for one in running if not one.left]
    held = sum(one.prompt + max(1, len(one.tokens_s)) for one in running)
    while waiting and len(running) < limits.max_num_seqs:
        room = limits.max_num_batched_tokens - len(decoding) - sum(one.left for one in running)
        if room <= 0 or held + waiting[0].prompt + len(decoding) + 1 > limits.kv_tokens:
            return
        held += waiting[0].prompt + 1
        running.append(waiting.pop(0))


def _step(engine: Engine, running: list[Request], clock: float) -> float:
    """Give all that decode a token, and take prompts in; return when it ended."""
    decoding = [one for one in running if not one.left]
    budget = room = engine.limits.max_num_batched_tokens - len(decoding)
    finished = []
    for one in running:
        if one.left and budget > 0:
            part = min(one.left, budget)
            one.left -= part
            budget -= part
            if not one.left:
                finished.append(one)
    context = sum(one.prompt + len(one.tokens_s) for one in decoding)
    speaking = decoding + finished
    clock += engine.cost.of(len(speaking), room - budget, context, len(finished))
    for one in speaking:
        one.tokens_s.append(clock)
    return clock


def observed(
    requests: Sequence[Request], window_s: float, level: float, streams: int | None = None
) -> Observed:
    """Return a cell whose samples are these."""
    chunks = np.array([len(one.tokens_s) for one in requests])
    sent = np.array([one.sent_s for one in requests])
    return Observed(
        id=f"a-{level:g}", build="a", level=level, streams=streams, window_s=window_s,
        measured=(sent >= 0) & (sent < window_s), due_s=sent, sent_s=sent,
        first_s=np.array([one.tokens_s[0] for one in requests]),
        last_s=np.array([one.tokens_s[-1] for one in requests]),
        prompts=np.array([one.prompt for one in requests]),
        outputs=np.array([one.output for one in requests]),
        chunk_s=np.concatenate([one.tokens_s for one in requests]), chunks=chunks,
    )  # fmt: skip


def cell(engine: Engine, rate: float, window_s: float, seed: int) -> Observed:
    """Serve Poisson arrivals of a mixture of lengths, and see them as a client does."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, window_s, rng.poisson(rate * window_s)))
    requests = [
        Request(float(at), int(rng.integers(50, 400)), int(rng.integers(5, 80))) for at in times
    ]
    serve(engine, requests)
    return observed(requests, window_s, rate)
