"""A measured cell as the simulator needs it: who asked when, for how much, and when tokens came."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from harness.errors import BadInputError
from harness.measuring.remeasure import read_facts
from harness.measuring.request import NS_PER_S, chunk_counts
from harness.measuring.samples import Samples
from harness.measuring.tokens import chunk_stamps
from loadprofiles.records import read_drive_report, read_plan, read_samples

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from harness.measuring.measure import CellFacts
    from loadprofiles.records import DrivePlan, DriveReport

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

FEWEST: Final = 20
"""Answered requests below which a cell says nothing about a p95."""
_MOST_FAILED: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The answered requests of one cell, in the order in which they were sent.

    Times are in s from the start of the window. Warm-up and cool-down are in it: they were load.
    """

    id: str
    build: str
    level: float
    """Streams, or requests per second."""
    streams: int | None
    """None in open loop."""
    window_s: float
    measured: Bools
    due_s: Floats
    sent_s: Floats
    first_s: Floats
    last_s: Floats
    prompts: Ints
    outputs: Ints
    chunk_s: Floats
    """When each generated chunk came, request by request."""
    chunks: Ints
    """How many each request has."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a cell's folder.

        Raises:
            BadInputError: nothing can be learned from this cell; with the reason.
            OSError: a file cannot be read.
            msgspec.DecodeError: a file is not what it should be.
        """
        facts = read_facts(folder)
        return cls.of(
            facts,
            read_plan(folder),
            Samples.of(read_samples(folder)),
            read_drive_report(folder),
        )

    @classmethod
    def of(cls, facts: CellFacts, plan: DrivePlan, samples: Samples, drive: DriveReport) -> Self:
        """Take what is needed from a cell's records.

        Raises:
            BadInputError: nothing can be learned from this cell; with the reason.
        """
        _check(facts, plan, samples)
        answered = samples.answered
        answered = answered.where(answered.has("first_ns") & answered.has("output_tokens"))
        answered = answered.take(np.argsort(answered.column("sent_ns"), kind="stable"))
        start = drive.window_start_ns

        def seconds(name: str) -> Floats:
            return (answered.column(name) - start) / NS_PER_S

        told = answered.has("prompt_tokens")
        planned = np.array(plan.prompt_tokens or [1], dtype=np.int64)
        prompts = np.where(
            told,
            answered.column("prompt_tokens"),
            planned[answered.column("body") % planned.size],
        )
        stamps, _ = chunk_stamps(answered)
        return cls(
            id=facts.id,
            build=facts.build,
            level=next(iter(facts.level.values())),
            streams=plan.streams,
            window_s=(drive.window_end_ns - start) / NS_PER_S,
            measured=answered.is_in("phase", {"measured"}),
            due_s=seconds("due_ns"),
            sent_s=seconds("sent_ns"),
            first_s=seconds("first_ns"),
            last_s=seconds("last_ns"),
            prompts=np.maximum(prompts, 1),
            outputs=np.maximum(answered.column("output_tokens"), 1),
            chunk_s=(stamps - start) / NS_PER_S,
            chunks=chunk_counts(answered),
        )

    def shortened(self, most: int) -> Self:
        """Return the first part of the window, with so many measured requests at most."""
        sent = self.sent_s[self.measured]
        if sent.size <= most:
            return self
        end = float(sent[most])
        kept = self.sent_s < end
        each = (
            "measured", "due_s", "sent_s", "first_s", "last_s", "prompts", "outputs", "chunks",
        )  # fmt: skip
        return replace(
            self,
            window_s=end,
            chunk_s=self.chunk_s[np.repeat(kept, self.chunks)],
            **{name: getattr(self, name)[kept] for name in each},
        )

    @property
    def name(self) -> str:
        """The level in words."""
        return f"{self.level:g} {'requests/s' if self.streams is None else 'streams'}"


def _check(facts: CellFacts, plan: DrivePlan, samples: Samples) -> None:
    reason = ""
    measured = samples.measured
    answered = len(measured.answered)
    if plan.replicas:
        reason = (
            f"its requests went to {len(plan.replicas) + 1} addresses, and one engine is fitted"
        )
    elif not plan.stream:
        reason = "its answers came in one document each, so nobody saw the steps"
    elif plan.after is not None:
        reason = "its sessions' prompts were read from the prefix cache, which is not simulated"
    elif plan.think_ns is not None:
        reason = "its streams paused to think, which is not simulated"
    elif answered < FEWEST:
        reason = f"{answered} requests were answered, and it takes {FEWEST}"
    elif 1 - answered / len(measured) > _MOST_FAILED:
        reason = f"{1 - answered / len(measured):.0%} of its requests failed"
    if reason:
        raise BadInputError(
            f"cell {facts.id} cannot be simulated: {reason}",
            hint="Measure levels of a profile with streamed answers of single requests.",
        )
