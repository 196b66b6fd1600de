"""The shape of one cell's answers held against those of the baseline's to the same prompts."""

from __future__ import annotations

from typing import Literal

import msgspec


class OutputsCompared(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to the same prompts as the baseline build's."""

    baseline: str
    pairs: int
    length_ratio: float | None
    """Tokens / the baseline's tokens."""
    shorter: int
    longer: int
    p_shorter: float | None
    """One-sided Wilcoxon p that they are shorter by chance; None with too few pairs."""
    compared_texts: int
    identical: int
    """Of those, the same text."""
    prompts: Literal["same", "others"] | None = None
    """Whether both were sent the same prompts, and asked for answers of the same lengths; None:
    the plan does not say."""
    prompt_tokens: dict[str, int] = {}
    """How many prompt tokens more this build's server counted of the same prompt → in how many
    pairs; of those that both counted."""
    finish_reasons: dict[str, int] = {}
    """`ours, the baseline's` where they differ → pairs."""
