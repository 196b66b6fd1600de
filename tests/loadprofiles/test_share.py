"""How a cell is shared out among workers, and put together again."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from loadprofiles.records import DrivePlan, DriveReport, Progress, Sample
from loadprofiles.wire.clock import Offset, offset_of
from loadprofiles.workers.fleet import Member, how_it_died, joint_progress, joint_report
from loadprofiles.workers.messages import PIECE_BYTES, Hello, Manifest
from loadprofiles.workers.share import Share, Translation, share_of
from loadprofiles.workers.shipping import NewLines, new_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MS = 1_000_000
S = 1000 * MS


def plan_of(measured: int, warmup: int = 0, **fields: Any) -> DrivePlan:  # noqa: ANN401
    base: dict[str, Any] = {
        "host": "h", "port": 1, "path": "/", "dialect": "openai-chat", "drain_s": 1.0,
        "timeout_s": 1.0, "mode": "open", "warmup": warmup,
        "output_tokens": list(range(measured + warmup)),
    }  # fmt: skip
    return DrivePlan(**(base | fields))


def shares(plan: DrivePlan, workers: int) -> list[Share]:
    found = [share_of(plan, index, workers) for index in range(workers)]
    return [share for share in found if share is not None]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_a_schedule_is_shared_out_whole(workers: int, warmup: int) -> None:
    due = [n * n * MS for n in range(50)]
    plan = plan_of(50, warmup, due_ns=due, prompt_tokens=list(range(100, 150 + warmup)))
    parts = shares(plan, workers)
    assert len(parts) == workers
    assert sorted(chain(*(part.lines for part in parts))) == list(range(50 + warmup))
    assert sorted(chain(*(part.plan.due_ns or [] for part in parts))) == due
    for part in parts:
        assert part.plan.due_ns == sorted(part.plan.due_ns or [])
        assert part.plan.output_tokens == part.lines
        assert part.plan.prompt_tokens == [100 + line for line in part.lines]
        assert len(part.plan.due_ns or []) + part.plan.warmup == len(part.lines)
    sizes = Counter(len(part.plan.due_ns or []) for part in parts)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("requests", [None, 20, 33, 100])
def test_streams_and_requests_are_shared_out_whole(workers: int, requests: int | None) -> None:
    plan = plan_of(33, 7, mode="closed", streams=7, requests=requests, think_ns=list(range(33)))
    parts = shares(plan, workers)
    assert sum(part.plan.streams or 0 for part in parts) == 7
    assert sum(part.plan.warmup for part in parts) == 7
    if requests is not None:
        assert sum(part.plan.requests or 0 for part in parts) == requests
    for part in parts:
        assert part.plan.warmup >= (part.plan.streams or 0)
        assert part.plan.think_ns == [line - 7 for line in part.lines[part.plan.warmup :]]


def test_no_more_workers_than_there_is_work_for() -> None:
    for plan in (
        plan_of(9, 2, mode="closed", streams=2),
        plan_of(9, 2, due_ns=[0, 1]),
        plan_of(9, 4, mode="closed", streams=4, requests=2),
    ):
        assert [share_of(plan, index, 4) is None for index in range(4)] == [
            False,
            False,
            True,
            True,
        ]
        assert [share.workers for share in shares(plan, 4)] == [2, 2]


def test_sessions_stay_together() -> None:
    """Five sessions of 3, 1, 2, 3 and 2 turns: the first turns come first."""
    after = [-1, -1, -1, -1, -1, 0, 5, 2, 3, 8, 4]
    plan = plan_of(11, 1, due_ns=[0, 1, 2, 3, 4], after=after, think_ns=list(range(11)))
    for workers in (1, 2, 3):
        parts = shares(plan, workers)
        assert sorted(chain(*(part.lines for part in parts))) == sorted([0, *range(1, 12)])
        for part in parts:
            mine = [line - 1 for line in part.lines[part.plan.warmup :]]
            for position, before in zip(mine, part.plan.after or [], strict=True):
                wanted = after[position]
                assert (mine[before] if before >= 0 else -1) == wanted
            roots = [position for position in mine if after[position] < 0]
            assert part.plan.due_ns == roots, "as many departures as sessions, in order"
            assert mine[: len(roots)] == roots
            assert part.plan.think_ns == mine


def sample(seq: int, phase: str, body: int = 0) -> Sample:
    return Sample(
        seq=seq, body=body, request_id="r", phase=phase, due_ns=10 * S, submitted_ns=11 * S,  # type: ignore[arg-type]
        sent_ns=12 * S, first_ns=13 * S, first_answer_ns=13 * S, last_ns=14 * S, end_ns=15 * S,
        done_ns=16 * S, chunk_ns=[S], connect_ns=7,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_samples_are_numbered_as_one_drivers(workers: int) -> None:
    plan = plan_of(10, 4, mode="closed", streams=4)
    found: dict[str, list[tuple[int, int]]] = {"measured": [], "warmup": [], "cooldown": []}
    for share in shares(plan, workers):
        translate = Translation(share, 0)
        own = len(share.lines) - share.plan.warmup
        for seq in range(2 * own):  # the second time it starts over
            told = translate(sample(seq, "measured", share.plan.warmup + seq % own))
            found["measured"].append((told.seq, told.body))
            assert told.worker == share.index
        for phase in ("warmup", "cooldown"):
            found[phase] += [(translate(sample(seq, phase)).seq, 0) for seq in range(3)]
    assert sorted(found["measured"]) == [(n, 4 + n % 10) for n in range(20)]
    assert sorted(seq for seq, _ in found["warmup"]) == list(range(3 * workers))


def test_moments_are_shifted_and_spans_are_not() -> None:
    share = share_of(plan_of(4, due_ns=[0, 1, 2, 3]), 1, 2)
    assert share is not None
    told = Translation(share, 5 * S)(sample(1, "measured"))
    assert (told.due_ns, told.submitted_ns, told.sent_ns, told.first_ns) == (
        5 * S,
        6 * S,
        7 * S,
        8 * S,
    )
    assert (told.first_answer_ns, told.last_ns, told.end_ns, told.done_ns) == (
        8 * S, 9 * S, 10 * S, 11 * S,
    )  # fmt: skip
    assert (told.chunk_ns, told.connect_ns, told.seq) == ([S], 7, 3)
    moments = {name for name in Sample.__struct_fields__ if name.endswith("_ns")}
    assert moments - {"chunk_ns", "connect_ns"} == {
        name for name in Sample.__struct_fields__ if name.endswith("_ns") and getattr(told, name)
        and getattr(told, name) != getattr(sample(1, "measured"), name)
    }  # fmt: skip


def test_a_share_survives_the_wire() -> None:
    share = share_of(plan_of(4, 2, due_ns=[0, 1, 2, 3]), 0, 2)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(share), type=Share) == share


def test_the_quickest_exchange_tells_the_offset() -> None:
    """The other's clock is 1000 behind; each way takes its time."""
    pings = [
        (t, t + out - 1000, t + out + back) for t, out, back in ((0, 9, 1), (50, 2, 3), (90, 4, 4))
    ]
    offset = offset_of(pings)
    assert offset == Offset(1000, 3)
    assert abs(offset.ns - 1000) <= offset.error_ns
    assert offset.to_apply_ns == 1000
    assert offset_of([(0, 7, 10)]).to_apply_ns == 0, "nothing that the error cannot explain"


