"""`harness capacity` on the real command line, against a mock of known law."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

SLOTS, ANSWER_S = 4, 0.08


def test_it_finds_where_the_queue_in_front_of_four_slots_gets_too_long(
    workplace: Workplace, mock: StartMock
) -> None:
    """Four slots of 80 ms serve 50/s; a queue of 80 ms is reached somewhat before that."""
    url = mock("--ttft-ms=20", "--itl-ms=20", f"--slots={SLOTS}")
    done = workplace.harness(
        "capacity", f"--url={url}", "--slo=ttft_due_p95_ms<=100,error_rate<=5%", "--probes=5",
        "--duration=1.5", "--precision=0.5", "--output-tokens=4", "--prompt-tokens=16", "--json",
        "--quiet", "--demand=1000", "--price-per-gpu-hour=2", "--headroom=0", "--spare=0",
    )  # fmt: skip
    found = done.json
    scouts, rates = found["probes"][:2], found["probes"][2:]
    assert [one["streams"] for one in scouts] == [1, 32]
    assert all(one["rate"] > 0 for one in rates)
    assert [limit["limit"] for limit in scouts[0]["limits"]] == [
        "ttft_due_p95_ms<=100", "error_rate<=5%"
    ]  # fmt: skip
    served = found["saturation"]["rate"]
    assert 0.5 * SLOTS / ANSWER_S < served < 1.1 * SLOTS / ANSWER_S
    if found["outcome"] in {"not_reached_by_client", "unfinished"}:
        assert done.code == 5
        assert any(one["met"] is None for one in found["probes"]), "the client was in time"
        pytest.skip("the client was too slow on this machine just now")
    assert done.code == 0, done.err
    low, high = found["max_rate_ci95"]
    assert low < found["max_rate"] < high
    assert 0.3 * served < found["max_rate"] < 1.6 * served
    assert found["replicas"] == math.ceil(1000 / found["max_rate"])
    assert [one["code"] for one in found["caveats"]].count("no_prediction") == 1, "of 4 tokens"
    [run] = workplace.runs
    assert "Capacity report" in (run / "report.html").read_text()
    more = workplace.inside(
        "capacity",
        str(run),
        "--demand=2000/s",
        "--spare=2",
        "--headroom=0",
        "--json",
        "--html=sized.html",
    )
    assert "Sizing of finished runs" in (workplace.path / "sized.html").read_text()
    assert more.code == 0, more.err
    assert more.json["replicas"] == math.ceil(2000 / found["max_rate"]) + 2
    assert more.json["max_rate"] == found["max_rate"]


def test_limits_that_a_slow_server_breaks_alone_are_met_at_no_load(
    workplace: Workplace, mock: StartMock
) -> None:
    url = mock("--ttft-ms=150", "--itl-ms=1")
    done = workplace.harness(
        "capacity", f"--url={url}", "--slo=ttft_due_p95_ms<=100", "--duration=2",
        "--output-tokens=2", "--prompt-tokens=16", "--json", "--quiet",
    )  # fmt: skip
    if done.json["outcome"] in {"not_reached_by_client", "unfinished"}:
        assert (done.code, done.json["max_rate"]) == (5, None)
        [run] = workplace.runs
        client = json.loads((run / "measurements.json").read_text())["cells"][0]["client"]
        assert not client["valid"], "one stream tells it, unless the client is late"
        pytest.skip("the client was too slow on this machine just now")
    assert done.code == 1, done.err
    assert (done.json["outcome"], done.json["max_rate"]) == ("not_met_at_any_load", None)
    [scout] = done.json["probes"]
    assert scout["limits"][0]["broken"] == 1


def test_a_client_that_stands_still_half_the_time_does_not_reach_the_limit(
    workplace: Workplace, mock: StartMock
) -> None:
    """Its driver is stopped and let go on by turns, as soon as it sends at a rate."""
    url = mock("--ttft-ms=20", "--itl-ms=1")
    process = workplace.start(
        "capacity", f"--url={url}", "--slo=ttft_due_p95_ms<=100", "--probes=4", "--duration=2",
        "--output-tokens=2", "--prompt-tokens=16", "--json", "--quiet",
    )  # fmt: skip
    harness = psutil.Process(process.pid)
    while process.poll() is None:
        if list(workplace.path.glob("runs/*/cells/*-r*/plan.json")):
            _hold_up(harness)
        time.sleep(0.1)
    done = workplace.finish(process)
    assert done.code == 5, done.err
    assert (done.json["outcome"], done.json["max_rate"]) == ("not_reached_by_client", None)
    assert all(one["met"] is None for one in done.json["probes"] if one["rate"])
    assert "client_too_slow" in {one["code"] for one in done.json["caveats"]}


def _hold_up(harness: psutil.Process) -> None:
    """Let its drivers stand still for a fifth of a second."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for driver in harness.children():
            driver.suspend()
            time.sleep(0.2)
            driver.resume()


def test_what_cannot_be_is_told_before_anything_starts(workplace: Workplace) -> None:
    done = workplace.inside("capacity", "--server=fp16", "--slo=goodput>=5")
    assert done.code == 2
    assert "no highest rate" in done.err
    done = workplace.inside("capacity", "--server=fp16", "--slo=e2e_p95_ms<=50", "--profile=closed")
    assert done.code == 2
    assert "keeps streams open" in done.err
    done = workplace.inside("capacity", "--slo=e2e_p95_ms<=50", "--precision=3")
    assert done.code == 2
    assert "--precision" in done.err
    done = workplace.inside("capacity", "--server=fp16", "--slo=e2e_p95_ms<=50", "--demand=1e6/day")
    assert done.code == 2
    assert "says nothing of the peak" in done.err
    done = workplace.inside("capacity", "somewhere", "--server=fp16", "--demand=3")
    assert done.code == 2
    assert "--server says how to measure" in done.err
    done = workplace.inside("capacity", "--server=fp16", "--slo=e2e_p95_ms<=50", "--html=a.html")
    assert done.code == 2
    assert "--html goes with finished runs" in done.err
    done = workplace.inside("capacity", "fp16", "--demand=3")
    assert done.code == 2
    assert "To measure it: harness capacity --server fp16" in done.err
    assert not workplace.runs
