"""The simulator fitted to the mock's engine in steps, whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.rundir import RunFolder
from harness.simulating.engine import Limits
from harness.simulating.fit import fit
from harness.simulating.sweep import read_sweep

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

STEP_MS, SLOTS = 10.0, 6


def test_an_engine_in_steps_is_found_and_a_level_beyond_its_slots_predicted(
    workplace: Workplace, mock: StartMock
) -> None:
    """Its steps all take the same time, and six requests run at once; the others wait."""
    url = mock(f"--step-ms={STEP_MS:g}", f"--max-num-seqs={SLOTS}")
    done = workplace.load(
        "--url", url, "--profile", "closed", "--level", "3,9,14", "--duration", "1.2",
        "--prompt-tokens", "20", "--output-tokens", "12", "--warmup", "0", "--lengths", "forced",
    )  # fmt: skip
    limits = Limits(max_num_seqs=SLOTS)
    cells, _, _ = read_sweep([RunFolder.open(done.run)])
    fitted = fit(cells, limits)
    for sequences in (3, SLOTS):
        step_ms = 1000 * fitted.engine.cost.of(sequences, 0, 30 * sequences, 0)
        assert step_ms == pytest.approx(STEP_MS, rel=0.2), sequences
    predicted = {one.metric: one for one in fitted.held_out if one.level == 9}
    assert predicted["aggregate_tps"].predicted == pytest.approx(SLOTS / 0.01, rel=0.2)
    queued = predicted["ttft_p95_ms"]
    assert queued.predicted > 60, "three of nine wait for a slot, and an answer takes 120 ms"
    assert queued.error == pytest.approx(0, abs=0.3)