def test_new_lines_come_whole_and_once(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with path.open("wb") as file:
        lines = NewLines(path)
        assert lines.read() is None
        file.write(b"one\ntwo")
        file.flush()
        assert lines.read() == b"one\n"
        assert lines.read() is None
        file.write(b" and more\n" + b"x" * 3 * PIECE_BYTES + b"\nlast\n")
        file.flush()
        assert lines.read() == b"two and more\n" + b"x" * 3 * PIECE_BYTES + b"\n"
        assert lines.read() == b"last\n"
        assert lines.read() is None
        lines.close()
    whole = new_digest()
    whole.update(path.read_bytes())
    assert (lines.lines, lines.digest.digest()) == (4, whole.digest())


def member(index: int = 0, **changes: Any) -> Member:  # noqa: ANN401
    hello = Hello(token="t", slot=None, host="there", pid=5, version="1", code="c")
    found = Member(index=index, client_id=f"c{index}", hello=hello)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def report(**fields: Any) -> DriveReport:  # noqa: ANN401
    base: dict[str, Any] = {
        "ended": "done", "window_start_ns": 100 * S, "window_end_ns": 110 * S, "clock": "kernel",
        "wall_minus_monotonic_ns": 0, "clock_step_ns": 0, "cpu_s": 4.0, "run_delay_s": 0.5,
        "gc_collections": 0, "connections": 3, "samples": 0, "versions": {},
    }  # fmt: skip
    return DriveReport(**(base | fields))


def manifest(found: Member, drive: DriveReport | None = None) -> Manifest:
    return Manifest(
        samples=found.received, digest=found.digest.hexdigest(), report=drive,
        offset_ns=0, error_ns=1, drift_ns=0,
    )  # fmt: skip


@pytest.mark.parametrize("lost", ["nothing", "a line", "a byte"])
def test_a_manifest_is_compared_with_what_has_come(lost: str) -> None:
    found = member(received=2)
    found.digest.update(b"a\nb\n")
    told = manifest(found)
    if lost == "a line":
        found.received = 1
    elif lost == "a byte":
        found.digest.update(b"!")
    found.hand_over(told)
    assert (found.problem is None) == (lost == "nothing")
    assert not found.here


def joined(members: Sequence[Member], **changes: Any) -> DriveReport:  # noqa: ANN401
    told: dict[str, Any] = {"start_ns": 500 * S, "problem": None, "versions": {"python": "3"}}
    plan = changes.pop("plan", plan_of(4, due_ns=[0, 1, 2, 3], duration_ns=10 * S))
    return joint_report(plan, members, **(told | changes))


def test_reports_are_added_up() -> None:
    members = [member(0, received=5), member(1, received=7)]
    members[0].hand_over(manifest(members[0], report(clock_step_ns=3)))
    members[1].hand_over(
        manifest(members[1], report(cpu_s=6.0, window_end_ns=120 * S, clock_step_ns=-9))
    )
    found = joined(members, plan=plan_of(4, mode="closed", streams=2))
    assert (found.window_start_ns, found.window_end_ns) == (500 * S, 520 * S)
    assert [worker.cpu_s for worker in found.workers] == [8.0, 6.0], (
        "4 s in 10 of 20 s, and 6 in 20"
    )
    assert (found.cpu_s, found.run_delay_s, found.connections) == (14.0, 1.5, 6)
    assert (found.samples, found.clock_step_ns, found.clock) == (12, -9, "kernel")
    assert (found.ended, found.problem) == ("done", None)


def test_requests_end_the_window_with_the_last_answer() -> None:
    share = share_of(plan_of(4, mode="closed", streams=2, requests=4), 0, 2)
    members = [
        member(0, share=share, measured_ns=507 * S),
        member(1, share=share, measured_ns=509 * S),
    ]
    for one in members:
        one.hand_over(manifest(one, report()))
    found = joined(members, plan=plan_of(4, mode="closed", streams=2, requests=4))
    assert found.window_end_ns == 509 * S


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (("done", "stopped"), "stopped"),
        (("interrupted", "stopped"), "interrupted"),
        (("failed", "interrupted"), "failed"),
    ],
)
def test_the_gravest_end_is_told(how: tuple[str, str], expected: str) -> None:
    members = [member(0), member(1)]
    for one, ended in zip(members, how, strict=True):
        problem = "nobody answered" if ended == "failed" else None
        one.hand_over(manifest(one, report(ended=ended, problem=problem)))
    found = joined(members)
    assert found.ended == expected
    if expected == "failed":
        assert found.problem == "worker 0 (process 5 on there): nobody answered"
    assert joined(members, problem="one died").ended == "worker_lost"


