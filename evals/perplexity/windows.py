"""Which tokens are sent together, and which of them are scored: pure arithmetic.

With C tokens of the text a window at most and stride S, window k holds tokens k·S … k·S + C and
scores those that no window before it has scored, so that every token is scored exactly once, and
each one that is not in the first window has at least C − S tokens of the text before it. A window's
first token has nothing before it unless BOS is sent; without BOS it is context, and never scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Window:
    """Tokens `begin`…`end` of a text are sent, `scored`…`end` are scored (ends excluded)."""

    begin: int
    scored: int
    end: int


def windows(n: int, capacity: int, stride: int, *, bos: bool) -> Iterator[Window]:
    """Partition a text of `n` tokens.

    Args:
        n: tokens of the text, BOS not counted.
        capacity: tokens of the text that fit into a window, BOS not counted.
        stride: tokens scored in each window after the first, at most `capacity`.
        bos: whether BOS precedes each window. Without it a text's first token is not scored; nor
            are the windows' first tokens where nothing overlaps (stride = capacity).
    """
    for begin in range(0, n, stride):
        done = begin + capacity - stride if begin else 0
        end = min(n, begin + capacity)
        scored = done if bos or done > begin else begin + 1
        if scored < end:
            yield Window(begin, scored, end)
        if end == n:
            return
