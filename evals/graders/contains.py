"""The expected text stands somewhere in the answer."""

from __future__ import annotations

import re
from typing import Literal

from evals.grading import Grade, Grader, Item, Normal, accepted, texts_problem


class Contains(Normal):
    """The answer has `expected` in it; where that is a list, any or all of its texts."""

    kind: Literal["contains"]
    which: Literal["any", "all"] = "any"
    words: bool = True
    """Only as whole words: `no` does not stand in `not`."""

    def problem(self, item: Item) -> str | None:
        """See `Grader.problem`."""
        return texts_problem(item)

    def grade(self, text: str, item: Item, *, cut: bool = False) -> Grade:
        """See `Grader.grade`; what is missing from an answer that was cut off may have followed."""
        here = self.normal(text)
        wanted = accepted(item)
        found = [answer for answer in wanted if self._has(here, self.normal(answer), cut=cut)]
        read = ", ".join(found) or "none of them"
        if found and (self.which == "any" or len(found) == len(wanted)):
            return Grade("scored", 1.0, read)
        return Grade("unparsed" if cut else "scored", 0.0, read)

    def _has(self, text: str, answer: str, *, cut: bool) -> bool:
        if not self.words:
            return answer in text
        if not answer:  # nothing but punctuation, which is ignored
            return False
        before = r"(?<!\w)" if answer[0].isalnum() else ""
        after = (r"(?!\w)" + (r"(?!\Z)" if cut else "")) if answer[-1].isalnum() else ""
        return re.search(before + re.escape(answer) + after, text) is not None


GRADER: type[Grader] = Contains
