"""The whole path through the real command line against a server whose timing is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from harness.measuring.measurement import Measurements
from loadprofiles.records import BODIES_FILE, PLAN_FILE, read_drive_report, read_samples

if TYPE_CHECKING:
    from pathlib import Path

    from loadprofiles.records import Sample
    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

KNOWN = ("--ttft-ms=50", "--itl-ms=10")
TOKENS = 10
ANSWER_S = 0.05 + (TOKENS - 1) * 0.01
"""How long the mock takes for one answer of TOKENS tokens."""


def of_phase(done: Done, cell: dict[str, Any], phase: str = "measured") -> list[Sample]:
    samples = read_samples(done.run / "cells" / cell["id"])
    return [sample for sample in samples if sample.phase == phase]


def check_timing(cell: dict[str, Any]) -> None:
    """What the mock was told, seen from the client; never less, and not much more."""
    metrics = cell["metrics"]
    assert 50 <= metrics["ttft_ms"]["p50"] < 70
    assert 9 < metrics["itl_ms"]["p50"] < 13
    assert 9.5 < metrics["tpot_ms"]["p50"] < 13
    assert ANSWER_S * 1000 <= metrics["e2e_ms"]["p50"] < ANSWER_S * 1500
    low, high = metrics["ttft_ms"]["ci95"]["p50"]
    assert low <= metrics["ttft_ms"]["p50"] <= high


def check_counts(done: Done, cell: dict[str, Any]) -> None:
    """Everything adds up, in the cell and with its samples."""
    samples = of_phase(done, cell)
    requests = cell["requests"]
    assert requests["failed"] == requests["dropped"] == 0
    assert requests["sent"] == requests["ok"] == len(samples)
    assert all(s.output_tokens == s.planned_output_tokens == TOKENS for s in samples)
    assert cell["output_tokens"] == TOKENS * len(samples)
    assert cell["prompt_tokens"] == sum(s.prompt_tokens or 0 for s in samples) > len(samples)
    assert cell["token_source"] == "server"
    assert cell["tokens_per_chunk"] == 1
    assert cell["metrics"]["itl_ms"]["n"] == (TOKENS - 1) * len(samples)
    assert cell["metrics"]["e2e_ms"]["n"] == len(samples)


def test_eight_closed_streams(workplace: Workplace, mock: StartMock) -> None:
    done = workplace.load(
        *("--url", mock(*KNOWN), "--profile", "closed", "--concurrency", "8", "--duration", "3"),
        *("--osl", str(TOKENS), "--warmup", "8", "--quiet"),
    )
    assert done.went_well
    assert done.err == ""
    [cell] = done.cells
    check_timing(cell)
    check_counts(done, cell)
    assert cell["level"] == {"concurrency": 8}
    assert cell["window_s"] == pytest.approx(3.0)
    assert 7 < cell["in_flight_mean"] <= 8
    assert cell["in_flight_peak"] == 8
    capacity = 8 / ANSWER_S
    assert capacity * 0.6 < cell["metrics"]["request_rate"] <= capacity
    assert cell["metrics"]["aggregate_tps"] == pytest.approx(
        cell["metrics"]["request_rate"] * TOKENS, rel=0.1
    )
    assert len(of_phase(done, cell, "warmup")) >= 8
    assert cell["metrics"]["ttft_due_ms"]["p50"] == pytest.approx(
        cell["metrics"]["ttft_ms"]["p50"], abs=5
    )


def test_twenty_a_second_open(workplace: Workplace, mock: StartMock) -> None:
    done = workplace.load(
        *("--url", mock(*KNOWN), "--profile", "steady", "--request-rate", "20", "--duration", "5"),
        *("--output-tokens", str(TOKENS), "--warmup", "5", "--goodput", "ttft:200", "tpot:50"),
    )
    assert done.went_well
    [cell] = done.cells
    check_timing(cell)
    check_counts(done, cell)
    requests = cell["requests"]
    assert requests["planned"] == requests["sent"]
    assert cell["level"] == {"rate": 20.0}
    assert cell["offered_rate"] == pytest.approx(requests["planned"] / 5)
    assert cell["achieved_rate"] == pytest.approx(cell["offered_rate"], rel=0.05)
    assert 10 < cell["offered_rate"] < 30  # Poisson
    assert cell["stable"] is True
    assert abs(cell["backlog_growth_rps"]) < 2
    assert cell["in_flight_mean"] == pytest.approx(cell["offered_rate"] * ANSWER_S, rel=0.3)
    assert 0.9 * cell["offered_rate"] < cell["metrics"]["goodput"] <= cell["offered_rate"]
    plan = json.loads((done.run / "cells" / cell["id"] / PLAN_FILE).read_text())
    dues = {sample.seq: sample.due_ns for sample in of_phase(done, cell)}
    start_ns = dues[0] - plan["due_ns"][0]
    assert [dues[seq] - start_ns for seq in range(len(dues))] == plan["due_ns"]
    assert "measuring" in done.err


def test_a_rate_beyond_the_server_is_told(workplace: Workplace, mock: StartMock) -> None:
    """Two slots of 0.14 s are 14.3 requests a second; 1.3 times that is asked."""
    rate = 1.3 * 2 / ANSWER_S
    done = workplace.load(
        *("--url", mock(*KNOWN, "--slots=2"), "--profile", "constant", "--rate", f"{rate:.1f}"),
        *("--duration", "8", "--output-tokens", str(TOKENS), "--warmup", "2"),
    )
    assert done.went_well
    [cell] = done.cells
    check_counts(done, cell)
    assert cell["stable"] is False
    assert cell["backlog_growth_rps"] == pytest.approx(rate - 2 / ANSWER_S, rel=0.5)
    assert cell["achieved_rate"] == pytest.approx(rate, rel=0.05)  # it did not wait for answers
    ttft = cell["metrics"]["ttft_due_ms"]
    assert (ttft["p50"], ttft["mean"], ttft["max"], ttft["unstable"]) == (None, None, None, True)
    assert ttft["n"] == cell["requests"]["ok"]
    assert cell["metrics"]["itl_ms"]["p50"] is not None
    waited = [
        (sample.first_ns - sample.due_ns) / 1e6
        for sample in of_phase(done, cell)
        if sample.first_ns is not None
    ]
    assert max(waited) > 500  # what waiting there was is in the samples, none left out
    for page in (
        done.out,
        *((done.run / name).read_text() for name in ("report.md", "report.html")),
    ):
        assert "unstable" in page
        assert "the backlog grew by" in page
    assert cell["metrics"]["request_rate"] < 2 / ANSWER_S * 1.05
    [caveat] = [item for item in cell["client"]["caveats"] if item["code"] == "unstable"]
    assert caveat["invalidates"] is False
    assert "lower rate" in caveat["text"]


def test_levels_and_repeats_in_one_command(workplace: Workplace, mock: StartMock) -> None:
    done = workplace.load(
        *("--url", mock(*KNOWN), "--profile", "closed", "--level", "1,4", "--repeats", "2"),
        *("--num-prompts", "12", "--warmup", "0", "--osl", str(TOKENS)),
    )
    assert done.went_well
    ids = ["url-closed-c1-1", "url-closed-c4-1", "url-closed-c1-2", "url-closed-c4-2"]
    assert [cell["id"] for cell in done.cells] == ids
    assert [cell["repeat"] for cell in done.cells] == [1, 1, 2, 2]
    for cell in done.cells:
        assert cell["requests"]["planned"] == cell["requests"]["ok"] == 12
        check_counts(done, cell)
    bodies = {(done.run / "cells" / name / BODIES_FILE).read_bytes() for name in ids}
    assert len(bodies) == 4  # no prefix cache carries over
    manifest = json.loads((done.run / "manifest.json").read_text())
    assert [cell["id"] for cell in manifest["cells"]] == ids
    html = (done.run / "report.html").read_text()
    assert "12" in html
    assert 'src="http' not in html


def plan_of(run: Path, cell: str) -> tuple[dict[str, Any], bytes]:
    """A cell's plan without what the server decides, and its bodies."""
    plan = json.loads((run / "cells" / cell / PLAN_FILE).read_text())
    return {key: plan[key] for key in plan if key not in {"port", "cpus"}}, (
        run / "cells" / cell / BODIES_FILE
    ).read_bytes()


