"""A whole search, its folder and its JSON; the driver's part is played by a queue on paper."""

from __future__ import annotations

import heapq
import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from harness.capacity.request import SearchRequest
from harness.capacity.result import CAPACITY_FILE
from harness.capacity.run import run_search
from harness.capacity.weigh import read_capacity, weigh
from harness.config import find_profile, load_config
from harness.errors import BadInputError, ExitCode
from harness.live import Live
from harness.load.cell import UnderWay, facts_of
from harness.load.job import LoadJob
from harness.load.request import LoadRequest
from harness.measuring.remeasure import measure_folder, write_facts
from harness.measuring.slo import parse_slo
from harness.rundir import RunFolder
from harness.serving import Url
from launchers.server import Server
from loadprofiles.profile import Overrides
from loadprofiles.records import DRIVE_FILE, PLAN_FILE, SAMPLES_FILE, DrivePlan, DriveReport
from loadprofiles.traffic.timetable import departures_of
from tests.harness.cells import T0, S, answer

if TYPE_CHECKING:
    from pathlib import Path

    from harness.load.matrix import Cell
    from loadprofiles.records import Sample

SLOTS, SERVICE_S = 8, 0.08
SLO = "ttft_due_p95_ms<=100"
SERVER = Server(
    build="url", engine="mock", engine_version=None, base_url="http://h:1/v1", model="m"
)


def failure(one: Sample, error: str, at_ns: int) -> Sample:
    """Return the same request without an answer."""
    return msgspec.structs.replace(
        one, error=error, status=0, done_ns=at_ns, first_ns=None, first_answer_ns=None,
        last_ns=None, end_ns=None, finish_reason=None, output_tokens=None, chunk_ns=[], lag_us=[],
    )  # fmt: skip


class Queue:
    """A server of 8 slots, each busy for 80 ms with a request, in the driver's place."""

    def __init__(self) -> None:
        self.late_ms = 0.0
        self.late_above = 1e9
        self.ttft_ms = 50.0
        self.gaps_ms: tuple[float, ...] = (10, 10, 10)
        self.driven: list[str] = []
        self.stop_after = 99
        self.dead_from = 99
        """So many cells, and none of the requests is answered any more."""
        self.cut_at_s: float | None = None
        """Ctrl-C so long after a window's start: what was not answered by then is aborted."""

    def drive(self, job: LoadJob, cell: Cell, request: LoadRequest) -> None:
        """Write what a driver would have left of a cell."""
        if len(self.driven) >= self.stop_after:
            raise KeyboardInterrupt
        self.driven.append(cell.id)
        folder, profile = job.folder.cell(cell.id), request.profile
        if cell.closed:
            served = min(cell.level, SLOTS)
            due = [int(n * SERVICE_S / served * S) for n in range(60)]
            duration_ns = due[-1] + 1
        else:
            due = departures_of(profile, cell.level, repeat=cell.repeat, seed=request.seed)
            duration_ns = round((profile.duration_s or 0) * S)
        plan = DrivePlan(
            host="h", port=1, path="/", dialect="openai-completions",
            mode="closed" if cell.closed else "open",
            streams=int(cell.level) if cell.closed else None, due_ns=None if cell.closed else due,
            requests=60 if cell.closed else None, duration_ns=duration_ns, warmup=0, drain_s=1,
            timeout_s=60, output_tokens=[1 + len(self.gaps_ms)] * len(due),
            rate=None if cell.closed else cell.level,
            arrival=None if cell.closed else {"kind": "poisson"},
        )  # fmt: skip
        drive = DriveReport(
            ended="done", window_start_ns=T0, window_end_ns=T0 + duration_ns, clock="kernel",
            wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=0, run_delay_s=0, gc_collections=0,
            connections=1, samples=len(due), versions={},
        )  # fmt: skip
        late_ms = self.late_ms if cell.level > self.late_above else 0.0
        waits = [0.0] * len(due) if cell.closed else self._waits_ms(due)
        samples = [
            answer(
                n, at / S, self.ttft_ms + wait + late_ms, self.gaps_ms,
                sent_ns=T0 + at + round(late_ms * 1e6),
            )
            for n, (at, wait) in enumerate(zip(due, waits, strict=True))
        ]  # fmt: skip
        (folder / PLAN_FILE).write_bytes(msgspec.json.encode(plan))
        (folder / DRIVE_FILE).write_bytes(msgspec.json.encode(drive))
        if len(self.driven) > self.dead_from:
            samples = [failure(one, "connect", one.due_ns) for one in samples]
        if self.cut_at_s is not None:
            end_ns = T0 + round(self.cut_at_s * S)
            samples = [one if (one.done_ns or 0) <= end_ns else failure(one, "aborted", end_ns)
                       for one in samples if one.due_ns < end_ns]  # fmt: skip
            drive = msgspec.structs.replace(drive, ended="interrupted", window_end_ns=end_ns)
            (folder / DRIVE_FILE).write_bytes(msgspec.json.encode(drive))
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in samples)
        (folder / SAMPLES_FILE).write_bytes(lines)
        facts = facts_of(request, UnderWay(cell=cell, plan=plan, server=SERVER))
        write_facts(folder, facts)
        if cell not in job._cells:
            job._cells.append(cell)
        job.record.add_cell(measure_folder(folder, request.slo))
        job.record.save()
        if self.cut_at_s is not None:
            raise KeyboardInterrupt

    @staticmethod
    def _waits_ms(due: list[int]) -> list[float]:
        free, waits = [0.0] * SLOTS, []
        for at in due:
            begins = max(heapq.heappop(free), at / S)
            heapq.heappush(free, begins + SERVICE_S)
            waits.append((begins - at / S) * 1000)
        return waits


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    return in_place(monkeypatch)


