"""Answers on the disk: appended as they come, whole after a crash, never asked twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

import msgspec

from evals.errors import GARBAGE, DamagedError, ResumeError
from evals.records import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PLAN_FILE = "plan.json"
ANSWERS_FILE = "answers.jsonl"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Answer)


class AnswerStore:
    """The answers of one suite by one server, open for more.

    with AnswerStore(folder, plan) as store:
        if item not in store.done: store.add([answer])
    """

    def __init__(self, folder: Path, plan: dict[str, object]) -> None:
        """Open a folder; `plan` holds all that decides the answers (suite, seed, route, identity…).

        Raises:
            ResumeError: the folder was begun with another plan; names the fields that differ.
            DamagedError: a line of its answers is none.
        """
        folder.mkdir(parents=True, exist_ok=True)
        _settle_plan(folder / PLAN_FILE, plan)
        self._path = folder / ANSWERS_FILE
        _cut_torn_line(self._path)
        there = read_answers(folder)
        self.done = {(a.task, a.item) for a in there if a.outcome != "error"}
        """(task, item) of every answer that is there; errors are not, so that they are asked
        again."""

    def __enter__(self) -> Self:
        self._file = self._path.open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, answers: Iterable[Answer]) -> None:
        """Append answers; they are with the kernel when this returns."""
        lines = [_encoder.encode(answer) + b"\n" for answer in answers]
        self._file.write(b"".join(lines))
        self._file.flush()


def read_answers(folder: Path) -> list[Answer]:
    """Return a folder's answers, the last one where an item was asked again after an error.

    Half an answer at the end, which a killed writer leaves, is none: see `cut_bytes`.

    Raises:
        DamagedError: a line is not an answer.
    """
    path = folder / ANSWERS_FILE
    if not path.is_file():
        return []
    last = {}
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n") and _is_cut(line):
            break
        try:
            answer = _decoder.decode(line)
        except GARBAGE as error:
            raise DamagedError(
                f"{path}, line {number} is not an answer: {error}; "
                "take that line out to go on with the others"
            ) from error
        last[answer.task, answer.item] = answer
    return list(last.values())


def cut_bytes(folder: Path) -> int:
    """Return how long the half an answer is that the answers end with; 0: there is none."""
    path = folder / ANSWERS_FILE
    if not path.is_file():
        return 0
    line = path.read_bytes().rpartition(b"\n")[2]
    return len(line) if _is_cut(line) else 0


def _is_cut(line: bytes) -> bool:
    """Whether a file's last bytes are the beginning of an answer: not a whole one, nor else."""
    try:
        _decoder.decode(line)
    except GARBAGE as error:
        return line.startswith(b"{") and "truncated" in str(error)
    return False


def _settle_plan(path: Path, plan: dict[str, object]) -> None:
    wanted = msgspec.json.decode(msgspec.json.encode(plan))
    if not path.is_file():
        data = msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n"
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(data)
        temporary.replace(path)
        return
    try:
        there = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except GARBAGE as error:
        raise DamagedError(f"{path} is not as it was written: {error}") from error
    keys = sorted({*there, *wanted})
    differ = [key for key in keys if there.get(key) != wanted.get(key)]
    if differ:
        raise ResumeError(
            f"{path.parent} was begun with another {', '.join(differ)}: "
            "start anew in another folder, or ask for the same"
        )


def _cut_torn_line(path: Path) -> None:
    """Drop what a killed writer left of a last line."""
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
