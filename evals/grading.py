"""What graders have in common: the item, the grade, and the outcomes that are no right or wrong.

A grader is one module of `evals/graders/`. It reads an answer and says what it has read; whether a
text was there at all, and whether it was cut off, is decided here for all of them.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from evals.records import Outcome

MAX_TEXT = 100_000
"""Characters of an answer that are graded; nobody means a longer one."""
_THOUGHT, _THOUGHT_END = "<think>", "</think>"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question of a domain suite."""

    id: str
    input: str
    expected: object = ""
    """A JSON value: text, number, list or object, as the grader wants it."""
    category: str = ""
    cluster: str = ""
    choices: tuple[str, ...] = ()
    fields: Mapping[str, object] = field(default_factory=dict)
    """All that the item's line says, for the template."""
    line: int = 0
    """In its file; 0 where it was generated."""


class Grade(NamedTuple):
    """What one answer is worth."""

    outcome: Outcome
    score: float
    """0…1."""
    read: str
    """What the grader took for the answer, or why there is none."""


class Grader(BaseModel):
    """The `[domain.grader]` table of a suite; `kind` says which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    needs_expected: ClassVar[bool] = True

    kind: str

    def problem(self, item: Item) -> str | None:
        """Say what is wrong with an item for this grader, and the fix; None if nothing is."""
        del item
        return None

    def grade(self, text: str, item: Item, *, cut: bool = False) -> Grade:
        """Grade a text; it never raises, and the same text always has the same grade.

        Args:
            text: not blank, at most MAX_TEXT characters.
            item: one that `problem` accepts.
            cut: the text was cut off at the output limit. What would have come may not be held
                against it: where it might have changed the grade, the outcome is `unparsed`.
        """
        raise NotImplementedError

    def beside(self, folder: Path) -> Self:
        """Return this grader with the files that it names read.

        Raises:
            SuiteError: one cannot be.
        """
        del folder
        return self


class Normal(Grader):
    """A grader that compares texts, and by which rules they are the same."""

    ignore_case: bool = False
    ignore_punctuation: bool = False
    """At both ends: `"Yes."` is `Yes`."""
    whitespace: Literal["collapse", "strip", "keep"] = "collapse"
    """collapse: a run of it is one space, none at the ends; strip: none at the ends."""
    unicode: Literal["NFC", "NFKC", "none"] = "NFC"
    """NFKC: full-width letters, ligatures and superscripts are their plain forms too."""

    def normal(self, text: str) -> str:
        """Return a text's normal form."""
        text = self._composed(text)
        if self.ignore_case:
            text = self._composed(text.casefold())
        if self.ignore_punctuation:
            text = without_edges(text)
        if self.whitespace == "collapse":
            return " ".join(text.split())
        return text.strip() if self.whitespace == "strip" else text

    def _composed(self, text: str) -> str:
        return text if self.unicode == "none" else unicodedata.normalize(self.unicode, text)


def without_edges(text: str) -> str:
    """Return a text without the punctuation and whitespace at its ends."""
    begin, end = 0, len(text)
    while begin < end and _is_edge(text[begin]):
        begin += 1
    while begin < end and _is_edge(text[end - 1]):
        end -= 1
    return text[begin:end]


def _is_edge(character: str) -> bool:
    return character.isspace() or unicodedata.category(character).startswith("P")


def as_text(value: object) -> str:
    """Return an expected value as people write it."""
    if isinstance(value, str):
        return value
    import msgspec

    return msgspec.json.encode(value).decode()


def accepted(item: Item) -> list[str]:
    """Return the texts that are right: `expected`, or each member where it is a list."""
    values = item.expected if isinstance(item.expected, list) else [item.expected]
    return [as_text(value) for value in values]


def texts_problem(item: Item) -> str | None:
    """Say what is wrong where `expected` should be a text or a list of texts."""
    values = item.expected if isinstance(item.expected, list) else [item.expected]
    if any(isinstance(value, list | dict) for value in values):
        return "expected should be a text, or a list of texts each of which counts"
    if not values or not all(as_text(value).strip() for value in values):
        return "expected is empty; write the right answer"
    return None


def graded(grader: Grader, text: str | None, item: Item, finish_reason: str | None) -> Grade:
    """Grade what a server wrote.

    Thoughts up to a `</think>` are no part of the answer. `finish_reason` "length" makes an answer
    in which nothing can be graded `truncated`; one with a gradable answer is `scored`.
    """
    cut = finish_reason == "length"
    answer = gradable(text)
    found = answer if isinstance(answer, Grade) else grader.grade(answer, item, cut=cut)
    return if_cut(found) if cut else found


def if_cut(found: Grade) -> Grade:
    """Return the grade of an answer that was cut off: what has no score is `truncated`."""
    return found if found.outcome == "scored" else found._replace(outcome="truncated")


def gradable(text: str | None) -> str | Grade:
    """Return the answer in what was written, or the grade of what has none."""
    answer = _said(text or "")
    if not answer.strip():
        return Grade("empty", 0.0, "")
    if len(answer) > MAX_TEXT:
        return Grade("unparsed", 0.0, f"more than {MAX_TEXT:,} characters")
    return answer


def _said(text: str) -> str:
    """Return a text without the thoughts in front of it, whose end may be all that is told."""
    _, end, answer = text.rpartition(_THOUGHT_END)
    if end:
        return answer
    return "" if text.lstrip().startswith(_THOUGHT) else text
