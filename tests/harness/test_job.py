from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import pytest

from harness.config import find_profile, load_config
from harness.errors import OutOfTimeError, ServerError
from harness.live import Live
from harness.load.job import LoadJob
from harness.load.request import LoadRequest
from harness.measuring.measurement import Caveat
from harness.measuring.remeasure import measure_folder
from harness.rundir import RunFolder
from harness.serving import Connected, Url
from launchers.build import Build
from launchers.url import connect
from loadprofiles.profile import Overrides
from loadprofiles.records import DRIVE_FILE, read_drive_report
from tests.harness.test_remeasure import drive_cell

if TYPE_CHECKING:
    from pathlib import Path

    from harness.load.matrix import Cell
    from tests.conftest import StartMock


def test_a_manifest_names_the_dialect_though_no_flag_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison and a gate have no such flag, and their cells are compared with `load`'s."""
    monkeypatch.chdir(tmp_path)
    request = LoadRequest(
        servers=[],
        profile=find_profile("closed", load_config(None)),
        levels=[1.0],
        asked={"names": ["fp16"]},
        command=["harness", "compare", "fp16"],
    )
    job = LoadJob(request, RunFolder(tmp_path), Live(quiet=True), ["fp16"])
    job.record.save()
    manifest: Any = RunFolder(tmp_path).read_manifest()
    assert manifest["request"] == {
        "dialect": "openai-completions",
        "no_stream": False,
        "names": ["fp16"],
    }


def test_a_run_goes_on_with_the_cells_that_were_not_driven_to_their_end(tmp_path: Path) -> None:
    def job() -> LoadJob:
        request = LoadRequest(
            servers=[],
            profile=find_profile("closed", load_config(None)),
            levels=[1.0, 8.0],
            repeats=2,
            order="mirrored",
            command=["harness", "compare", "awq", "nf4"],
        )
        return LoadJob(request, RunFolder(tmp_path), Live(quiet=True), ["awq", "nf4"])

    before = job()
    whole, cut = before.visits[0].cells
    unread = before.visits[1].cells[0]
    for cell in (whole, cut, unread):
        folder = before.folder.cell(cell.id)
        drive_cell(folder, int(cell.level))
        if cell != unread:  # killed after it was driven, and before its numbers were made
            before.record.add_cell(measure_folder(folder, None))
    cut_off = before.folder.cell(cut.id)
    report = msgspec.structs.replace(read_drive_report(cut_off), ended="interrupted")
    (cut_off / DRIVE_FILE).write_bytes(msgspec.json.encode(report))
    before.record.add_server(before.visits[0], {"ready_s": 20.0})
    before.record.add_problem("interrupted", "interrupted: 2 of 8 cells have numbers")
    before.record.save()

    after = job()
    assert [visit.cells for visit in after.visits] == [visit.cells for visit in before.visits]
    assert cut in after.todo(after.visits[0])
    assert whole not in after.todo(after.visits[0])
    assert after.todo(after.visits[1]) == list(after.visits[1].cells)
    assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == [whole.id]
    told = after.record.measurements()
    assert [one.code for one in told.caveats] == ["incomplete"], "nothing was measured yet"
    after.record.add_server(after.visits[0], {"ready_s": 21.0})
    after.record.add_server(after.visits[1], {"ready_s": 22.0, "argv": ["--trust-remote-code"]})
    after.record.save()
    told = after.record.measurements()
    assert [cell.id for cell in told.cells] == [whole.id]
    assert [one.code for one in told.caveats] == ["resumed", "model_code", "incomplete"]
    assert "1 of 8 cells are from before" in told.caveats[0].text
    manifest: Any = after.folder.read_manifest()
    assert [visit["ready_s"] for visit in manifest["visits"]] == [20.0, 21.0, 22.0]
    assert [gap["kept"] for gap in manifest["resumed"]] == [1]
    assert manifest["run"] == msgspec.to_builtins(before.record.measurements().run)


