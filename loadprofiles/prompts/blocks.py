"""Prompts that share their beginnings as those of a Mooncake trace did.

Such a trace names each block of 512 prompt tokens by an id; two prompts with the same first ids
had the same first blocks. Here the leading blocks that some other request of the window has, too,
become a common text, and what is left of each prompt is its own. The last block of a prompt, which
is mostly not full, is always its own.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from loadprofiles.errors import ProfileError
from loadprofiles.prompts.prefixes import MAX_TOKENS
from loadprofiles.prompts.texts import Prompt, make_prompts, one_by_one
from loadprofiles.traffic.traces import BLOCK_TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer


class Heads(NamedTuple):
    """Which common beginning each prompt has, and how long the rest of it is."""

    which: list[int]
    """Index into `texts` for each prompt; -1 where it has none."""
    texts: list[Prompt]
    rest_tokens: NDArray[np.int64]


def shared_heads(
    blocks: Sequence[tuple[int, ...]],
    prompt_tokens: NDArray[np.int64],
    rng: np.random.Generator,
    tokenizer: Tokenizer | None,
) -> Heads:
    """Write the common beginnings of prompts.

    Args:
        blocks: the ids of each prompt's blocks.
        prompt_tokens: length of each whole prompt.
        rng: where the texts come from.
        tokenizer: the model's, for exact lengths; None to estimate.

    Raises:
        ProfileError: they are more than fit into memory.
        TokenizerError: the tokenizer makes nothing of English text.
    """
    seen = Counter(block for ids in blocks for block in set(ids))
    common = [
        ids[: _leading(ids, seen, (tokens - 1) // BLOCK_TOKENS)]
        for ids, tokens in zip(blocks, prompt_tokens.tolist(), strict=True)
    ]
    heads = list(dict.fromkeys(ids for ids in common if ids))
    total = sum(map(len, heads)) * BLOCK_TOKENS
    if total > MAX_TOKENS:
        raise ProfileError(
            "arrival.file",
            f"the common prefixes of this window are {total} tokens, too many to hold; make it "
            "shorter, or set prefixes = false",
        )
    ids = list(dict.fromkeys(block for head in heads for block in head))
    lengths = np.full(len(ids), BLOCK_TOKENS, dtype=np.int64)
    written = one_by_one(make_prompts(lengths, rng, tokenizer, inside=True))
    text_of = {block: prompt.text for block, prompt in zip(ids, written, strict=True)}
    texts = [_head("\n".join(text_of[block] for block in head), len(head), tokenizer)
             for head in heads]  # fmt: skip
    place = {head: index for index, head in enumerate(heads)}
    which = [place.get(head, -1) for head in common]
    rest = [
        tokens - (texts[index].tokens if index >= 0 else 0)
        for index, tokens in zip(which, prompt_tokens.tolist(), strict=True)
    ]
    return Heads(which, texts, np.maximum(np.array(rest, dtype=np.int64), 1))


def _leading(ids: tuple[int, ...], seen: Counter[int], most: int) -> int:
    """How many of a prompt's first blocks another prompt has, too."""
    count = 0
    for block in ids[:most]:
        if seen[block] < 2:  # noqa: PLR2004 - its own and another's
            break
        count += 1
    return count


def _head(text: str, blocks: int, tokenizer: Tokenizer | None) -> Prompt:
    if tokenizer is None:
        return Prompt(text, blocks * BLOCK_TOKENS, exact=False)
    return Prompt(text, len(tokenizer.encode(text, add_special_tokens=False)), exact=True)
