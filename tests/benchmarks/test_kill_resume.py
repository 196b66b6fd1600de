"""A comparison killed at random moments ends as an undisturbed one; all 20 by the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kill_resume
import pytest
from compared import Kept, unsaid

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> kill_resume.Undisturbed:
    return kill_resume.undisturbed(tmp_path_factory.mktemp("undisturbed"), repeats=1)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [0, 1])
def test_killed_and_resumed(
    number: int, reference: kill_resume.Undisturbed, tmp_path: Path
) -> None:
    """The second one is killed once more while it goes on."""
    drawn = kill_resume.moments(kill_resume.SEED, 2, reference.length_s)
    outcome = kill_resume.killed_once(tmp_path, number, reference, *drawn[number])
    assert outcome.wrong == []
    assert 1 <= len(outcome.killed) <= 1 + number


def test_a_loss_would_be_seen(reference: kill_resume.Undisturbed) -> None:
    run = reference.run
    kept = Kept.of(run)
    assert list(kept.lost(run)) == []
    assert list(kill_resume.differences(run, reference)) == []
    assert len(list(unsaid(run))) == 4, "nothing was cut off"
    answers = run / "quality/evals/quiz/slow/answers.jsonl"
    answers.write_bytes(answers.read_bytes().split(b"\n", 1)[1])
    [cell, *_] = kept.samples
    (run / "load/cells" / cell / "samples.jsonl").write_bytes(b"")
    assert list(kept.lost(run)) == [
        f"samples of {cell} are others",
        "answers are lost in quality/evals/quiz/slow/answers.jsonl",
    ]
    assert [one.partition(":")[0] for one in kill_resume.differences(run, reference)] == ["slow"]
