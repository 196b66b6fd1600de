"""A cell's files as they lie in its folder, and nothing computed yet."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Record = dict[str, Any]


def lines(path: Path) -> list[Record]:
    """Every line of a JSON Lines file; none of one that is not there."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@dataclass
class Cell:
    """One cell's folder."""

    path: Path
    plan: Record = field(init=False)
    drive: Record = field(init=False)
    facts: Record = field(init=False)
    samples: list[Record] = field(init=False)
    """By phase, then number."""
    readings: list[Record] = field(init=False)

    def __post_init__(self) -> None:
        self.plan, self.drive, self.facts = (
            json.loads((self.path / f"{name}.json").read_text())
            for name in ("plan", "drive", "facts")
        )
        found = lines(self.path / "samples.jsonl")
        self.samples = sorted(found, key=lambda one: (one["phase"], one["seq"], one["request_id"]))
        self.readings = lines(self.path / "telemetry.jsonl")

    @property
    def measured(self) -> list[Record]:
        return [one for one in self.samples if one["phase"] == "measured"]

    @property
    def answered(self) -> list[Record]:
        return [one for one in self.measured if one["error"] is None]

    @property
    def start(self) -> int:
        return self.drive["window_start_ns"]

    @property
    def end(self) -> int:
        return self.drive["window_end_ns"]

    @property
    def whole_s(self) -> float:
        """Length of the window."""
        return max(0.0, (self.end - self.start) / 1e9)

    @property
    def window_s(self) -> float:
        """Length of the window without the other builds' turns."""
        return max(0.0, self.whole_s - self.drive.get("elsewhere_s", 0.0))

    @property
    def closed(self) -> bool:
        return self.plan["mode"] == "closed"

    def within(self, times: Iterable[int | None]) -> int:
        """How many of the times lie in the window."""
        return sum(at is not None and self.start <= at < self.end for at in times)

    def per_second(self, count: float) -> float:
        return count / self.window_s if self.window_s else 0.0
