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

from harness.reports.anew import recompute
from harness.rundir import RunFolder
from tests.method import altered

HERE = Path(__file__).parent
FIXTURES = HERE.parent / "fixtures"
KEPT = {
    "recomputed/bursts": 1_100,  # bursts, failures, an SLO, a queue that grows
    "recomputed/sessions": 1_900,  # a sweep of users who talk, without a knee
    "recomputed/knee": 2_400,  # a sweep with one
    "recomputed/lengths": 900,  # two replicas, TTFT by prompt length
    "recomputed/documents": 350,  # answers in one piece
    "recomputed/days": 450,  # a day's swell
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


def test_every_number_of_kept_runs(tmp_path: Path) -> None:
    """With their numbers as the package computes them now."""
    for name in KEPT:
        if name not in PARTS:
            shutil.copytree(FIXTURES / name, tmp_path / name)
        list(recompute(RunFolder.open(tmp_path / name)))
    code, found, log = by_hand(*(tmp_path / name for name in KEPT))
    assert len(found) == len(KEPT), log
    for one, (name, least) in zip(found, KEPT.items(), strict=True):
        sys.stdout.write(f"{one['recomputed']} of {one['leaves']} leaves of {name} recomputed\n")
        assert one["wrong"] == [], name
        assert one["recomputed"] >= least, name
        if one["file"] == "measurements.json":
            assert one["copied"] + one["prose"] < 0.15 * one["leaves"]
    assert code == 0
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in log.splitlines()}
    assert {"numpy", "walk"} <= names
    assert not names & {"harness", "launchers", "loadprofiles", "evals"}


def test_what_no_recorded_run_has(tmp_path: Path) -> None:
    """Stalls, drift, a late begin, GPUs, uncounted tokens, clusters: of files that were changed."""
    runs = altered.changed(FIXTURES, tmp_path)
    for run in runs:
        list(recompute(RunFolder.open(run)))
    code, found, log = by_hand(*runs)
    assert [one["wrong"] for one in found] == [[]] * len(runs), log
    assert code == 0
    cells = {
        path.parent.name: json.loads(path.read_text())["cells"]
        for path in tmp_path.glob("*/measurements.json")
    }
    assert any(cell["steady"]["part"] for cell in cells["late begin"])
    assert {cell["server"]["memory_kind"] for cell in cells["drift"]} == {"vram"}
    gave_up = [cell["reconciliation"] for cell in cells["given up"]]
    assert all(one["time"]["outside"] is not None for one in gave_up)
    assert all(one["requests"]["server"] > one["requests"]["client"] for one in gave_up)
    assert sum(cell["stalls"]["count"] for cell in cells["stalls"]) > 10
    codes = {
        caveat["code"]
        for those in cells.values()
        for cell in those
        for caveat in cell["client"]["caveats"]
    }
    assert codes >= {"drifted", "retried", "tokens_from_chunks", "user_clock", "preempted"}
    stayed = [cell["bursts"]["stayed"]["ttft_ms"] for cell in cells["no counts"]]
    assert any(contrast["ci95"] for contrast in stayed)


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
