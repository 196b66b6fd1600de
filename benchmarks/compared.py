"""What a run's folder holds that a kill could have changed, for kill_resume.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from harness.capacity.climb import Stop
from harness.capacity.swept import next_of
from harness.measuring.sweep import SweepPlan
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kill_modes import Mode

OF_THE_START = {"host", "port", "replicas", "cpus"}
"""What of a plan is a matter of where the server happened to come up."""


def read(path: Path) -> Any:  # noqa: ANN401 - a JSON file
    """Read a JSON file."""
    return json.loads(path.read_bytes())


@dataclass(frozen=True)
class Plan:
    """What a run is to measure, without what depends on where a server came up."""

    cells: list[dict[str, Any]]
    bodies: dict[str, bytes]
    plans: dict[str, dict[str, Any]]
    passes: list[dict[str, Any]]
    items: dict[str, list[str]]
    """Of each pass those that were answered, sorted."""

    @classmethod
    def of(cls, run: Path, mode: Mode) -> Plan:
        """Read the plan of a run that went to its end."""
        cells, passes, at, items = [], [], {}, {}
        if mode.load is not None:
            cells = read(run / mode.load / "manifest.json")["cells"]
            at = {cell["id"]: run / mode.load / "cells" / cell["id"] for cell in cells}
        plans = {name: read(folder / "plan.json") for name, folder in at.items()}
        if mode.quality is not None:
            passes = read(run / mode.quality / "manifest.json")["passes"]
            for path in (run / mode.quality).glob("evals/*/*/answers.jsonl"):
                lines = path.read_bytes().splitlines()
                name = str(path.relative_to(run))
                items[name] = sorted(json.loads(line)["item"] for line in lines)
        return cls(
            cells=cells,
            bodies={name: (folder / "bodies.jsonl").read_bytes() for name, folder in at.items()},
            plans={
                name: {key: value for key, value in plan.items() if key not in OF_THE_START}
                for name, plan in plans.items()
            },
            passes=passes,
            items=items,
        )

    def unlike(self, wanted: Plan, *, swept: bool) -> Iterator[str]:
        """Yield in what it is another plan; of a sweep only levels that both have are alike."""
        for name in ("cells", "bodies", "plans", "passes", "items"):
            mine, theirs = getattr(self, name), getattr(wanted, name)
            if swept and isinstance(mine, dict):
                both = mine.keys() & theirs.keys()
                mine, theirs = ({key: one[key] for key in both} for one in (mine, theirs))
            if mine != theirs and not (swept and name == "cells"):
                yield f"another plan: {name}"


@dataclass(frozen=True)
class Kept:
    """What a killed run had measured."""

    cells: dict[str, dict[str, bytes]]
    """Cell that has numbers → its files."""
    answers: dict[str, bytes]
    """Path in the run → whole lines."""
    done: dict[str, bytes]
    """Path in the run → file of a pass that was done."""

    @classmethod
    def of(cls, run: Path, mode: Mode) -> Kept:
        """Read it."""
        cells, answers, done = {}, {}, {}
        if mode.load is not None and (run / mode.load / "measurements.json").is_file():
            part = run / mode.load
            told = read(part / "measurements.json")
            again = [one["text"] for one in told["caveats"] if one["code"] == "driven_again"]
            for cell in (one["id"] for one in told["cells"]):
                folder = part / "cells" / cell
                first = sorted((part / "set_aside").glob(f"{cell}.*"))
                if first and not any(text.startswith(f"{cell} ") for text in again):
                    folder = first[-1]  # a second time was under way
                cells[cell] = {path.name: path.read_bytes() for path in folder.iterdir()}
        if mode.quality is not None:
            for path in (run / mode.quality).glob("evals/*/*/answers.jsonl"):
                data = path.read_bytes()
                answers[str(path.relative_to(run))] = data[: data.rfind(b"\n") + 1]
            for path in (run / mode.quality).glob("evals/*/*/pass.json"):
                if read(path).get("ended") == "done":
                    files = [one for one in path.parent.rglob("*") if one.is_file()]
                    done |= {str(one.relative_to(run)): one.read_bytes() for one in files}
        return cls(cells, answers, done)

    @property
    def words(self) -> str:
        """How much it is."""
        count = sum(data.count(b"\n") for data in self.answers.values())
        passes = sum(name.endswith("/pass.json") for name in self.done)
        return f"{len(self.cells)} cells, {count} answers, {passes} passes"

    @property
    def some_whole(self) -> bool:
        """Whether a cell, or a pass, had been finished."""
        return bool(self.cells or self.done)

    def is_whole(self, plan: Plan) -> bool:
        """Whether nothing was left to measure, so that no gap is to be told."""
        answered = sum(data.count(b"\n") for data in self.answers.values())
        wanted = sum(map(len, plan.items.values()))
        return len(self.cells) == len(plan.cells) and answered == wanted

    def lost(self, run: Path, mode: Mode) -> Iterator[str]:
        """Yield what of it a run that went on does not have any more."""
        for cell, files in self.cells.items():
            for name, data in files.items():
                path = run / (mode.load or ".") / "cells" / cell / name
                if not path.is_file() or path.read_bytes() != data:
                    yield f"{name} of {cell} is another"
        for name, data in self.answers.items():
            if not (run / name).read_bytes().startswith(data):
                yield f"answers are lost in {name}"
        for name, data in self.done.items():
            if not (run / name).is_file() or (run / name).read_bytes() != data:
                yield f"{name} is another"


def pairs(run: Path, mode: Mode) -> list[tuple[Any, ...]]:
    """What is held against what in a run, without the measured values."""
    told = read(run / mode.numbers)
    if "suites" in told:
        against = [(one, one.get("baseline") or {}) for one in told["suites"]]
        return [
            (one["suite"], one["items"], it.get("build"), it.get("pairs")) for one, it in against
        ]
    quality = [(row["build"], row["suite"], row["items"]) for row in told.get("quality", ())]
    compared = told if "load" in told else told.get("side_by_side") or {"load": ()}
    load = [
        (row["build"], row["level"], row["repeats"], sorted(row.get("against") or {}))
        for row in compared["load"]
    ]
    return [*load, *quality]


def missteps(run: Path) -> Iterator[str]:
    """Yield where a sweep took another step than the one that its numbers before call for."""
    folder = RunFolder.open(run)
    numbers: Any = folder.read_measurements()
    manifest: Any = folder.read_manifest()
    plan = msgspec.convert(manifest["sweep"]["plan"], SweepPlan)
    for count in range(1, len(numbers.cells) + 1):
        step = next_of(plan, numbers.cells[:count], closed=True)
        level = None if isinstance(step, Stop) else step.level
        levels = [cell.level["concurrency"] for cell in numbers.cells[count : count + 1]]
        if levels != ([] if level is None else [level]):
            yield f"after {count} levels came {levels}, and not {level}"


def unsaid(run: Path, mode: Mode) -> Iterator[str]:
    """Yield where a run that went on does not say so."""
    if not read(run / "manifest.json").get("resumed"):
        yield "no gap in manifest.json"
    if "resumed" not in [one["code"] for one in read(run / mode.numbers)["caveats"]]:
        yield f"no gap in {mode.numbers}"
    for name in ("report.md", "report.html"):
        if "cut off" not in (run / name).read_text():
            yield f"no gap in {name}"
