"""Calibration texts that hold what is asked are found, and others are not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from evals.contamination import calibration_texts, contamination
from evals.errors import SuiteError
from evals.transactions import generate

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = {question.id: question.prompt for question in generate(1, 700, "eval")}


def test_the_embedded_calibration_split_is_clean() -> None:
    calibration = [q.prompt + q.answer for q in generate(1, 2_000, "calibration")]
    found = contamination(ITEMS, calibration)
    assert (found.exact, found.overlapping, found.share) == ((), (), 0.0)
    assert found.items + found.short == 700
    assert found.items > 600


def test_questions_that_were_put_in_are_found_and_no_others(tmp_path: Path) -> None:
    stolen = list(ITEMS)[10:20]
    path = tmp_path / "calibration.jsonl"
    lines = [{"text": q.prompt} for q in generate(1, 500, "calibration")]
    lines += [
        {"messages": [{"role": "user", "content": "Please: " + ITEMS[name].upper() + " Thanks!"}]}
        for name in stolen
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    found = contamination(ITEMS, calibration_texts(path))
    assert found.exact == tuple(stolen)
    assert set(stolen) <= set(found.overlapping)
    assert found.share < 0.1  # and a few that share a long wording with those
    text = tmp_path / "calibration.txt"
    text.write_text("\n\n".join(ITEMS[name].replace(" ", "  ") for name in stolen))
    assert contamination(ITEMS, calibration_texts(text)).exact == tuple(stolen)


def test_a_part_of_an_item_is_an_overlap_but_not_exact() -> None:
    words = [f"word{n}" for n in range(30)]
    items = {"long": " ".join(words), "whole": "a b c d e f g h", "short": "a b c d e f g"}
    found = contamination(items, [" ".join(words[5:18]), "x a b c d e f g h y"])
    assert (found.items, found.short) == (2, 1)
    assert (found.exact, found.overlapping) == (("whole",), ("long", "whole"))
    twelve = contamination(items, [" ".join(words[5:17]), "a b c d e f g"])
    assert (twelve.exact, twelve.overlapping) == ((), ())


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read: no such file"):
        list(calibration_texts(tmp_path / "none.txt"))
    (tmp_path / "bad.jsonl").write_text('{"a": "b"}\n{')
    with pytest.raises(SuiteError, match=r"bad.jsonl:2: not JSON"):
        list(calibration_texts(tmp_path / "bad.jsonl"))
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(SuiteError, match="not UTF-8"):
        list(calibration_texts(tmp_path / "bad.txt"))
