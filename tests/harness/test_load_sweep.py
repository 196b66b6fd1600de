"""A sweep under way at a server that is none: what is driven, and what ends it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from harness.config import find_profile, load_config
from harness.live import Live
from harness.load.request import LoadRequest
from harness.load.sweep import sweep
from harness.measuring.sweep import SweepPlan
from tests.harness.capacity.test_swept import at_rate, cell

if TYPE_CHECKING:
    from pathlib import Path

    from harness.load.matrix import Cell
    from harness.measuring.measurement import CellMeasurement

PLAN = SweepPlan(low=1, high=64, least=1, levels=16, limit_s=600, max_fail_ratio=0.05)


class Job:
    """A job that measures four slots, or four requests a second, at once."""

    def __init__(self, *, slow_s: float = 0.0) -> None:
        self.folder = None
        self.cells: list[Cell] = []
        self.ended: dict[str, str] = {}
        self.found: list[CellMeasurement] = []
        self.slow_s = slow_s
        self.clock_s = 0.0
        self.record = self
        self.begun = 0

    def cells_of(self, build: str) -> list[CellMeasurement]:
        return [one for one in self.found if one.build == build]

    def has(self, cell_id: str) -> bool:
        return cell_id in {one.id for one in self.found}

    def end_sweep(self, build: str, why: str) -> None:
        self.ended[build] = why

    def guarded(self, _: str) -> Any:  # noqa: ANN401 - a context
        return nullcontext()

    def begin(self, *_: object) -> None:
        self.begun += 1

    def drive_one(self, one: Cell, _: object) -> None:
        assert not self.has(one.id), "nothing is driven twice"
        if one not in self.cells:
            self.cells.append(one)
        self.clock_s += self.slow_s
        level = one.level
        made = cell(level, 100 * min(level, 4)) if one.closed else at_rate(level, min(level, 4))
        self.found.append(
            msgspec.structs.replace(made, id=one.id, build=one.build, repeat=one.repeat)
        )


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    monkeypatch.chdir(tmp_path)

    def make(profile: str, **changes: object) -> LoadRequest:
        request = LoadRequest(
            servers=[], profile=find_profile(profile, load_config(None)), levels=[1.0], sweep=PLAN,
            command=["harness", "load"],
        )  # fmt: skip
        return replace(request, **changes)  # type: ignore[arg-type]

    return make


def swept(request: LoadRequest, job: Job, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Sweep the build `a`; returns the levels in the order in which they were driven."""
    monkeypatch.setattr("harness.load.sweep.time", SimpleNamespace(monotonic=lambda: job.clock_s))
    served = SimpleNamespace(server=SimpleNamespace(build="a", max_model_len=None, provenance={}))
    source = SimpleNamespace(name="a", serve=lambda *_: nullcontext(served))
    with Live(quiet=True) as live:
        sweep(request, job, source, live)  # type: ignore[arg-type]
    return [one.level for one in job.cells]


def test_levels_come_until_the_plateau_is_confirmed_and_the_knee_surrounded(
    request_of: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Job()
    levels = swept(request_of("closed"), job, monkeypatch)
    assert levels[:5] == [1, 2, 4, 8, 12]
    assert set(levels[5:]) <= {3, 5, 6}
    assert job.ended == {}
    assert swept(request_of("closed"), job, monkeypatch) == levels, "it goes on with nothing"
    assert job.begun == 1, "and brings no server up for that"


def test_no_level_is_begun_that_would_end_too_late(
    request_of: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Job(slow_s=250)
    assert swept(request_of("closed"), job, monkeypatch) == [1, 2]
    assert job.ended == {"a": "time"}


def test_what_a_level_lacks_comes_first(
    request_of: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was killed in the second repeat of its second level."""
    job, request = Job(), request_of("closed", repeats=2)
    levels = swept(request, job, monkeypatch)
    assert levels[:4] == [1, 1, 2, 2]
    again = Job()
    again.cells, again.found = job.cells[:4], job.found[:3]
    assert swept(request, again, monkeypatch) == levels
    assert [one.id for one in again.found] == [one.id for one in job.found]


def test_a_rate_that_no_window_can_be_driven_at_ends_it(
    request_of: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = request_of("steady", sweep=msgspec.structs.replace(PLAN, low=1e6, least=1e6))
    job = Job()
    assert swept(request, job, monkeypatch) == []
    assert job.ended == {"a": "range"}
