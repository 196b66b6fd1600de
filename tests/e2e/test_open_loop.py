"""An open loop is honest: whatever the server does, each request leaves when it is due."""

from __future__ import annotations

import heapq
import json
from typing import TYPE_CHECKING

import pytest

from loadprofiles.records import read_drive_report, read_plan, read_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.conftest import MakeCell, StartMock
    from tests.e2e.conftest import Workplace

    RunDriver = Callable[[Path], CompletedProcess[str]]

MS, SECOND = 1_000_000, 1_000_000_000
TTFT_MS, ITL_MS, TOKENS = 40, 10, 8
ANSWER_S = (TTFT_MS + ITL_MS * (TOKENS - 1)) / 1000
KNOWN = ("--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS))


def waits_s(due_ns: Sequence[int], slots: int) -> list[float]:
    """How long each request waits for a slot, first come, first served: the truth."""
    free = [0.0] * slots
    found = []
    for due in due_ns:
        begin = max(heapq.heappop(free), due / 1e9)
        heapq.heappush(free, begin + ANSWER_S)
        found.append(begin - due / 1e9)
    return found


def test_an_overload_neither_skips_nor_moves_a_departure_and_is_felt_in_full(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    """AIPerf 0.13 at twice the capacity reported a mean of 2.09 s where the truth was 7.06 s.

    It skips the ticks at which no slot is free, and starts its clock when it has one.
    """
    slots, rate = 1, 2 / ANSWER_S
    due_ns = [int(n * SECOND / rate) for n in range(60)]
    folder = make_cell(
        mock(*KNOWN, f"--slots={slots}"), mode="open", due_ns=due_ns, tokens=TOKENS, warmup=1,
        duration_ns=int(60 * SECOND / rate), drain_s=30,
    )  # fmt: skip
    run_driver(folder)
    start_ns = read_drive_report(folder).window_start_ns
    samples = sorted(
        (one for one in read_samples(folder) if one.phase == "measured"), key=lambda one: one.seq
    )
    assert [one.due_ns - start_ns for one in samples] == due_ns, "none skipped, none moved"
    assert {one.error for one in samples} == {None}
    slips = sorted((one.sent_ns or 0) - one.due_ns - (one.connect_ns or 0) for one in samples)
    assert slips[len(slips) // 2] < 5 * MS, "nobody waits for an answer before sending"
    felt = [((one.first_ns or 0) - one.due_ns) / 1e9 for one in samples]
    truth = [TTFT_MS / 1000 + wait for wait in waits_s(due_ns, slots)]
    assert truth[-1] > 20 * TTFT_MS / 1000
    mean_felt, mean_truth = sum(felt) / len(felt), sum(truth) / len(truth)
    assert mean_felt == pytest.approx(mean_truth, rel=0.15)
    assert felt[-1] == pytest.approx(truth[-1], rel=0.15)


def test_what_cannot_leave_in_time_is_recorded_as_dropped(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    """A drain of nothing cuts the answers off; what was due has a sample all the same."""
    due_ns = [n * 20 * MS for n in range(100)]
    folder = make_cell(
        mock("--ttft-ms", "30000"), mode="open", due_ns=due_ns, warmup=0, drain_s=0,
        duration_ns=2 * SECOND,
    )  # fmt: skip
    run_driver(folder)
    samples = [one for one in read_samples(folder) if one.phase == "measured"]
    assert sorted(one.seq for one in samples) == list(range(100))
    assert {one.error for one in samples} <= {"aborted", "dropped"}


@pytest.mark.parametrize("profile", ["steady", "gamma", "replay"])
def test_two_servers_get_the_same_bytes_at_the_same_moments(
    workplace: Workplace, mock: StartMock, profile: str
) -> None:
    """One fast, one overloaded: neither the schedule nor a single body depends on the server."""
    folders = []
    for options in (("--ttft-ms", "5"), ("--ttft-ms", "300", "--slots", "1")):
        done = workplace.load(
            *("--url", mock(*options), "--profile", profile, "--rate", "10", "--warmup", "1"),
            *(
                "--requests",
                "15",
                "--output-tokens",
                "2",
                "--timeout",
                "3",
                "--max-fail-ratio",
                "1",
            ),
        )
        [cell] = done.cells
        folders.append(done.run / "cells" / cell["id"])
    one, two = folders
    assert read_plan(one).due_ns == read_plan(two).due_ns
    assert (one / "bodies.jsonl").read_bytes() == (two / "bodies.jsonl").read_bytes()
    plans = [json.loads((folder / "plan.json").read_text()) for folder in folders]
    for plan in plans:
        plan.pop("port")
    assert plans[0] == plans[1]