def test_interleaved_cells_go_on_together(tmp_path: Path) -> None:
    """A cell whose pair is missing is driven again: they are requests in turns."""
    builds = [
        (Build.model_validate({"name": name, "engine": "vllm", "model": "m"}), tmp_path)
        for name in ("awq", "nf4")
    ]

    def job() -> LoadJob:
        request = LoadRequest(
            servers=builds,
            profile=find_profile("closed", load_config(None)),
            levels=[1.0],
            repeats=2,
            interleave=True,
            command=["harness", "compare", "awq", "nf4", "--interleave"],
        )
        return LoadJob(request, RunFolder(tmp_path), Live(quiet=True), ["awq", "nf4"])

    before = job()
    first, second = (visit.cells for visit in before.visits)
    for cell in (first[0], second[0], first[1]):  # of the second repeat one is not there
        drive_cell(before.folder.cell(cell.id), 1)
        before.record.add_cell(measure_folder(before.folder.cell(cell.id), None))
    before.record.save()
    after = job()
    assert [after.todo(visit) for visit in after.visits] == [[first[1]], [second[1]]]
    assert not (tmp_path / "cells" / first[1].id).exists()


def test_a_cell_that_the_client_made_invalid_is_driven_once_more(
    tmp_path: Path, mock: StartMock
) -> None:
    """The driver is made to stand still for a while, as on a machine that others use, too."""
    root = mock("--ttft-ms", "5", "--itl-ms", "2")
    shape = find_profile("closed", load_config(None))

    def job() -> LoadJob:
        request = LoadRequest(
            servers=[Url(urls=(root,), name="mock")],
            profile=shape.with_overrides(Overrides(duration_s=2, warmup=2, output_tokens=64)),
            levels=[2.0],
            again=True,
            command=["harness", "compare", "mock", "other"],
        )
        return LoadJob(request, RunFolder(tmp_path), Live(quiet=True), ["mock"])

    def stand_still(cell: Path) -> None:
        while not (cell / "samples.jsonl").exists() or not (cell / "samples.jsonl").stat().st_size:
            time.sleep(0.05)
        for child in psutil.Process().children(recursive=True):
            if "loadprofiles.drive" in child.cmdline():
                child.suspend()
                time.sleep(0.5)
                child.resume()

    before = job()
    [visit] = before.visits
    [cell] = visit.cells
    stopper = threading.Thread(target=stand_still, args=(tmp_path / "cells" / cell.id,))
    stopper.start()
    before.visit(visit, Connected(connect(root)))
    stopper.join()
    before.finish()

    told = before.record.measurements()
    assert [one.code for one in told.caveats] == ["driven_again"]
    assert not told.caveats[0].invalidates
    assert f"set_aside/{cell.id}.1" in told.caveats[0].text
    first = measure_folder(tmp_path / "set_aside" / f"{cell.id}.1", None)
    assert "itl_smeared" in {one.code for one in first.client.caveats if one.invalidates}
    [second] = told.cells
    assert second.metrics != first.metrics
    assert job().record.measurements().caveats[0].code == "driven_again", "who goes on knows it"


LATE = Caveat("itl_smeared", "the client merged gaps", invalidates=True)


