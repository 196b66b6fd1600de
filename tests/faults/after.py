"""What must hold after every fault. Reads files as a stranger would: no code of the package."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.e2e.conftest import Done, Workplace

PATH = {"PYTHONPATH": str(Path(__file__).parents[2])}
TOKENS = 6
EXCUSED = {"itl_smeared", "late_departures", "streams_not_held"}
"""Caveats that a busy machine may leave."""
ORDINARY = ("--profile", "constant", "--rate", "60", "--requests", "20", "--warmup", "0")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines; a killed writer may leave a part of one."""
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def samples_of(run: Path, cell: str) -> list[dict[str, Any]]:
    return lines_of(run / "cells" / cell / "samples.jsonl")


def check_numbers(run: Path, cell: dict[str, Any]) -> list[dict[str, Any]]:
    """A cell's numbers are those of its measured samples, computed here by hand; returns these."""
    samples = samples_of(run, cell["id"])
    measured = [sample for sample in samples if sample["phase"] == "measured"]
    good = [sample for sample in measured if sample["error"] is None]
    requests = cell["requests"]
    assert requests["ok"] == len(good)
    assert requests["failed"] + requests["dropped"] == len(measured) - len(good)
    kinds = Counter(sample["error"] for sample in measured if sample["error"])
    assert {kind: count for kind, count in requests["errors"].items() if count} == dict(kinds)
    assert cell["output_tokens"] == sum(sample["output_tokens"] for sample in good)
    metrics = cell["metrics"]
    _check(metrics["ttft_ms"], (s["first_ns"] - s["sent_ns"] for s in good))
    _check(metrics["ttft_due_ms"], (s["first_ns"] - s["due_ns"] for s in good))
    _check(metrics["e2e_ms"], (s["last_ns"] - s["due_ns"] for s in good))
    _check(metrics["itl_ms"], (gap for s in good for gap in s["chunk_ns"]))
    report = run / "cells" / cell["id"] / "drive.json"
    ended = json.loads(report.read_text())["ended"] if report.is_file() else "interrupted"
    ours = {"aborted", "dropped"} if ended == "interrupted" else set()  # who was told to stop
    failed = [sample for sample in measured if sample["error"] and sample["error"] not in ours]
    assert cell["metrics_with_failures"]["e2e_ms"]["n_infinite"] == len(failed)
    return measured


def _check(metric: dict[str, Any], values_ns: Iterable[int]) -> None:
    values = sorted(value / 1e6 for value in values_ns)
    assert metric["n"] == len(values)
    if metric["unstable"] or len(values) < 2:  # then none is given
        assert metric["p50"] is None
        return
    assert metric["p50"] == pytest.approx(_percentile(values, 0.5), rel=1e-9)
    assert metric["mean"] == pytest.approx(math.fsum(values) / len(values), rel=1e-9)
    assert metric["max"] == pytest.approx(values[-1], rel=1e-9)


def _percentile(ordered: list[float], share: float) -> float:
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def check_kept(samples: list[dict[str, Any]], truth: Path, *, maybe: int = 0) -> None:
    """Every answer that the server brought to its end is there, with all of its tokens.

    `maybe`: so many last ones may have ended when nobody could write them down any more.
    """
    known = {sample["request_id"]: sample for sample in samples}
    finished = lines_of(truth)[:-maybe] if maybe else lines_of(truth)
    assert {one["request_id"] for one in finished if one["request_id"]} <= known.keys()
    sent = {one["request_id"]: len(one["sent_ns"]) for one in lines_of(truth)}
    for sample in samples:
        if sample["error"] is None:
            assert sample["output_tokens"] == sent[sample["request_id"]]
            assert len(sample["chunk_ns"]) == sample["output_tokens"] - 1


def check_next(workplace: Workplace, url: str) -> None:
    """Nothing has been left behind, and an ordinary run works."""
    assert workplace.processes() == []
    done = ordinary(workplace, "--url", url)
    check_ordinary(done, done.cells[-1])
    assert workplace.processes() == []


def check_ordinary(done: Done, cell: dict[str, Any]) -> None:
    """A cell of an ordinary run went well."""
    assert cell["requests"]["ok"] == cell["requests"]["planned"] == 20, done.err
    caveats = cell["client"]["caveats"]
    assert {one["code"] for one in caveats if one["invalidates"]} <= EXCUSED, caveats
    measured = check_numbers(done.run, cell)
    assert [sample["output_tokens"] for sample in measured] == [TOKENS] * 20


def ordinary(workplace: Workplace, *argv: str) -> Done:
    """Run `harness load` with twenty requests, its main function in this process."""
    asked = ("load", *argv, *ORDINARY, "--output-tokens", str(TOKENS), "--json")
    return workplace.inside(*asked, environment=PATH)
