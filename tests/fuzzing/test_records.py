"""Damaged files of a run: whatever they hold, they are read, or refused by their name."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from evals.errors import EvalError
from evals.store import cut_bytes as cut_answer
from evals.store import read_answers
from harness.errors import BadInputError
from harness.measuring.remeasure import read_facts
from harness.quality.passes import read_pass
from harness.reports.anew import recompute
from harness.reports.cells import read_cell, read_drawn
from harness.reports.kinds import jobs_of
from harness.rundir import RunFolder
from launchers.telemetry.records import read_telemetry
from loadprofiles.errors import RecordError
from loadprofiles.records import cut_bytes, read_drive_report, read_plan, read_samples
from tests.fuzzing.damage import Damage, damaged, damages

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = Path(__file__).parents[1] / "fixtures/runs"
CELL = next((RUNS / "schema-1-capacity/cells").iterdir())
PASS = RUNS / "schema-1-eval/evals/even/url"
READERS: dict[str, tuple[Path, Callable[[Path], Any]]] = {
    "plan.json": (CELL, read_plan),
    "samples.jsonl": (CELL, lambda folder: (cut_bytes(folder), list(read_samples(folder)))),
    "drive.json": (CELL, read_drive_report),
    "facts.json": (CELL, read_facts),
    "telemetry.jsonl": (CELL, read_telemetry),
    "answers.jsonl": (PASS, lambda folder: (cut_answer(folder), read_answers(folder))),
    "pass.json": (PASS, read_pass),
}
REFUSED = (RecordError, EvalError, BadInputError)
KINDS = (*["load", "eval"] * 4, "gate", "comparison", "capacity")
"""The first two take a tenth of the others' time."""


@pytest.mark.parametrize("name", READERS)
@given(damage=damages, noise=st.binary(max_size=60))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_damaged_record_is_read_or_refused(name: str, damage: Damage, noise: bytes) -> None:
    source, read = READERS[name]
    whole = (source / name).read_bytes()
    for content in (noise, damaged(whole, damage, lines=name.endswith("l"))):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(content)
            try:
                read(Path(folder))
            except REFUSED as error:
                said = str(error)
            except msgspec.DecodeError as error:  # who reads it names the file
                said = str(error).replace("line ", "telemetry.jsonl, line ")
            else:
                continue
            assert name in said


@given(damages, st.sampled_from(["plan.json", "samples.jsonl", "drive.json", "telemetry.jsonl"]))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_cell_is_shown_as_far_as_it_can_be_read(damage: Damage, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cell = Path(shutil.copytree(CELL, Path(folder) / "cells" / "c"))
        content = damaged((CELL / name).read_bytes(), damage, lines=name.endswith("l"))
        (cell / name).write_bytes(content)
        for found in (
            read_cell(RunFolder(Path(folder)), "c"),
            read_drawn(RunFolder(Path(folder)), "c"),
        ):
            assert all("c: " in text or "c ends" in text for text in found.problems)


@given(st.sampled_from(KINDS), damages, st.integers(0, 1 << 16))
@settings(max_examples=20, deadline=None, derandomize=True, phases=[Phase.generate])
def test_a_run_with_a_damaged_file_is_reported_or_refused(
    kind: str, damage: Damage, which: int
) -> None:
    source = RUNS / f"schema-1-{kind}"
    files = sorted(source.rglob("*.json*"))
    path = files[which % len(files)].relative_to(source)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(source, Path(folder) / "run"))
        content = damaged((run / path).read_bytes(), damage, lines=path.suffix == ".jsonl")
        (run / path).write_bytes(content)
        try:
            opened = RunFolder.open(run)
            for _ in recompute(opened):
                pass
            for job in jobs_of(opened, "terminal"):
                job.report.render(job.run)
        except REFUSED:
            pass
