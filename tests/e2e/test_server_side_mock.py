"""The server's side through the command line, by a page that tells the truth and one that lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

SERVER_CODES = {
    "telemetry_problem", "telemetry_damaged", "not_reconciled", "other_requests",
    "server_requests_differ", "server_tokens_differ", "server_ttft_differs", "prefix_cache_hits",
    "preempted", "kv_cache_full",
}  # fmt: skip
"""Not `telemetry_gap`: a busy machine may look late."""


def codes(cell: dict[str, Any]) -> set[str]:
    return SERVER_CODES & {caveat["code"] for caveat in cell["client"]["caveats"]}


def load(workplace: Workplace, url: str, *more: str) -> Done:
    return workplace.load(
        *("--url", url, "--profile", "closed", "--concurrency", "4", "--duration", "2"),
        *("--osl", "10", "--isl", "40", "--warmup", "4", "--quiet", *more),
    )


def test_a_page_that_tells_the_truth_agrees(workplace: Workplace, mock: StartMock) -> None:
    """Four streams, two slots: half of the time is spent in the queue."""
    done = load(workplace, mock("--ttft-ms=40", "--itl-ms=5", "--slots=2"))
    assert done.went_well
    [cell] = done.cells
    found, server = cell["reconciliation"], cell["server"]
    assert codes(cell) <= {"server_ttft_differs"}  # a busy machine is late to read a request
    assert found["problem"] == ""
    for name in ("requests", "prompt_tokens", "output_tokens"):
        assert found[name]["off"] == 0
        assert found[name]["server"] > 0
    assert server["running_peak"] == 2
    assert 1 <= server["waiting_peak"] <= 2
    assert server["prefix_cache_hit_rate"] == 0
    assert server["preemptions"] in {0, None}
    assert found["ttft"]["difference_ms"] >= 0
    time = found["time"]
    assert 0.3 < time["queue"] < 0.6
    assert sum(time[name] for name in ("queue", "prefill", "decode", "engine_rest", "outside")) == (
        pytest.approx(1)
    )
    page = (done.run / "report.html").read_text()
    assert "Requests in the engine" in page
    assert "of a request" in (done.run / "report.md").read_text()


def test_a_page_that_lies_is_caught(workplace: Workplace, mock: StartMock) -> None:
    lies = [f"--page-lie={name}" for name in ("tokens", "ttft", "hits")]
    done = load(workplace, mock("--ttft-ms=40", "--itl-ms=5", *lies))
    assert done.went_well  # whatever the page says, the client's numbers stand
    [cell] = done.cells
    assert codes(cell) == {"server_tokens_differ", "server_ttft_differs", "prefix_cache_hits"}
    assert cell["reconciliation"]["output_tokens"]["off"] > 0.3
    assert cell["server"]["prefix_cache_hit_rate"] == pytest.approx(0.5)
