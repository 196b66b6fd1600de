"""A comparison killed twice ends as an undisturbed one; the command kills at 20 random moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import kill_resume
import pytest
from compared import Kept, unsaid

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(400)
def test_killed_twice_and_resumed(tmp_path: Path) -> None:
    """About when the second server is asked, and once more while it goes on."""
    place = tmp_path / "undisturbed"
    place.mkdir()
    reference = kill_resume.undisturbed(place, repeats=1)
    at_s, again_s = 0.45 * reference.length_s, 0.2 * reference.length_s
    outcome = kill_resume.killed_once(tmp_path, 0, reference, at_s, again_s)
    assert outcome.wrong == []
    assert 1 <= len(outcome.killed) <= 2
    a_loss_would_be_seen(reference)


def test_moments_are_random_and_every_second_is_killed_again() -> None:
    drawn = kill_resume.moments(kill_resume.SEED, 20, 8.0)
    assert drawn == kill_resume.moments(kill_resume.SEED, 20, 8.0)
    assert len({at_s for at_s, _ in drawn}) == 20
    assert all(0 < at_s < 8 for at_s, _ in drawn)
    assert [again_s is None for _, again_s in drawn] == [True, False] * 10


def a_loss_would_be_seen(reference: kill_resume.Undisturbed) -> None:
    run = reference.run
    kept = Kept.of(run)
    assert list(kept.lost(run)) == []
    assert kept.is_whole(reference.plan, 2 * kill_resume.ITEMS)
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