def test_two_builds_get_the_same_requests_at_the_same_moments(workplace: Workplace) -> None:
    workplace.build("one", *KNOWN)
    workplace.build("two", *KNOWN)
    done = workplace.load(
        *("--server", "one,two", "--profile", "steady", "--duration", "2", "--rate", "15"),
        *("--warmup", "3"),
    )
    assert done.went_well
    assert [cell["build"] for cell in done.cells] == ["one", "two"]
    one, two = (plan_of(done.run, f"{name}-steady-r15-1") for name in ("one", "two"))
    assert one == two
    assert len(one[0]["due_ns"]) > 10
    for cell in done.cells:
        assert cell["engine"] == "vllm"
        assert cell["server"]["memory_kind"] == "rss"
        assert 0.005 < cell["server"]["memory_peak_gib"] < 1
    manifest = json.loads((done.run / "manifest.json").read_text())
    assert manifest["servers"].keys() == {"one", "two"}
    assert workplace.processes() == []


def test_the_seed_decides(workplace: Workplace, mock: StartMock) -> None:
    url = mock("--ttft-ms=5", "--itl-ms=2")

    def plan(seed: int) -> tuple[bytes, bytes]:
        done = workplace.load(
            *("--url", url, "--profile", "steady", "--requests", "20", "--rate", "50"),
            *("--warmup", "2", "--seed", str(seed)),
        )
        folder = done.run / "cells" / "url-steady-r50-1"
        return (folder / PLAN_FILE).read_bytes(), (folder / BODIES_FILE).read_bytes()

    first, again, other = plan(1), plan(1), plan(2)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_what_is_printed_and_what_is_written_agree(workplace: Workplace, mock: StartMock) -> None:
    url = mock("--ttft-ms=5", "--itl-ms=2")
    asked = ("--url", url, "--profile", "bursty", "--duration", "7", "--output-tokens", "4")
    done = workplace.harness("load", *asked, "--metadata", "ticket=42", "--out", "there")
    assert done.code in {0, 4}
    [run] = (workplace.path / "there").iterdir()
    assert f"Report: {run / 'report.html'}" in done.out.replace("\n", "")
    assert "10/s" in done.out
    assert workplace.runs == []
    found = msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    assert found.run.path == str(run)
    assert found.cells[0].bursts is not None
    assert len(found.cells[0].bursts.bursts) == 1
    assert "--metadata ticket=42" in found.run.command
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["request"]["metadata"] == {"ticket": "42"}
    assert manifest["profile"]["duration_s"] == 7
    shown = workplace.harness("report", str(run), "--format", "json")
    assert json.loads(shown.out) == json.loads((run / "measurements.json").read_text())


