"""Texts → calibration samples: windows of at most so many tokens, drawn by seed.

A document is cut into windows that follow each other; a short last one of a long document is
dropped. Packed, short windows of one role are joined until the length is reached: then the mix
holds for tokens as it does for samples.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from harness.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evals.perplexity.documents import Document
    from evals.vocabulary import Vocabulary
    from harness.quantizing.request import Role

LEAST_TOKENS: Final = 16
"""A last window of fewer tokens is dropped, unless it is a whole document."""


@dataclass(frozen=True)
class Sample:
    """What the model is calibrated on at once."""

    role: Role
    documents: tuple[int, ...]
    """Places in the source, from 0."""
    ids: tuple[int, ...]
    text: str

    @property
    def sha256(self) -> str:
        """Digest of the token ids, written in decimal with commas."""
        return hashlib.sha256(",".join(map(str, self.ids)).encode()).hexdigest()


def windows(
    role: Role, documents: Sequence[Document], vocabulary: Vocabulary, length: int
) -> list[Sample]:
    """Cut documents; each window begins as the tokenizer begins a text, and none is there twice."""
    begin = (vocabulary.bos,) if vocabulary.adds_bos and vocabulary.bos is not None else ()
    size = length - len(begin)
    texts = [document.text for document in documents]
    encodings = vocabulary.tokenizer.encode_batch(texts, add_special_tokens=False)
    found: dict[tuple[int, ...], Sample] = {}
    for place, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
        tokens, offsets = encoding.ids, encoding.offsets  # each made anew when it is asked for
        for start in range(0, len(tokens), size):
            ids = (*begin, *tokens[start : start + size])
            if start and len(ids) < LEAST_TOKENS:
                continue
            end = start + len(ids) - len(begin)
            cut = text[offsets[start][0] : offsets[end - 1][1]]
            found.setdefault(ids, Sample(role, (place,), ids, cut))
    return list(found.values())


def packed(samples: Sequence[Sample], length: int) -> list[Sample]:
    """Join samples that follow each other while they fit into `length` tokens."""
    found: list[Sample] = []
    for sample in samples:
        if found and len(found[-1].ids) + len(sample.ids) <= length:
            last = found.pop()
            sample = Sample(  # noqa: PLW2901 - grows
                last.role,
                last.documents + sample.documents,
                last.ids + sample.ids,
                f"{last.text}\n\n{sample.text}",
            )
        found.append(sample)
    return found


def draw(
    counts: Mapping[Role, int],
    candidates: Mapping[Role, Sequence[Sample]],
    *,
    length: int,
    pack: bool,
    seed: int,
) -> list[Sample]:
    """Draw exactly so many samples of each role, in an order that mixes them.

    The same candidates and seed give the same samples; roles do not influence each other's.

    Raises:
        BadInputError: a role's text has not that many.
    """
    drawn: list[Sample] = []
    for role, count in counts.items():
        if not count:
            continue
        shuffled = list(candidates[role])
        Random(f"{seed}:{role}").shuffle(shuffled)  # noqa: S311 - no secret
        if pack:
            shuffled = packed(shuffled, length)
        if len(shuffled) < count:
            raise BadInputError(
                f"--{role}: its text makes {len(shuffled)} samples of {length} tokens, and {count} "
                "are wanted",
                hint="Give more text, fewer --samples, a shorter --sequence-length"
                + (", or leave out --pack." if pack else "."),
            )
        drawn += shuffled[:count]
    Random(f"{seed}:order").shuffle(drawn)  # noqa: S311 - no secret
    return drawn
