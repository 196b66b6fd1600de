"""When two scores of the same tokens count as the same.

A batched engine adds in another order, so the last digits differ from one batch to the next: with
16-bit logits by up to 1/8 nat for unlikely tokens (bfloat16 has 8 significant bits; logits lie
around 20). Another prompt's scores, another model's, or scores that are shifted differ by whole
nats on the mean. The limits lie between.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MEAN_NATS: Final = 0.05
"""Largest mean difference of a prompt's tokens."""
LARGEST_NATS: Final = 0.5
"""Largest difference of one token."""
NEAR_TIE_NATS: Final = 0.25
"""A token within so much of the likeliest may have been taken for it."""


def difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the largest difference of two scores of the same tokens; inf for other lengths."""
    if len(one) != len(other):
        return math.inf
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0.0)


def agree(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether they are the same but for an engine's arithmetic."""
    largest = difference(one, other)
    if largest > LARGEST_NATS:
        return False
    total = sum(abs(a - b) for a, b in zip(one, other, strict=True))
    return total <= MEAN_NATS * max(len(one), 1)
