"""The turns of sessions while a cell is driven: which follows which, and what it has to quote.

Pure bookkeeping: knows no clock, no loop and no socket. A turn has a key: its position among the
measured bodies, plus their number for each time that a closed loop has started over.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import msgspec

from loadprofiles.prompts.bodies import fill_marks

if TYPE_CHECKING:
    from collections.abc import Sequence


class Turns:
    """The sessions of a plan; of one without any, nothing follows anything."""

    def __init__(self, after: Sequence[int] | None, think_ns: Sequence[int] | None) -> None:
        after = after or []
        self.sessions = sum(before < 0 for before in after)
        self._bodies = len(after)
        self._following = array("q", [-1]) * self._bodies
        for position, before in enumerate(after):
            if before >= 0:
                self._following[before] = position
        self._think_ns = think_ns
        self._begun = 0
        self._open: set[int] = set()
        self._quotes: dict[int, list[bytes]] = {}
        """For each turn under way, or to come next in its session: the answers before it."""

    def begin(self) -> int:
        """Return the key of the next session's first turn."""
        rounds, session = divmod(self._begun, self.sessions)
        self._begun += 1
        return rounds * self._bodies + session

    def position(self, turn: int) -> int:
        """Return a turn's place among the measured bodies."""
        return turn % self._bodies

    def following(self, turn: int) -> int | None:
        """Return the turn that the plan has after this one."""
        position = self._following[turn % self._bodies]
        return None if position < 0 else turn - turn % self._bodies + position

    def think_ns(self, turn: int | None) -> int:
        """Return how long the user thinks before this turn; None: before the next session."""
        if not self._think_ns:
            return 0
        return self._think_ns[self._begun % self.sessions if turn is None else self.position(turn)]

    # --- answers -------------------------------------------------------------------------------

    def take(self, turn: int, line: bytes) -> bytes:
        """Return the body of a turn that is sent now, with the earlier answers in it."""
        following = self.following(turn)
        if following is not None:
            self._open.add(following)
        quotes = self._quotes.get(turn)
        return line if quotes is None else fill_marks(line, quotes)

    def answered(self, turn: int, answer: str | None) -> None:
        """Note the answer to a turn; None where it failed, and with it its session."""
        quotes = self._quotes.pop(turn, [])
        following = self.following(turn)
        if following is None:
            return
        self._open.discard(following)
        if answer is not None:
            self._quotes[following] = [*quotes, msgspec.json.encode(answer)[1:-1]]

    def is_open(self, turn: int) -> bool:
        """Whether nobody knows yet what became of the turn before."""
        return turn in self._open

    def may_follow(self, turn: int) -> bool:
        """Whether a turn has all the answers that it quotes."""
        return turn in self._quotes
