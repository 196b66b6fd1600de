"""Every number of a run, recomputed in plain Python by docs/method.md.

The other modules here read the files of a run and import nothing of the package, which is kept out.
A leaf that they do not have is a failure: a new metric must be written down in docs/method.md, and
here. By hand: python -I tests/method RUN.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.reports.anew import recompute
from harness.rundir import RunFolder

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
KEPT = {
    "recomputed/bursts": 1_100,  # bursts, failures, an SLO, a queue that grows
    "recomputed/sessions": 1_900,  # a sweep of users who talk, without a knee
    "recomputed/knee": 2_400,  # a sweep with one
    "recomputed/lengths": 900,  # two replicas, TTFT by prompt length
    "runs/schema-1-load-efb3887": 850,  # two builds side by side
    "runs/schema-1-capacity-efb3887": 1_700,  # Poisson arrivals beside closed loops
    "runs/schema-1-gate/quality-candidate": 120,  # an evaluation in which answers were lost
    "runs/schema-1-eval": 140,  # another one, with tags
    "runs/schema-1-comparison-efb3887": 390,  # builds weighed, two repeats, a limit on answers
    "runs/schema-1-comparison-efb3887/load": 1_200,
}
"""Runs, and how many of their numbers are recomputed at least."""
PARTS = {"runs/schema-1-comparison-efb3887/load"}
"""Runs that lie in one that is computed before."""


def by_hand(*folders: Path) -> tuple[int, list[dict[str, Any]], str]:
    done = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", str(HERE), *map(str, folders)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[dict[str, Any]], str]:
    """Of each run, with its numbers as the package computes them now."""
    folder = tmp_path_factory.mktemp("runs")
    for name in KEPT:
        if name not in PARTS:
            shutil.copytree(FIXTURES / name, folder / name)
        list(recompute(RunFolder.open(folder / name)))
    return by_hand(*(folder / name for name in KEPT))


@pytest.mark.parametrize("name", KEPT)
def test_every_number_of_a_run(name: str, told: tuple[int, list[dict[str, Any]], str]) -> None:
    code, found, log = told
    assert len(found) == len(KEPT), log
    one = found[list(KEPT).index(name)]
    sys.stdout.write(f"{one['recomputed']} of {one['leaves']} leaves of {name} recomputed\n")
    assert one["wrong"] == []
    assert code == 0
    assert one["recomputed"] >= KEPT[name]
    if "measurements" in one["file"]:
        assert one["copied"] + one["prose"] < 0.15 * one["leaves"]


def test_nothing_of_the_package_was_imported(told: tuple[int, list[dict[str, Any]], str]) -> None:
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in told[2].splitlines()}
    assert {"numpy", "walk"} <= names
    assert not names & {"harness", "launchers", "loadprofiles", "evals"}


def test_a_changed_number_a_new_one_and_a_lost_sample_are_found(tmp_path: Path) -> None:
    run = shutil.copytree(FIXTURES / "runs" / "schema-1-load-efb3887", tmp_path / "run")
    numbers = json.loads((run / "measurements.json").read_text())
    one, other = numbers["cells"]
    one["metrics"]["ttft_ms"]["ci95"]["p50"][1] *= 1 + 1e-6
    one["metrics"]["new_ms"] = 3.0
    del one["stalls"]["at_once"]
    (run / "measurements.json").write_text(json.dumps(numbers))
    samples = run / "cells" / other["id"] / "samples.jsonl"
    kept = samples.read_text().splitlines(keepends=True)
    kept.remove(next(line for line in kept if json.loads(line)["phase"] == "measured"))
    samples.write_text("".join(kept))
    code, [found], _ = by_hand(run)
    wrong = "\n".join(found["wrong"])
    assert code == 1
    for text in (
        "cells.0.metrics.ttft_ms.ci95.p50.1: ",
        "cells.0.metrics.new_ms: 3.0 was not recomputed",
        "cells.0.stalls.at_once: only by hand",
        "cells.1.requests.ok: ",
    ):
        assert text in wrong