def test_one_request_from_start_to_exit(workplace: Workplace, mock: StartMock) -> None:
    """How long that takes on an idle machine is for benchmarks/startup.py to say."""
    url = mock("--ttft-ms=5", "--itl-ms=1")
    argv = ("--url", url, "--profile", "steady", "--requests", "1", "--warmup", "0")
    done = workplace.load(*argv)
    assert done.went_well, done.err
    assert done.cells[0]["requests"]["ok"] == 1


def test_a_silent_server_is_told_after_one_time_out(workplace: Workplace, mock: StartMock) -> None:
    done = workplace.load(
        *("--url", mock("--fault=silent"), "--profile", "batch1", "--timeout", "2"),
    )
    assert done.code == 4
    [cell] = done.cells
    report = read_drive_report(done.run / "cells" / cell["id"])
    assert report.ended == "failed"
    assert report.window_end_ns == report.window_start_ns, "no window of 20 s"
    [caveat] = [item for item in cell["client"]["caveats"] if item["invalidates"]]
    assert caveat["code"] == "warmup_failed"
    assert "timeout: no end of the answer after 2 s" in caveat["text"]
    errors = [sample.error for sample in of_phase(done, cell, "warmup")]
    assert set(errors) <= {"timeout", "aborted"}
    assert errors.count("timeout") == 1, "not ten warm-ups of 2 s"


def test_a_server_of_harness_toml_with_its_defaults(workplace: Workplace, mock: StartMock) -> None:
    url = mock(*KNOWN)
    (workplace.path / "harness.toml").write_text(
        f'[servers.fleet]\nurl = "{url}"\nmodel = "mock"\n'
        '[defaults]\nserver = "fleet"\nprofile = "closed"\nduration = 1\nwarmup = 1\n'
        f'output_tokens = {TOKENS}\nout = "kept"\n'
    )
    done = workplace.load("--level", "1")
    assert done.code in {0, 4}, done.err
    [cell] = done.cells
    assert (cell["build"], cell["id"]) == ("fleet", "fleet-closed-c1-1")
    assert done.run.parent == workplace.path / "kept"
    assert cell["requests"]["ok"] > 0
