"""A probe's folder as the search reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.capacity.cells import read_probe
from harness.capacity.search import Tried, shares_of
from harness.measuring.slo import parse_slo
from loadprofiles.records import DRIVE_FILE, PLAN_FILE, SAMPLES_FILE, DrivePlan, DriveReport
from tests.harness.capacity.test_run import failure
from tests.harness.cells import T0, S, answer
from tests.harness.evidence.runs import a_cell

if TYPE_CHECKING:
    from pathlib import Path


def test_sessions_that_were_clearly_too_many_have_shown_it(tmp_path: Path) -> None:
    """Ended at 8 of 20 s; with answers of 4 s most turns of a session are due by then at last."""
    sessions, end_ns = 80, T0 + 8 * S
    due_ns = [number * S // 4 for number in range(sessions)]
    plan = DrivePlan(
        host="h", port=1, path="/", dialect="openai-chat", mode="open", due_ns=due_ns,
        duration_ns=20 * S, warmup=0, drain_s=1, timeout_s=60, output_tokens=[4] * 3 * sessions,
        after=[*[-1] * sessions, *range(2 * sessions)],
    )  # fmt: skip
    samples = [answer(seq, seq / 4, 3960.0) for seq in range(32)]
    samples = [
        one if (one.done_ns or 0) < end_ns else failure(one, "aborted", end_ns) for one in samples
    ]
    drive = DriveReport(
        ended="interrupted", window_start_ns=T0, window_end_ns=end_ns, clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=0, run_delay_s=0, gc_collections=0,
        connections=1, samples=len(samples), versions={},
    )  # fmt: skip
    (tmp_path / PLAN_FILE).write_bytes(msgspec.json.encode(plan))
    (tmp_path / DRIVE_FILE).write_bytes(msgspec.json.encode(drive))
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in samples)
    (tmp_path / SAMPLES_FILE).write_bytes(lines)
    cell = a_cell(level={"rate": 4.0})
    cell = msgspec.structs.replace(cell, client=msgspec.structs.replace(cell.client, caveats=[]))
    tried = read_probe(tmp_path, cell, parse_slo("ttft_due_p95_ms<=1000"))
    assert isinstance(tried, Tried)
    assert not tried.empty
    assert tried.shown is not None
    assert (tried.shown.from_s, tried.shown.to_s) == (4.0, 8.0)
    assert shares_of(tried.shown) == (1.0,)