class Late:
    """A job whose cells are all late at first; what a second time does is told.

    Args:
        second: raised once the second time of a cell has begun; None: it comes to its end.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        second: BaseException | None = None,
        failed: int = 0,
    ) -> None:
        self.times: list[str] = []
        folder.mkdir(exist_ok=True)
        self.request = request = LoadRequest(
            servers=[],
            profile=find_profile("closed", load_config(None)),
            levels=[1.0, 2.0],
            again=True,
            command=["harness", "compare", "awq", "nf4"],
        )
        self.job = LoadJob(request, RunFolder(folder), Live(quiet=True), ["awq"])

        def drive_each(job: LoadJob, cells: list[Cell], *_: object) -> None:
            for cell in cells:
                again = cell.id in self.times
                self.times.append(cell.id)
                at = job.folder.cell(cell.id)
                if again and second is not None:
                    (at / "samples.jsonl").write_text("cut off")
                    raise second
                drive_cell(at, int(cell.level))
                found = measure_folder(at, None)
                client = msgspec.structs.replace(
                    found.client, valid=again, caveats=[] if again else [LATE]
                )
                requests = msgspec.structs.replace(found.requests, failed=failed)
                job.record.add_cell(
                    msgspec.structs.replace(found, client=client, requests=requests)
                )

        monkeypatch.setattr(LoadJob, "_drive_each", drive_each)
        monkeypatch.setattr(LoadJob, "_driver", lambda *_: nullcontext())

    def drive(self, until_s: float | None = None) -> None:
        [visit] = self.job.visits
        served: Any = SimpleNamespace(running=None, server=SimpleNamespace(provenance={}))
        self.job.drive(visit, served, until_s)


def test_late_cells_are_driven_again_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Late(tmp_path, monkeypatch)
    late.drive()
    one, two = (cell.id for cell in late.job.cells)
    assert late.times == [one, two, one, two]
    told = late.job.record.measurements()
    assert [caveat.code for caveat in told.caveats] == ["driven_again", "driven_again"]
    assert all(cell.client.valid for cell in told.cells)
    assert sorted(path.name for path in (tmp_path / "set_aside").iterdir()) == [
        f"{one}.1", f"{two}.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "error", [ServerError("it died"), KeyboardInterrupt(), OutOfTimeError("late")]
)
def test_a_second_time_that_does_not_end_leaves_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    late = Late(tmp_path, monkeypatch, error)
    with pytest.raises(type(error)):
        late.drive()
    one, two = (cell.id for cell in late.job.cells)
    assert late.times == [one, two, one]
    told = RunFolder(tmp_path).read_measurements()
    assert [(cell.id, cell.client.caveats) for cell in told.cells] == [(one, [LATE]), (two, [LATE])]
    assert "driven_again" not in {caveat.code for caveat in told.caveats}
    assert measure_folder(tmp_path / "cells" / one, None).requests.ok
    assert not (tmp_path / "set_aside").exists()


def test_a_second_time_that_was_killed_leaves_the_first_to_who_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Late(tmp_path, monkeypatch, KeyboardInterrupt())
    monkeypatch.setattr("harness.load.job.put_back", lambda *_: None)  # it is not there any more
    with pytest.raises(KeyboardInterrupt):
        late.drive()
    monkeypatch.undo()
    after = Late(tmp_path, monkeypatch).job
    [visit] = after.visits
    assert after.todo(visit) == []
    assert [cell.client.caveats for cell in after.record.measurements().cells] == [[LATE], [LATE]]
    assert not (tmp_path / "set_aside").exists()


def test_a_second_time_that_was_killed_before_it_was_said_leaves_the_first_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its samples are whole, perhaps even its numbers; but no caveat says whose they are."""
    late = Late(tmp_path, monkeypatch)

    def killed(*_: object) -> None:
        late.job.record.save()
        raise SystemExit

    monkeypatch.setattr(late.job.record, "driven_again", killed)
    with pytest.raises(SystemExit):
        late.drive()
    one, two = (cell.id for cell in late.job.cells)
    aside = tmp_path / "set_aside" / f"{one}.1"
    first = (aside / "drive.json").read_bytes() + b"\n"
    (aside / "drive.json").write_bytes(first)  # to tell it from the second
    after = LoadJob(late.request, RunFolder(tmp_path), Live(quiet=True), ["awq"])
    assert (tmp_path / "cells" / one / "drive.json").read_bytes() == first
    assert not (tmp_path / "set_aside").exists()
    assert after.record.cell(one) == measure_folder(tmp_path / "cells" / one, None)
    assert after.record.has(two)
    assert "driven_again" not in {caveat.code for caveat in after.record.measurements().caveats}


def test_a_cell_is_not_driven_again_where_it_does_not_fit_or_requests_were_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Late(tmp_path / "lost", monkeypatch, failed=1)
    lost.drive()
    assert len(lost.times) == 2
    hurried = Late(tmp_path / "hurried", monkeypatch)
    hurried.drive(until_s=time.monotonic())
    assert len(hurried.times) == 2
    assert [cell.client.caveats for cell in hurried.job.record.measurements().cells] == [
        [LATE], [LATE],
    ]  # fmt: skip
