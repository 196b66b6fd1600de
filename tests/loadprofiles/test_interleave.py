"""Requests dealt to several servers by turns, and their samples handed back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from loadprofiles.draw import Draw
from loadprofiles.errors import ProfileError
from loadprofiles.interleave import check_interleaved, interleave, split, turns_of
from loadprofiles.profile import Profile
from loadprofiles.records import (
    PLAN_FILE,
    SAMPLES_FILE,
    Sample,
    read_drive_report,
    read_plan,
    read_samples,
)

if TYPE_CHECKING:
    import subprocess

MS = 1_000_000
MakeCell = Callable[..., Path]
DRAW = Draw(3, "closed", 1.0, 1)


def lines(folder: Path) -> list[bytes]:
    return (folder / "bodies.jsonl").read_bytes().splitlines()


def profile(**fields: Any) -> Profile:  # noqa: ANN401 - a profile's fields
    return Profile.model_validate({
        "name": "mine",
        "arrival": {"kind": "closed"},
        "levels": [1],
        "prompt_tokens": 16,
        "output_tokens": 4,
        "duration_s": 5,
    } | fields)  # fmt: skip


@pytest.mark.parametrize("builds", [2, 3])
def test_every_second_round_is_the_mirror_image_of_the_one_before(builds: int) -> None:
    turns = turns_of(builds, 60, DRAW)
    rounds = [turns[at : at + builds] for at in range(0, len(turns), builds)]
    assert len(rounds) == 60
    assert all(sorted(one) == list(range(builds)) for one in rounds)
    for one, following in zip(rounds[::2], rounds[1::2], strict=True):
        assert following == one[::-1]
    assert {one[0] for one in rounds[::2]} == set(range(builds))  # nobody is always first
    assert turns == turns_of(builds, 60, DRAW)
    assert turns != turns_of(builds, 60, Draw(4, "closed", 1.0, 1))


def test_an_odd_number_of_rounds_ends_with_a_whole_one() -> None:
    assert sorted(turns_of(2, 3, DRAW)) == [0, 0, 0, 1, 1, 1]


def test_each_server_is_asked_its_own_bodies_in_their_order(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    cells = [
        make_cell(
            f"http://127.0.0.1:{port}/v1", mode="closed", streams=1, duration_ns=4, requests=9
        )
        for port in (81, 82)
    ]
    bodies = cells[1] / "bodies.jsonl"
    bodies.write_bytes(bodies.read_bytes().replace(b'"mock"', b'"other"'))
    plan = interleave(tmp_path, cells, DRAW)
    assert plan == read_plan(tmp_path)
    assert plan.turns is not None
    assert [plan.port, *(one.port for one in plan.replicas)] == [81, 82]
    assert (plan.warmup, plan.duration_ns, plan.requests) == (8, 8, 18)
    assert len(plan.output_tokens) == len(plan.turns) == len(lines(tmp_path)) == 2 * 260
    for turn, cell in enumerate(cells):
        own = [line for line, at in zip(lines(tmp_path), plan.turns, strict=True) if at == turn]
        assert own == lines(cell)
        assert sum(at == turn for at in plan.turns[: plan.warmup]) == 4


def test_samples_go_back_to_their_cells(make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [
        make_cell(f"http://127.0.0.1:{port}/v1", mode="closed", streams=1, requests=300, warmup=1)
        for port in (81, 82)
    ]
    plan = interleave(tmp_path, cells, DRAW)
    assert plan.turns is not None
    made, at_ns = [], 0
    for place in [0, 1, *range(2, 602)]:
        phase, seq = ("warmup", place) if place < 2 else ("measured", place - 2)
        body = place if place < 2 else 2 + seq % (len(plan.turns) - 2)
        took = (20, 30)[plan.turns[body]]
        made.append(
            Sample(
                seq=seq, body=body, request_id=f"{place}", phase=phase, due_ns=at_ns,
                sent_ns=at_ns, done_ns=at_ns + took, endpoint=plan.turns[body],
                connect_ns=1 if place < 2 else None,
            )
        )  # fmt: skip
        at_ns += took
    report = {
        "ended": "done", "window_start_ns": 50, "window_end_ns": at_ns - 5, "clock": "kernel",
        "wall_minus_monotonic_ns": 0, "clock_step_ns": 0, "cpu_s": 0.1, "run_delay_s": None,
        "gc_collections": 0, "connections": 2, "samples": 602, "versions": {},
    }  # fmt: skip
    (tmp_path / SAMPLES_FILE).write_bytes(b"".join(msgspec.json.encode(s) + b"\n" for s in made))
    (tmp_path / "drive.json").write_bytes(msgspec.json.encode(report))
    split(tmp_path, cells)
    last = made[-1].endpoint
    for place, cell in enumerate(cells):
        samples, own = list(read_samples(cell)), read_drive_report(cell)
        assert [sample.seq for sample in samples] == [0, *range(300)]
        assert [sample.body for sample in samples[1:]] == [1 + n % 256 for n in range(300)]
        assert {sample.endpoint for sample in samples} == {0}
        assert (own.samples, own.connections, own.window_end_ns) == (301, 1, at_ns - 5)
        others = (30, 20)[place] * 300 - (5 if last != place else 0)
        assert own.elsewhere_s == pytest.approx(others / 1e9)


def test_plans_that_one_driver_cannot_have_together(make_cell: MakeCell, tmp_path: Path) -> None:
    url = "http://127.0.0.1:81/v1"
    one = make_cell(url, mode="closed", streams=1, requests=9)
    other = make_cell(url, mode="closed", streams=1, requests=9, tokens=9)
    with pytest.raises(ProfileError, match="differ in output_tokens"):
        interleave(tmp_path, [one, other], DRAW)
    two = [make_cell(url, mode="closed", streams=2, requests=9) for _ in range(2)]
    with pytest.raises(ProfileError, match="one stream"):
        interleave(tmp_path, two, DRAW)
    assert not (tmp_path / PLAN_FILE).exists()


def test_what_cannot_be_interleaved() -> None:
    check_interleaved(profile(), [1])
    with pytest.raises(ProfileError, match="more than one stream"):
        check_interleaved(profile(), [1, 8])
    with pytest.raises(ProfileError, match="closed-loop"):
        check_interleaved(profile(arrival={"kind": "poisson"}), [1])
    with pytest.raises(ProfileError, match="think time"):
        check_interleaved(profile(arrival={"kind": "closed", "think_s": 1.0}), [1])


def test_two_servers_are_asked_in_turns(
    mock: Callable[..., str],
    make_cell: MakeCell,
    run_driver: Callable[[Path], subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    urls = [mock("--ttft-ms", ttft, "--itl-ms", "1") for ttft in ("5", "15")]
    cells = [make_cell(url, mode="closed", streams=1, requests=20, tokens=4) for url in urls]
    plan = interleave(tmp_path, cells, DRAW)
    run_driver(tmp_path)
    together = [one for one in read_samples(tmp_path) if one.phase == "measured"]
    together.sort(key=lambda sample: sample.seq)
    assert plan.turns is not None
    assert [one.endpoint for one in together] == plan.turns[8:48]
    for one, following in pairwise(together):
        assert (one.done_ns or 0) <= (following.sent_ns or 0)  # never two at once
    split(tmp_path, cells)
    ttft_ms = []
    for cell in cells:
        samples = list(read_samples(cell))
        assert read_drive_report(cell).samples == len(samples)
        assert sorted(s.seq for s in samples if s.phase == "measured") == list(range(20))
        assert sum(sample.phase == "warmup" for sample in samples) == 4
        ttft_ms.append(
            median(((s.first_ns or 0) - (s.sent_ns or 0)) / MS for s in samples if not s.error)
        )
    assert ttft_ms[0] < ttft_ms[1]
    elsewhere_s = [read_drive_report(cell).elsewhere_s for cell in cells]
    assert elsewhere_s[0] > elsewhere_s[1] > 0
