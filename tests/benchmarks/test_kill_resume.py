"""Killed and resumed runs end as undisturbed ones; the command kills at 20 random moments.

A comparison is killed in tests/e2e/test_compare_mock.py, an evaluation in test_eval_mock.py there.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import kill_resume
import pytest
from compared import Kept, unsaid
from kill_modes import MODES

if TYPE_CHECKING:
    from pathlib import Path

ASKED = MODES["load"].argv
LOAD = replace(MODES["load"], argv=(*(w.replace("1,2", "1") for w in ASKED), "--repeats", "1"))


@pytest.mark.timeout(400)
def test_a_load_goes_on_and_a_loss_would_be_seen(tmp_path: Path) -> None:
    """Killed after about half of what an undisturbed one took."""
    (tmp_path / "undisturbed").mkdir()
    reference = kill_resume.undisturbed(tmp_path / "undisturbed", LOAD)
    outcome = kill_resume.killed_once(tmp_path, 0, reference, 0.55 * reference.length_s, None)
    assert outcome.wrong == []
    assert len(outcome.killed) == 1

    run = reference.run
    assert list(kill_resume.differences(run, reference)) == []
    assert len(list(unsaid(run, LOAD))) == 4, "nothing was cut off"
    kept = Kept.of(run, LOAD)
    assert kept.is_whole(reference.plan)
    assert list(kept.lost(run, LOAD)) == []
    [cell, _] = kept.cells
    (run / "cells" / cell / "samples.jsonl").write_bytes(b"")
    assert list(kept.lost(run, LOAD)) == [f"samples.jsonl of {cell} is another"]
    (run / "cells" / cell / "bodies.jsonl").write_bytes(b"")
    assert list(kill_resume.differences(run, reference)) == ["another plan: bodies"]


def test_a_lost_answer_would_be_seen(tmp_path: Path) -> None:
    """The second suite was under way, and its last answer half written."""
    for suite, ended, answers in (("one", "done", b"1\n2\n"), ("two", "under_way", b"1\n2\n{")):
        folder = tmp_path / "evals" / suite / "fast"
        folder.mkdir(parents=True)
        (folder / "pass.json").write_text(json.dumps({"ended": ended}))
        (folder / "answers.jsonl").write_bytes(answers)
    kept = Kept.of(tmp_path, MODES["eval"])
    assert kept.words == "0 cells, 4 answers, 1 passes"
    two = tmp_path / "evals/two/fast/answers.jsonl"
    two.write_bytes(b"1\n2\n3\n")
    (tmp_path / "evals/two/fast/pass.json").write_text('{"ended": "done"}')
    assert list(kept.lost(tmp_path, MODES["eval"])) == []
    two.write_bytes(b"1\n3\n")
    one = tmp_path / "evals/one/fast/answers.jsonl"
    one.write_bytes(b"1\n2\n3\n")
    assert sorted(kept.lost(tmp_path, MODES["eval"])) == [
        "answers are lost in evals/two/fast/answers.jsonl",
        "evals/one/fast/answers.jsonl is another",
    ]


def test_moments_are_random_and_every_second_is_killed_again() -> None:
    drawn = kill_resume.moments(kill_resume.SEED, 20, 8.0)
    assert drawn == kill_resume.moments(kill_resume.SEED, 20, 8.0)
    assert [int(at_s / 8.0 * 20) for at_s, _ in drawn] == list(range(20))
    assert [again_s is None for _, again_s in drawn] == [True, False] * 10
