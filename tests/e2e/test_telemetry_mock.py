"""What a run keeps of its server: memory, CPU and the engine's page beside the samples."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from launchers.telemetry.records import read_telemetry
from loadprofiles.records import read_drive_report, read_samples

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

LOAD = ("--profile", "closed", "--concurrency", "4", "--duration", "2", "--warmup", "4", "--quiet")
ODD_PAGES = """
import itertools, sys
from launchers.mock.__main__ import main
from launchers.mock.server import Server
truth, asked = Server._metrics, itertools.count()
tokens = b"# TYPE vllm:generation_tokens_total counter\\nvllm:generation_tokens_total "
odd = [tokens + b"0\\n", tokens + b"NaN\\n", bytes(range(256)), b"vllm:x 1\\n" * 600_000]
def page(self):
    at = next(asked) - 2  # the first two are what the launcher and the cell begin with
    return truth(self) if at < 0 else odd[at % len(odd)]
Server._metrics = page
at = sys.argv.index("--model")
port = next(word for word in sys.argv[at:] if word.startswith("--port="))
sys.argv = [sys.argv[0], port, *sys.argv[1:at]]
sys.exit(main())
"""
"""The mock with a page that says everything but the truth."""


def test_a_launched_servers_readings_surround_its_samples(workplace: Workplace) -> None:
    workplace.build("slow", "--ttft-ms", "20", "--itl-ms", "5", "--slots", "2")
    done = workplace.load("--server", "slow", *LOAD)
    assert done.went_well
    [cell] = done.cells
    folder = done.run / "cells" / cell["id"]
    readings, drive = read_telemetry(folder), read_drive_report(folder)
    samples = list(read_samples(folder))
    assert [one.problem for one in readings if one.problem] == []
    assert readings[0].at_ns < min(one.sent_ns for one in samples if one.sent_ns)
    assert readings[-1].at_ns > max(one.done_ns for one in samples if one.done_ns)
    assert len(readings) > 5
    measured = [r for r in readings if drive.window_start_ns <= r.at_ns <= drive.window_end_ns]
    peak = max(one.memory_bytes or 0 for one in measured)
    assert cell["server"]["memory_kind"] == "rss"
    assert cell["server"]["memory_peak_gib"] * 2**30 == peak
    used = [one.cpu_s for one in readings if one.cpu_s is not None]
    assert len(used) == len(readings)
    assert all(b >= a for a, b in pairwise(used))
    assert used[-1] > used[0]
    pages = [one.engine for one in readings if one.engine]
    first, last = pages[0], pages[-1]
    assert first.histograms
    assert last.histograms
    # Warm-up and cool-down are between the first page and the last, too; what was under way at
    # the end was broken off, and may have had tokens that nobody read any more.
    whole = [one for one in samples if one.error is None]
    assert (last.finished or 0) - (first.finished or 0) == len(whole)
    made = (last.generation_tokens or 0) - (first.generation_tokens or 0)
    read = sum(one.output_tokens or 0 for one in samples)
    assert read <= made <= read + 4 * 5
    inside = [p for p in pages if drive.window_start_ns < p.at_ns < drive.window_end_ns]
    assert max(page.running or 0 for page in inside) == 2
    assert max(page.waiting or 0 for page in inside) == 2


def test_a_url_has_its_page_and_one_without_a_page_is_measured_all_the_same(
    workplace: Workplace, mock: StartMock
) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1")
    short = (*LOAD[:4], "--duration", "1", *LOAD[6:])
    done = workplace.load("--url", url, *short)
    assert done.went_well
    readings = read_telemetry(done.run / "cells" / done.cells[0]["id"])
    assert all(one.memory_bytes is None for one in readings)
    assert sum(one.engine is not None for one in readings) >= 2
    assert done.cells[0]["server"]["memory_peak_gib"] is None


def test_pages_at_their_worst_cost_caveats_and_not_the_run(workplace: Workplace) -> None:
    workplace.build("odd", "--ttft-ms", "20", "--itl-ms", "5", program=ODD_PAGES)
    done = workplace.load("--server", "odd", *LOAD[:4], "--duration", "5", *LOAD[6:])
    assert done.went_well
    [cell] = done.cells
    assert cell["requests"]["ok"] > 20
    assert cell["metrics"]["ttft_ms"]["p50"] > 15
    assert cell["server"]["memory_peak_gib"] > 0
    told = {caveat["code"]: caveat["text"] for caveat in cell["client"]["caveats"]}
    assert "has more than 4 MiB" in told["telemetry_problem"]
    assert "has no name of an engine" in told["telemetry_problem"]
    assert "generation_tokens_total NaN" in told["telemetry_problem"]
    assert "not_reconciled" in told
    assert cell["server"]["prompt_tokens"] is cell["server"]["generation_tokens"] is None
