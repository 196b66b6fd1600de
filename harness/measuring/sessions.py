"""Sessions of several turns, and what the server counted of prompts. Pure; see docs/method.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.measuring import stats
from harness.measuring.measurement import PromptCount, Sessions, Stat, TurnStat
from harness.measuring.request import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.samples import Bools, Ints, Samples
    from loadprofiles.records import DrivePlan


def turn_numbers(after: Sequence[int]) -> tuple[Ints, Ints]:
    """Return for each measured body the number of its turn, from 0, and its session's first body.

    `after` is the plan's: a body continues an earlier one.
    """
    number = np.zeros(len(after), dtype=np.int64)
    root = np.arange(len(after), dtype=np.int64)
    for position, before in enumerate(after):
        if before >= 0:
            number[position] = number[before] + 1
            root[position] = root[before]
    return number, root


def sessions_of(plan: DrivePlan, measured: Samples, *, stable: bool) -> Sessions | None:
    """Count sessions and measure them turn by turn; None where the plan has none.

    A session is broken if a turn of it failed, complete if its last turn was answered, and else
    cut off: the window, or the cell, ended before it did.
    """
    if not plan.after:
        return None
    number, root = turn_numbers(plan.after)
    last = np.ones(len(plan.after), dtype=np.bool_)
    last[[before for before in plan.after if before >= 0]] = False
    rounds, position = np.divmod(measured.column("seq"), len(plan.after))
    session = rounds * len(plan.after) + root[position]
    answered = measured.is_in("error", {None})
    ended = measured.is_in("error", {None, "aborted", "dropped"})
    broken = np.unique(session[~ended]).size
    complete = np.unique(session[answered & last[position]]).size
    begun = np.unique(session).size
    planned = max(begun, len(plan.due_ns or ()))
    turns = number[position]
    return Sessions(
        planned=planned,
        complete=complete,
        broken=broken,
        cut_off=planned - complete - broken,
        turns=[
            _turn(turn, measured.where(answered & (turns == turn)), stable=stable)
            for turn in range(int(number.max()) + 1)
        ],
    )


def _turn(turn: int, answered: Samples, *, stable: bool) -> TurnStat:
    told = answered.where(answered.has("prompt_tokens"))
    texts = answered.where(answered.has("first_ns") & answered.has("sent_ns"))
    values = (texts.column("first_ns") - texts.column("sent_ns")) / NS_PER_MS
    ttft = Stat(n=len(texts), unstable=True)
    if stable:
        ttft = stats.describe(values.tolist(), rng=stats.rng_for(f"ttft_ms of turn {turn}"))
    counted = told.column("prompt_tokens")
    return TurnStat(
        turn=turn + 1,
        n=len(answered),
        ttft_ms=ttft,
        prompt_tokens_mean=float(counted.mean()) if len(told) else None,
    )


def prompt_count(plan: DrivePlan, answered: Samples) -> PromptCount | None:
    """Set the prompts' planned tokens against the server's count of the same requests.

    A later turn's prompt holds the answers before it, as long as the server counted them. None
    where nothing was planned or the server did not count.
    """
    counted = answered.where(answered.has("prompt_tokens"))
    if not plan.prompt_tokens or not len(counted):
        return None
    planned = np.array(plan.prompt_tokens, dtype=np.int64)[counted.column("body")]
    known: Bools = np.ones(len(counted), dtype=np.bool_)
    if plan.after:
        quoted, known = _quoted(plan.after, answered, counted)
        planned = planned + quoted
    if not known.any():
        return None
    return PromptCount(
        requests=int(known.sum()),
        planned=int(planned[known].sum()),
        counted=int(counted.column("prompt_tokens")[known].sum()),
    )


def _quoted(after: Sequence[int], answered: Samples, counted: Samples) -> tuple[Ints, Bools]:
    """Tokens of the answers that each prompt holds, and whether all of them are known."""
    sure = answered.where(answered.is_in("token_source", {"server"}))
    made = dict(
        zip(sure.column("seq").tolist(), sure.column("output_tokens").tolist(), strict=True)
    )
    tokens, known = [], []
    for seq in counted.column("seq").tolist():
        start = seq - seq % len(after)
        before, total, whole = after[seq - start], 0, True
        while before >= 0:
            answer = made.get(start + before)
            whole = whole and answer is not None
            total += answer or 0
            before = after[before]
        tokens.append(total)
        known.append(whole)
    return np.array(tokens, dtype=np.int64), np.array(known, dtype=np.bool_)
