"""Looks into a probe while it is driven, and says when it need not go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from harness.capacity.attainment import Tally, tallies
from harness.capacity.sequential import LEAST_PART, Shown, decided
from harness.capacity.settling import settle_s, turns_of
from harness.measuring.request import NS_PER_S
from harness.measuring.samples import Samples
from loadprofiles.records import SAMPLES_FILE, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.measuring.slo import Slo
    from loadprofiles.records import DrivePlan

EVERY_S: Final = 1.0


class Watch:
    """What one open-loop probe has shown so far, by the samples that its driver has written.

    Args:
        folder: the cell's.
        plan: of the cell.
        slo: the limits.
        allowed: share that may break each.
        may_hold: whether it may also be ended because it clearly holds.
        answer_s: how long an answer takes alone.
    """

    def __init__(
        self,
        folder: Path,
        plan: DrivePlan,
        slo: Slo,
        allowed: Sequence[float],
        *,
        may_hold: bool,
        answer_s: float = 0.0,
    ) -> None:
        self._path = folder / SAMPLES_FILE
        self._due = plan.due_ns or []
        self._planned_s = (plan.duration_ns or 0) / NS_PER_S
        self._settle_s = settle_s(plan, self._planned_s, self._planned_s, answer_s)
        self._in_flight = (plan.rate or 0.0) * turns_of(plan) * answer_s
        self._slo, self._allowed, self._may_hold = slo, allowed, may_hold
        self._decode = msgspec.json.Decoder(Sample).decode
        self._offset, self._next_s = 0, 0.0
        self._start_ns: int | None = None
        self._parts: list[tuple[Tally, ...]] = []
        self.shown: Shown | None = None
        """What it has clearly shown; None while it is open."""

    def goes_on(self) -> bool:
        """Say whether the probe is still wanted; looks once a second at most."""
        now_s = time.monotonic()
        if self.shown is None and now_s >= self._next_s and self._planned_s:
            self._next_s = now_s + EVERY_S
            self._look(time.monotonic_ns())
        return self.shown is None

    def _look(self, now_ns: int) -> None:
        fresh = self._fresh()
        if self._start_ns is None:
            first = next((one for one in fresh if one.seq < len(self._due)), None)
            if first is None:
                return
            self._start_ns = first.due_ns - self._due[first.seq]
        part = (now_ns - self._start_ns) / NS_PER_S / self._planned_s
        if fresh:
            end_ns = self._start_ns + int(self._planned_s * NS_PER_S)
            self._parts.append(tallies(self._slo, Samples.of(fresh), self._start_ns, end_ns))
        least = max(LEAST_PART, 2 * self._settle_s / self._planned_s)
        if least <= part < 1:
            self.shown = decided(
                self._so_far(),
                self._allowed,
                part,
                may_hold=self._may_hold,
                in_flight=self._in_flight,
            )

    def _fresh(self) -> list[Sample]:
        """Read the samples of measured departures that were written since the last look."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read().partition(b"\0")[0]  # of a page that is not filled yet
        except OSError:
            return []
        whole = text.rfind(b"\n") + 1
        self._offset += whole
        found = [self._decode(line) for line in text[:whole].splitlines()]
        return [one for one in found if one.phase == "measured"]

    def _so_far(self) -> list[Tally]:
        """Put the looks together, less what came before the probe had settled."""
        whole = []
        for parts in zip(*self._parts, strict=True):
            tally = Tally(
                at_s=np.concatenate([one.at_s for one in parts]),
                broken=np.concatenate([one.broken for one in parts]),
                counted=np.concatenate([one.counted for one in parts]),
            )
            whole.append(tally.within(self._settle_s, np.inf))
        return whole