def in_place(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Put a queue where the driver would be."""
    made = Queue()

    def drive_one(
        self: LoadJob, cell: Cell, _served: object, request: LoadRequest, _watch: object = None
    ) -> None:
        made.drive(self, cell, request)

    monkeypatch.setattr(LoadJob, "drive_one", drive_one)
    monkeypatch.setattr("harness.serving.connect_all", lambda *_, **__: SERVER)
    return made


def asked(slo: str = SLO, probes: int = 9, **changes: Any) -> SearchRequest:  # noqa: ANN401
    limits = parse_slo(slo)
    profile = find_profile("steady", load_config(None)).with_overrides(Overrides(output_tokens=4))
    load = LoadRequest(
        servers=[Url(urls=("http://h:1/v1",))],
        profile=profile,
        levels=[10.0],
        slo=limits,
        asked={"slo": slo, "search": {"probes": probes, "precision": 0.1}},
        command=["harness", "capacity"],
    )
    return SearchRequest(
        load=load, slo=limits, probes=probes, precision=0.1, **{"duration_s": 4.0, **changes}
    )


def search(request: SearchRequest, out: Path, resume: RunFolder | None = None) -> tuple[Any, int]:
    run, code = run_search(request, out, Live(quiet=True), resume)
    return read_capacity(run), code


def test_it_finds_the_limit_and_writes_what_anybody_can_compute_again(
    queue: Queue, tmp_path: Path
) -> None:
    """With 50 ms to wait the limit is 78.2/s (benchmarks/goodput_search.py)."""
    found, code = search(asked(), tmp_path)
    assert code == ExitCode.OK
    assert found.outcome in {"found", "imprecise"}
    assert found.max_rate == pytest.approx(78.2, rel=0.1)
    assert found.max_rate_ci95[0] <= found.max_rate <= found.max_rate_ci95[1]
    assert [one.streams for one in found.probes[:2]] == [1, 32]
    assert [one.cell for one in found.probes] == queue.driven
    for one in found.probes[2:]:
        [limit] = one.limits
        assert one.met == (limit.broken <= limit.allowed == pytest.approx(0.05))
    [run] = tmp_path.iterdir()
    assert weigh(RunFolder(run)) == found, "a pure function of the folder"
    text = json.loads((run / CAPACITY_FILE).read_text())
    assert {"slo", "max_rate", "max_rate_ci95", "probes", "saturation", "caveats"} <= text.keys()
    assert (run / "report.html").is_file(), "its cells are an ordinary run's"


def test_a_search_that_was_cut_off_goes_on_with_the_same_probes(
    queue: Queue, tmp_path: Path
) -> None:
    queue.stop_after = 4
    cut, code = search(asked(), tmp_path / "cut")
    assert code == ExitCode.INTERRUPTED
    assert len(cut.probes) == 4
    queue.stop_after = 99
    [folder] = (tmp_path / "cut").iterdir()
    went_on, code = search(asked(), tmp_path, RunFolder(folder))
    assert code == ExitCode.OK
    before, queue.driven = queue.driven, []
    whole, _ = search(asked(), tmp_path / "whole")
    assert before == queue.driven, "no probe twice, and none other"
    assert went_on.max_rate == pytest.approx(whole.max_rate)
    assert [one.code for one in went_on.caveats if one.code == "interrupted"] == []


@pytest.mark.usefixtures("queue")
def test_limits_that_one_request_alone_breaks_are_met_at_no_load(tmp_path: Path) -> None:
    found, code = search(asked("ttft_due_p95_ms<=40"), tmp_path)
    assert (found.outcome, found.max_rate, code) == ("not_met_at_any_load", None, ExitCode.FAIL)
    assert len(found.probes) == 1, "nothing more was asked"


def test_a_server_that_answers_nothing_any_more_ends_the_search_and_counts_for_nothing(
    queue: Queue, tmp_path: Path
) -> None:
    """Three cells are answered; the fourth probe's refusals would else be a rate that broke."""
    queue.dead_from = 3
    cut, code = search(asked(), tmp_path)
    assert code == ExitCode.SERVER
    assert (cut.outcome, cut.max_rate) == ("unfinished", None)
    assert [one.empty for one in cut.probes] == [False, False, False, True]
    assert cut.probes[3].met is None
    assert "server_failed" in {one.code for one in cut.caveats}
    assert "client_too_slow" not in {one.code for one in cut.caveats}
    queue.dead_from = 99
    [folder] = tmp_path.iterdir()
    found, code = search(asked(), tmp_path, RunFolder(folder))
    assert code == ExitCode.OK
    assert found.max_rate == pytest.approx(78.2, rel=0.1)
    assert not any(one.empty for one in found.probes), "it was driven again"


def test_what_ctrl_c_aborted_has_broken_no_limit(queue: Queue, tmp_path: Path) -> None:
    queue.cut_at_s = 0.1  # the second request of the first scout is under way
    cut, code = search(asked("e2e_p95_ms<=500"), tmp_path)
    assert code == ExitCode.INTERRUPTED
    assert (cut.outcome, cut.max_rate) == ("unfinished", None)
    assert cut.probes[0].limits[0].broken == 0


def test_a_search_that_is_cut_off_before_the_first_answer_blames_no_server(
    queue: Queue, tmp_path: Path
) -> None:
    queue.cut_at_s = 0.05
    cut, code = search(asked(), tmp_path)
    assert (cut.outcome, code) == ("unfinished", ExitCode.INTERRUPTED)
    [probe] = cut.probes
    assert (probe.streams, probe.empty, probe.met) == (1, True, None)


def test_a_client_that_is_too_slow_is_no_servers_limit(queue: Queue, tmp_path: Path) -> None:
    """It lets requests go 60 ms late above 60/s; taken for the server's that would be its limit."""
    queue.late_ms, queue.late_above = 60.0, 60.0
    found, code = search(asked(probes=7), tmp_path)
    assert (found.outcome, found.max_rate) == ("not_reached_by_client", None)
    assert code == ExitCode.INCONCLUSIVE
    slow = [one for one in found.probes if one.rate is not None and one.rate > 60]
    assert slow
    assert all(one.met is None for one in slow)
    assert "client_too_slow" in {one.code for one in found.caveats}


def test_a_profile_that_keeps_streams_open_has_no_rate(tmp_path: Path) -> None:
    request = asked()
    closed = find_profile("closed", load_config(None))
    bad = SearchRequest(
        load=LoadRequest(
            servers=request.load.servers, profile=closed, levels=[1.0], command=["harness"]
        ),
        slo=request.slo,
    )
    with pytest.raises(BadInputError, match="keeps streams open"):
        run_search(bad, tmp_path, Live(quiet=True))
    assert not list(tmp_path.iterdir())


def test_a_probe_is_long_enough_for_its_requests_and_for_its_answers() -> None:
    request = asked(duration_s=None)
    assert request.probe(100.0, 0.1).duration_s == 15
    assert request.probe(50.0, 0.1).duration_s == 30
    assert request.probe(1.0, 0.1).duration_s == 60
    assert request.probe(1.0, 12.0).duration_s == 120
    assert request.probe(0.1, 2.0).duration_s == 200, "some requests there must be"
    assert request.probe(0.001, 2.0).duration_s == 900
    assert request.probe(100.0, 0.1, 9.0).duration_s == 45, "sessions must come to their end"
    assert request.scout(32, 2.0).duration_s == 10
    assert request.scout(1, None).is_closed
    assert np.isclose(request.scout(32, 100.0).duration_s or 0, 30)
