"""What one of several workers does of a cell. Pure: from the plan, an index and a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from loadprofiles.records import DrivePlan, Sample  # noqa: TC001 - msgspec reads them at run time

if TYPE_CHECKING:
    from collections.abc import Sequence

STAMPS = (
    "due_ns", "submitted_ns", "sent_ns", "first_ns", "first_answer_ns", "last_ns", "end_ns",
    "done_ns",
)  # fmt: skip
"""The fields of a sample that are moments."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's part, as it goes over the wire."""

    plan: DrivePlan
    """A plan of its own: its streams, departures and bodies, counted from 0."""
    lines: list[int]
    """For each of its bodies, by position, the line of `bodies.jsonl`; ascending."""
    index: int
    workers: int
    """Among how many the cell is shared out: no more than there are streams or departures."""
    warmup: int
    """Warm-up bodies of the whole cell."""
    measured: int
    """Measured bodies of the whole cell."""


def share_of(plan: DrivePlan, index: int, workers: int) -> Share | None:
    """Return the part of worker `index` of `workers`; None where nothing is left for it.

    Streams, departures and bodies go round: every `workers`-th is this worker's, so that each has
    the same load at any moment and prompts of one distribution. The parts of a Poisson process
    are none of Poisson's, and need not be: together they are the one schedule, to the ns. Turns
    of a session stay with the worker of its first.
    """
    measured = len(plan.output_tokens) - plan.warmup
    departures = None if plan.due_ns is None else len(plan.due_ns)
    whole = (plan.streams, plan.requests, departures, _roots(plan, measured))
    workers = min(workers, *(count for count in whole if count is not None))
    if index >= workers:
        return None
    mine = _owned(plan.after, measured, index, workers)
    lines = [*range(index, plan.warmup, workers), *(plan.warmup + position for position in mine)]
    place = {position: number for number, position in enumerate(mine)}
    shared = msgspec.structs.replace(
        plan,
        streams=None if plan.streams is None else len(range(index, plan.streams, workers)),
        requests=None if plan.requests is None else _first(plan.requests, mine, measured),
        due_ns=None if plan.due_ns is None else plan.due_ns[index::workers],
        warmup=len(range(index, plan.warmup, workers)),
        output_tokens=[plan.output_tokens[line] for line in lines],
        prompt_tokens=[plan.prompt_tokens[line] for line in lines] if plan.prompt_tokens else [],
        after=plan.after and [place.get(plan.after[position], -1) for position in mine],
        think_ns=plan.think_ns and [plan.think_ns[position] for position in mine],
        cpus=None,  # those of another machine
    )
    return Share(
        plan=shared,
        lines=lines,
        index=index,
        workers=workers,
        warmup=plan.warmup,
        measured=measured,
    )


def _first(requests: int, mine: Sequence[int], measured: int) -> int:
    """How many of the first `requests` are one worker's; they start over after `measured`."""
    rounds, rest = divmod(requests, measured)
    return rounds * len(mine) + sum(position < rest for position in mine)


def _roots(plan: DrivePlan, measured: int) -> int:
    """How many bodies continue no other."""
    return measured if plan.after is None else sum(before < 0 for before in plan.after)


def _owned(after: Sequence[int] | None, measured: int, index: int, workers: int) -> list[int]:
    """Positions of the measured bodies that are one worker's: whole sessions, in turn."""
    if after is None:
        return list(range(index, measured, workers))
    owners: list[int] = []
    sessions = 0
    for before in after:
        if before < 0:
            owners.append(sessions % workers)
            sessions += 1
        else:
            owners.append(owners[before])
    return [position for position, owner in enumerate(owners) if owner == index]


@dataclass(frozen=True)
class Translation:
    """From a worker's own counting and clock to the whole cell's."""

    share: Share
    offset_ns: int
    """The worker's clock − the master's."""

    def __call__(self, sample: Sample) -> Sample:
        """Return the sample as if one driver had sent all."""
        share = self.share
        own = share.plan.warmup
        changed: dict[str, int] = {
            "worker": share.index,
            "body": share.lines[sample.body],
            "seq": share.index + sample.seq * share.workers,
        }
        if sample.phase == "measured":  # one that outlasts its bodies starts over
            rounds, position = divmod(sample.seq, len(share.lines) - own)
            changed["seq"] = rounds * share.measured + share.lines[own + position] - share.warmup
        if self.offset_ns:
            for name in STAMPS:
                if (moment := getattr(sample, name)) is not None:
                    changed[name] = moment - self.offset_ns
        return msgspec.structs.replace(sample, **changed)
