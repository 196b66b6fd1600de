"""Did a calibration text hold what is asked? Then a quantized build has seen the questions.

Texts are brought to one form (NFKC, folded case, runs of word characters). Two signs: an item that
stands whole in a calibration text, and an item that shares a run of 13 words with one, the length
that GPT-3's authors took (Brown et al., Language Models are Few-Shot Learners, 2020, appendix C).
Items of 8 to 12 words are compared whole; with fewer, a coincidence says nothing.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from evals.errors import GARBAGE, SuiteError
from evals.files import lines_of, open_file, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

RUN_WORDS = 13
LEAST_WORDS = 8
_WORD = re.compile(r"\w+")

Run = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """What an evaluation shares with calibration texts."""

    items: int
    """Compared."""
    short: int
    """Not compared: fewer than 8 words."""
    exact: tuple[str, ...]
    """Ids of items that stand whole in a calibration text."""
    overlapping: tuple[str, ...]
    """Ids of items that share a run of 13 words with one; those of `exact` are among them."""

    @property
    def share(self) -> float:
        """Of the items compared, those that overlap: 0…1."""
        return len(self.overlapping) / self.items if self.items else 0.0


def contamination(
    items: Mapping[str, str | Sequence[str]], calibration: Iterable[str]
) -> Contamination:
    """Compare an evaluation's items with calibration texts.

    Args:
        items: id → text, or several: each of them gives the item away.
        calibration: the texts.
    """
    compared: dict[str, list[list[str]]] = {}
    for name, text in items.items():
        each = map(_words, (text,) if isinstance(text, str) else text)
        if long := [words for words in each if len(words) >= LEAST_WORDS]:
            compared[name] = long
    having: dict[Run, set[str]] = {}
    beginning: dict[Run, list[tuple[str, list[str]]]] = {}
    for name, forms in compared.items():
        for words in forms:
            runs = list(_runs(words, min(RUN_WORDS, len(words))))
            beginning.setdefault(runs[0], []).append((name, words))
            for run in runs:
                having.setdefault(run, set()).add(name)
    exact: set[str] = set()
    overlapping: set[str] = set()
    sizes = sorted({len(run) for run in having})
    for text in calibration:
        there = _words(text)
        for size in sizes:
            for place, run in enumerate(_runs(there, size)):
                overlapping |= having.get(run, set())
                exact.update(
                    name
                    for name, words in beginning.get(run, ())
                    if there[place : place + len(words)] == words
                )
    return Contamination(
        items=len(compared),
        short=len(items) - len(compared),
        exact=tuple(name for name in compared if name in exact),
        overlapping=tuple(name for name in compared if name in overlapping),
    )


def calibration_texts(path: Path) -> Iterator[str]:
    """Yield the texts of a calibration file.

    Of JSON lines (`.jsonl`) each line is one, all strings in it together; any other file is one
    text. It is read a line at a time where it can be.

    Raises:
        SuiteError: it cannot be read, or a line is no JSON.
    """
    try:
        if path.suffix != ".jsonl":
            with open_file(path) as file:
                yield whole(file).decode()
            return
        with open_file(path) as file:
            for number, line in enumerate(lines_of(file), 1):
                if line.strip():
                    yield "\n".join(_strings(_decoded(line, path, number)))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SuiteError(f"calibration: {path} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise SuiteError(f"calibration: {path} is not UTF-8 text") from error


def _decoded(line: bytes, path: Path, number: int) -> object:
    try:
        return msgspec.json.decode(line)
    except GARBAGE as error:
        raise SuiteError(f"calibration: {path}:{number}: not JSON: {error}") from error


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _runs(words: Sequence[str], size: int) -> Iterator[Run]:
    for place in range(len(words) - size + 1):
        yield tuple(words[place : place + size])