def test_all_workers_gone() -> None:
    found = joined([member(0, lost=True, problem="died", received=3)], problem="worker 0 died")
    assert (found.ended, found.samples, found.clock) == ("worker_lost", 3, "user")
    assert found.window_end_ns == found.window_start_ns
    assert found.workers[0].problem == "died"


def progress(phase: str, **fields: Any) -> Progress:  # noqa: ANN401
    base: dict[str, Any] = {
        "elapsed_s": 1.0, "left_s": 2.0, "sent": 5, "ok": 3, "failed": 1, "in_flight": 2,
        "chunks_per_s": 10.0, "ttft_p50_ms": 20.0, "ttft_p95_ms": None,
    }  # fmt: skip
    return Progress(phase=phase, **(base | fields))  # type: ignore[arg-type]


def test_progress_is_added_up() -> None:
    members = [
        member(0, progress=progress("measured", ttft_p95_ms=50.0)),
        member(1, progress=progress("warmup", ttft_p50_ms=30.0)),
        member(2),
    ]
    found = joint_progress(members, started=True)
    assert (found.phase, found.sent, found.ok, found.failed, found.in_flight) == (
        "warmup", 10, 6, 2, 4,
    )  # fmt: skip
    assert (found.chunks_per_s, found.ttft_p50_ms, found.ttft_p95_ms) == (20.0, 30.0, 50.0)
    begin = joint_progress([], started=False)
    assert (begin.phase, begin.chunks_per_s) == ("connect", None)


def test_how_a_process_ended() -> None:
    assert how_it_died(-9) == "was killed by SIGKILL"
    assert how_it_died(3) == "ended with exit status 3"
    assert how_it_died(-99) == "was killed by signal 99"
