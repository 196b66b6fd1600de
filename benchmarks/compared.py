"""What a comparison's folder holds that a kill could have changed, for kill_resume.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OF_THE_START = {"host", "port", "replicas", "cpus"}
"""What of a plan is a matter of where the server happened to come up."""


def read(path: Path) -> Any:  # noqa: ANN401 - a JSON file
    """Read a JSON file."""
    return json.loads(path.read_bytes())


@dataclass(frozen=True)
class Plan:
    """What a comparison is to measure, without what depends on where a server came up."""

    cells: list[dict[str, Any]]
    bodies: dict[str, bytes]
    plans: dict[str, dict[str, Any]]
    passes: list[dict[str, Any]]

    @classmethod
    def of(cls, run: Path) -> Plan:
        """Read the plan of a comparison that went to its end."""
        cells = read(run / "load/manifest.json")["cells"]
        at = {cell["id"]: run / "load/cells" / cell["id"] for cell in cells}
        plans = {name: read(folder / "plan.json") for name, folder in at.items()}
        return cls(
            cells=cells,
            bodies={name: (folder / "bodies.jsonl").read_bytes() for name, folder in at.items()},
            plans={
                name: {key: value for key, value in plan.items() if key not in OF_THE_START}
                for name, plan in plans.items()
            },
            passes=read(run / "quality/manifest.json")["passes"],
        )


@dataclass(frozen=True)
class Kept:
    """What a killed comparison had measured."""

    samples: dict[str, bytes]
    answers: dict[str, bytes]

    @classmethod
    def of(cls, run: Path) -> Kept:
        """Read it: the samples of cells that have numbers, and all whole answers."""
        samples, numbers = {}, run / "load/measurements.json"
        if numbers.is_file():
            told = read(numbers)
            again = [one["text"] for one in told["caveats"] if one["code"] == "driven_again"]
            for cell in (one["id"] for one in told["cells"]):
                folder = run / "load/cells" / cell
                first = sorted((run / "load/set_aside").glob(f"{cell}.*"))
                if first and not any(text.startswith(f"{cell} ") for text in again):
                    folder = first[-1]  # a second time was under way
                samples[cell] = (folder / "samples.jsonl").read_bytes()
        answers = {}
        for path in run.glob("quality/evals/*/*/answers.jsonl"):
            data = path.read_bytes()
            answers[str(path.relative_to(run))] = data[: data.rfind(b"\n") + 1]
        return cls(samples, answers)

    def is_whole(self, plan: Plan, answers: int) -> bool:
        """Whether nothing was left to measure, so that no gap is to be told."""
        answered = sum(data.count(b"\n") for data in self.answers.values())
        return len(self.samples) == len(plan.cells) and answered == answers

    def lost(self, run: Path) -> Iterator[str]:
        """Yield what of it a comparison that went on does not have any more."""
        for name, data in self.samples.items():
            if (run / "load/cells" / name / "samples.jsonl").read_bytes() != data:
                yield f"samples of {name} are others"
        for name, data in self.answers.items():
            if not (run / name).read_bytes().startswith(data):
                yield f"answers are lost in {name}"


def pairs(run: Path) -> list[tuple[Any, ...]]:
    """What is held against what in a comparison, without the measured values."""
    told = read(run / "comparison.json")
    load = [
        (row["build"], row["level"], row["repeats"], sorted(row.get("against") or {}))
        for row in told["load"]
    ]
    quality = [(row["build"], row["suite"], row["items"]) for row in told["quality"]]
    return [*load, *quality]


def unsaid(run: Path) -> Iterator[str]:
    """Yield where a comparison that went on does not say so."""
    if not read(run / "manifest.json").get("resumed"):
        yield "no gap in manifest.json"
    if "resumed" not in [one["code"] for one in read(run / "comparison.json")["caveats"]]:
        yield "no gap in comparison.json"
    for name in ("report.md", "report.html"):
        if "cut off" not in (run / name).read_text():
            yield f"no gap in {name}"
