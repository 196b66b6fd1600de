"""A gate whose servers are made up: what it says where it is stopped in the midst of its turns."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from harness.config import find_build, find_rules, load_config
from harness.errors import ServerError
from harness.gating.record import read_gate
from harness.gating.request import GateRequest
from harness.gating.run import run_gate
from harness.live import Live
from harness.load.job import LoadJob
from tests.harness.comparing import made

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from harness.gating.result import GateResult
    from harness.load.order import Visit
    from harness.rundir import RunFolder

RULES = """
[[stages]]
name = "load"
profile = "closed"
levels = [1, 8]
repeats = 4
rules = ["ratio(aggregate_tps@c8) >= 60%", "error_rate <= 1%"]
"""


class Stopped:
    """Stops the gate with an error in one of the turns, after so many cells of it."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, turn: int, error: BaseException, cells: int = 1
    ) -> None:
        self.turns = 0

        @contextmanager
        def serve(*_: object) -> Iterator[object]:
            yield SimpleNamespace(server=SimpleNamespace(provenance={}), running=None)

        def drive(job: LoadJob, visit: Visit, *_: object) -> None:
            self.turns += 1
            for place, cell in enumerate(visit.cells):
                if self.turns == turn and place == cells:
                    raise error
                told = made.cell(cell.build, cell.level, cell.repeat, id=cell.id)
                job.record.add_cell(told)
                job.record.save()
            if self.turns == turn and cells == len(visit.cells):
                raise error

        monkeypatch.setattr("harness.gating.visit.Launched.serve", serve)
        monkeypatch.setattr(LoadJob, "drive", drive)
        monkeypatch.setattr(LoadJob, "is_whole", lambda job, cell: job.record.has(cell.id))
        monkeypatch.setattr("harness.load.checks.check_build", lambda *_: None)

    def gate(self, folder: Path) -> tuple[RunFolder, int, GateResult]:
        (folder / "rules.toml").write_text(RULES)
        config = load_config()
        rules, rules_dir = find_rules(str(folder / "rules.toml"), config)
        request = GateRequest(
            candidate=find_build("awq", config),
            baseline=find_build("fp16", config),
            rules=rules,
            rules_dir=rules_dir,
            rules_file="rules.toml",
            config=config,
            command=["harness", "gate"],
        )
        run, code = run_gate(request, folder / "runs", Live(quiet=True))
        return run, int(code), read_gate(run)


def test_a_server_that_dies_in_a_later_turn_is_told_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Stopped(monkeypatch, 3, ServerError("the server died during it (-9)", hint="Look."))
    run, code, told = stopped.gate(tmp_path)
    died = "baseline: fp16: the server died during it (-9) Look."
    assert (code, told.verdict, told.valid) == (3, "INCONCLUSIVE", False)
    assert [(one.code, one.text) for one in told.caveats] == [("server_failed", died)]
    far = "after 3 of 8 cells of the baseline and 2 of 8 cells of the candidate, which are in"
    for rule in told.rules[1:]:
        assert rule.text == f"stopped {far} load-baseline and load-candidate: {died}"
    for name in ("report.md", "junit.xml", "report.html"):
        assert "the server died during it" in (run.path / name).read_text()
    assert stopped.turns == 3


def test_a_server_that_dies_in_the_last_cell_is_no_whole_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cell has numbers, of a part of its window."""
    stopped = Stopped(monkeypatch, 8, ServerError("the server died during it (-9)"), cells=2)
    _, code, told = stopped.gate(tmp_path)
    assert (code, told.verdict, told.valid) == (3, "INCONCLUSIVE", False)
    assert all("the server died during it" in rule.text for rule in told.rules[1:])
    assert stopped.turns == 8


def test_an_interrupted_gate_says_how_far_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Stopped(monkeypatch, 5, KeyboardInterrupt(), cells=0)
    run, code, told = stopped.gate(tmp_path)
    assert code == 130
    assert told.rules[-1].text == (
        "interrupted after 4 of 8 cells of each build, which are in load-baseline and "
        "load-candidate"
    )
    assert "4 of 8 cells of each build" in (run.path / "report.md").read_text()
    manifest: Any = run.read_manifest()
    assert [turn["repeat"] for turn in manifest["turns"]] == [1, 1, 2, 2, 3]


def test_a_stage_that_was_not_begun_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Stopped(monkeypatch, 1, KeyboardInterrupt())

    def serve(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.gating.visit.Launched.serve", serve)
    _, code, told = stopped.gate(tmp_path)
    assert (code, told.rules[-1].text) == (130, "not begun: interrupted")
