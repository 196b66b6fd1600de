"""The comparison with nvidia-smi, of its own words; a GPU is asked by the benchmark only."""

from __future__ import annotations

import sys

import nvml
import pytest

from launchers.telemetry.records import Gpu, Reading

A, B = "GPU-a1", "GPU-b2"


def look(second: int, used_mib: float, own_mib: float | None, power: float) -> Reading:
    own = None if own_mib is None else round(own_mib * nvml.MIB)
    gpu = Gpu(
        index=0, uuid=A, memory_used_bytes=round(used_mib * nvml.MIB), memory_server_bytes=own,
        power_w=power, utilization=0.5, sm_clock_mhz=1700,
    )  # fmt: skip
    return Reading(at_ns=second, took_ms=1, gpus=[gpu])


SMI = nvml.Smi(
    cards=[
        (1, [A, "1000", "100.00", "40", "1700"]),
        (1, [B, "9000", "[N/A]", "0", "210"]),
        (2, [A, "8192", "200.00", "60", "1700"]),
        (9, [A, "9999", "999.00", "99", "1700"]),
    ],
    processes=[
        (1, ["7", A, "900"]),
        (2, ["7", A, "4000"]), (2, ["8", A, "4000"]), (2, ["9", B, "8000"]),
        (3, ["7", A, "[N/A]"]),
    ],
)  # fmt: skip


def compared(*looks: Reading, pids: set[int] | None = None) -> dict[str, nvml.Row]:
    return {row.name: row for row in nvml.rows(looks, SMI.within(0, 5), pids)}


def test_peaks_and_means_are_those_of_both() -> None:
    found = compared(look(1, 999, 900, 110), look(2, 8120, 7990, 190), look(3, 4000, 3900, 150))
    card, server = found["GPU 0 peak memory, MiB"], found["GPU 0 the server's peak, MiB"]
    assert (card.ours, card.theirs, card.verdict) == (8120, 8192, "PASS")
    assert (server.ours, server.theirs, server.verdict) == (7990, 8000, "PASS")
    power = found["GPU 0 mean power, W"]
    assert (power.ours, power.theirs, power.verdict) == (150, 150, "")
    assert found["GPU 0 mean utilization, %"].theirs == 50


def test_more_than_one_per_cent_apart_fails_and_what_nobody_tells_is_no_pass() -> None:
    assert compared(look(1, 8100, 0, 0))["GPU 0 peak memory, MiB"].verdict == "FAIL"
    own = compared(look(1, 8192, None, 0))["GPU 0 the server's peak, MiB"]
    assert (own.ours, own.verdict) == (None, "?")
    assert compared(look(1, 8192, 5, 0), pids={99})["GPU 0 the server's peak, MiB"].verdict == "?"
    assert compared(look(1, 0, 4010, 0), pids={7})["GPU 0 the server's peak, MiB"].theirs == 4000


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "has_gpus", lambda: False)
    monkeypatch.setattr(sys, "argv", ["nvml.py"])
    with pytest.raises(SystemExit, match="no NVIDIA GPU here"):
        nvml.main()
