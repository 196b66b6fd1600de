"""A pattern finds the answer in the text."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from evals.cpu_limit import CpuLimitError, cpu_limit
from evals.grading import Grade, Grader, Item, Normal, accepted, texts_problem

LIMIT_S = 0.5
"""Of processor time for one answer. Some patterns would try for years."""


class Regex(Normal):
    """What the pattern finds is `expected`, or one of them where it is a list."""

    kind: Literal["regex"]
    pattern: str = Field(min_length=1, max_length=1000)
    """As Python's `re` has them. The group `answer`, else the first group, else all of the match
    is compared. `.` ends at a line's end; begin with (?s) or (?i) for flags."""
    which: Literal["first", "last"] = "last"
    """Of several matches."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern

    def problem(self, item: Item) -> str | None:
        """See `Grader.problem`."""
        return texts_problem(item)

    def grade(self, text: str, item: Item, *, cut: bool = False) -> Grade:
        """See `Grader.grade`; a match up to the very end of what was cut off may go on."""
        try:
            with cpu_limit(LIMIT_S):
                match = self._match(text)
        except (CpuLimitError, RecursionError, MemoryError):
            return Grade("unparsed", 0.0, "the pattern takes too long on this answer")
        if match is None:
            return Grade("unparsed", 0.0, "no match")
        group = "answer" if "answer" in match.re.groupindex else min(match.re.groups, 1)
        found = match[group]
        if found is None:
            return Grade("unparsed", 0.0, "the match has no answer in it")
        if cut and match.end(group) == len(text):
            return Grade("unparsed", 0.0, found)
        read = self.normal(found)
        right = read in {self.normal(answer) for answer in accepted(item)}
        return Grade("scored", float(right), read)

    def _match(self, text: str) -> re.Match[str] | None:
        compiled = re.compile(self.pattern)
        if self.which == "first":
            return compiled.search(text)
        last = None
        for last in compiled.finditer(text):  # noqa: B007 - the last one is what is wanted
            pass
        return last


GRADER: type[Grader] = Regex
