"""Sweeps through the real command line, at a server whose knee is known."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from harness.measuring.remeasure import remeasure
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

SHORT = ("--duration", "1", "--output-tokens", "6", "--warmup", "2", "--quiet", "--max-levels", "5")


def test_four_slots_are_the_knee_and_a_sweep_that_was_killed_goes_on(
    workplace: Workplace, mock: StartMock
) -> None:
    """The mock answers four at a time, each 6 tokens in 45 ms."""
    url = mock("--ttft-ms=20", "--itl-ms=5", "--slots=4")
    done = workplace.load("--url", url, "--profile", "closed", "--sweep", *SHORT)
    assert done.went_well
    [sweep] = done.json["sweeps"]
    levels = [level["level"] for level in sweep["levels"]]
    assert levels[:4] == [1, 2, 4, 8]
    assert levels[4:] in ([12], [16]), "8 passes for the plateau, or on a busy machine not yet"
    assert len(done.cells) == 5
    assert sweep["knee"]["level"] == pytest.approx(4, rel=0.25)
    assert sweep["plateau"] == pytest.approx(4 * 6 / 0.045, rel=0.2)
    report = (done.run / "report.html").read_text()
    assert 'id="sweep"' in report
    assert "Throughput over the load" in report
    assert "### Sweep" in (done.run / "report.md").read_text()

    # as if it had been killed in its last cell
    manifest = json.loads((done.run / "manifest.json").read_text())
    gone = [cell["id"] for cell in manifest["cells"][-1:]]
    manifest["cells"] = manifest["cells"][:-1]
    (done.run / "manifest.json").write_text(json.dumps(manifest))
    numbers = done.json | {"cells": done.cells[:-1], "sweeps": []}
    (done.run / "measurements.json").write_text(json.dumps(numbers))
    for cell_id in gone:
        shutil.rmtree(done.run / "cells" / cell_id)
    kept = (done.run / "cells" / done.cells[0]["id"] / "samples.jsonl").read_bytes()
    again = workplace.load("--resume", str(done.run), "--quiet")
    assert again.went_well
    assert again.run == done.run
    assert [level["level"] for level in again.json["sweeps"][0]["levels"]] == levels
    assert (done.run / "cells" / done.cells[0]["id"] / "samples.jsonl").read_bytes() == kept
    whole = RunFolder.open(done.run).read_measurements()
    assert [one.code for one in whole.caveats] == ["resumed"]
    assert remeasure(RunFolder.open(done.run)) == whole, "a pure function of the folder"
