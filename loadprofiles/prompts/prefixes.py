"""Prefixes that many requests share, as the system prompts of several tenants are.

Pure: every draw is a function of the shape and a generator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from loadprofiles.prompts.lengths import OwnLength, longest, sample_lengths
from loadprofiles.prompts.texts import Prompt, make_prompts, one_by_one

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

MAX_TOKENS = 50_000_000
"""Of all prefixes together: they are held in memory while a cell is planned."""


class SharedPrefix(BaseModel):
    """The `[shared_prefix]` table of a profile.

    A prefix comes on top of `prompt_tokens`. Where the dialect has turns it is the system message;
    else the prompt follows on the next line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the requests (of sessions: of the sessions) that have one."""
    tokens: OwnLength
    """How long a prefix is."""
    count: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 1
    """How many different ones there are."""
    skew: Annotated[float, Field(ge=0, le=5, allow_inf_nan=False)] = 0.0
    """How unequally often they come up: the k-th in proportion to k^-skew (Zipf). 0: equally."""
    warm: bool = False
    """Whether the warm-up sends each of them once, so that the server may know them all when the
    window opens. Else it has prefixes of its own."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        total = self.count * longest(self.tokens)
        if total > MAX_TOKENS:
            raise ValueError(
                f"count = {self.count} prefixes of up to {longest(self.tokens)} tokens are {total} "
                f"tokens; lower one of the two (at most {MAX_TOKENS} together)"
            )
        return self

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Say for each of `count` requests which prefix it has; -1 for none."""
        has, which = rng.random((count, 2)).T
        edges = np.cumsum(np.arange(1, self.count + 1, dtype=np.float64) ** -self.skew)
        index = np.searchsorted(edges, which * edges[-1], side="right")
        return np.where(has < self.share, np.minimum(index, self.count - 1), -1)

    def write(self, rng: np.random.Generator, tokenizer: Tokenizer | None) -> list[Prompt]:
        """Write the prefixes."""
        lengths = sample_lengths(self.tokens, self.count, rng)
        return list(one_by_one(make_prompts(lengths, rng, tokenizer, inside=True)))
