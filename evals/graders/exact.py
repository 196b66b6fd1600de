"""The whole answer is the expected one."""

from __future__ import annotations

from typing import Literal

from evals.grading import Grade, Grader, Item, Normal, accepted, texts_problem


class Exact(Normal):
    """The answer is `expected`, or one of them where it is a list."""

    kind: Literal["exact"]

    def problem(self, item: Item) -> str | None:
        """See `Grader.problem`."""
        return texts_problem(item)

    def grade(self, text: str, item: Item, *, cut: bool = False) -> Grade:
        """See `Grader.grade`; the beginning of a right answer that was cut off is not wrong."""
        read = self.normal(text)
        right = [self.normal(answer) for answer in accepted(item)]
        if read in right:
            return Grade("scored", 1.0, read)
        if cut and any(answer.startswith(read) for answer in right):
            return Grade("unparsed", 0.0, read)
        return Grade("scored", 0.0, read)


GRADER: type[Grader] = Exact
