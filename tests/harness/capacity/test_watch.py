from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

import harness.capacity.watch as module
from harness.capacity.watch import Watch
from harness.measuring.slo import parse_slo
from loadprofiles.records import SAMPLES_FILE, DrivePlan, Sample
from tests.harness.cells import T0, S, answer

if TYPE_CHECKING:
    from pathlib import Path

RATE, WINDOW_S = 50, 20
DUE = [n * S // RATE for n in range(RATE * WINDOW_S)]
PLAN = DrivePlan(
    host="h", port=1, path="/", dialect="openai-completions", mode="open", due_ns=DUE,
    duration_ns=WINDOW_S * S, warmup=0, drain_s=1, timeout_s=60, output_tokens=[4] * len(DUE),
)  # fmt: skip


class Clock:
    """What the watch takes for the time."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s

    def monotonic_ns(self) -> int:
        return T0 + round(self.at_s * S)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def write(folder: Path, samples: list[Sample], *, half: bool = False) -> None:
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in samples)
    with (folder / SAMPLES_FILE).open("ab") as file:
        file.write(lines[:-9] if half else lines)


def watch(folder: Path, *, may_hold: bool = True) -> Watch:
    return Watch(folder, PLAN, parse_slo("ttft_due_p95_ms<=100"), [0.05], may_hold=may_hold)


def follow(folder: Path, clock: Clock, ttft_ms: float, *, may_hold: bool = True) -> float | None:
    """Answer every request so late; return when the watch said that it is enough, in s."""
    one = watch(folder, may_hold=may_hold)
    for second in range(1, WINDOW_S):
        seqs = range((second - 1) * RATE, second * RATE)
        write(folder, [answer(seq, seq / RATE, ttft_ms) for seq in seqs])
        clock.at_s = second + 0.5
        if not one.goes_on():
            assert not one.goes_on(), "it stays with what it said"
            return clock.at_s
    return None


def test_an_overloaded_probe_is_ended_early(tmp_path: Path, clock: Clock) -> None:
    ended_s = follow(tmp_path, clock, 900)
    assert ended_s is not None
    assert 0.3 * WINDOW_S <= ended_s < 0.5 * WINDOW_S


def test_one_that_holds_is_ended_where_nothing_broke_yet_and_only_there(
    tmp_path: Path, clock: Clock
) -> None:
    for name in ("far", "near"):
        (tmp_path / name).mkdir()
    ended_s = follow(tmp_path / "far", clock, 20)
    assert ended_s is not None
    assert ended_s > 0.5 * WINDOW_S
    assert follow(tmp_path / "near", clock, 20, may_hold=False) is None


def test_it_looks_once_a_second_and_waits_for_the_rest_of_a_line(
    tmp_path: Path, clock: Clock
) -> None:
    one = watch(tmp_path)
    assert one.goes_on(), "there is no file yet"
    late = [answer(seq, seq / RATE, 900) for seq in range(400)]
    write(tmp_path, late, half=True)
    clock.at_s = 0.5
    assert one.goes_on()
    assert one._offset == 0, "too soon"
    clock.at_s = 8.5
    assert not one.goes_on()
    whole = (tmp_path / SAMPLES_FILE).read_bytes().rfind(b"\n") + 1
    assert one._offset == whole


def test_a_page_of_the_file_that_is_not_filled_yet_is_read_with_the_next_look(
    tmp_path: Path, clock: Clock
) -> None:
    one = watch(tmp_path)
    write(tmp_path, [answer(seq, seq / RATE, 20) for seq in range(50)])
    path = tmp_path / SAMPLES_FILE
    there = path.read_bytes()
    rest = b"".join(
        msgspec.json.encode(answer(seq, seq / RATE, 900)) + b"\n" for seq in range(50, 450)
    )
    path.write_bytes(there + bytes(len(rest)) + b"\n")  # as a reader saw it beside its writer
    clock.at_s = 1.5
    assert one.goes_on()
    assert one._offset == len(there)
    path.write_bytes(there + rest)
    clock.at_s = 9.5
    assert not one.goes_on()
