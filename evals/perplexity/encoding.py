"""A text as tokens, with the tokenizer that the server uses, and where bytes and words lie.

A text is tokenized whole and once. Of n tokens, `byte_at` and `word_at` have n + 1 entries: bytes
of UTF-8, and words (runs between white space) that begin, before each token; so the bytes and words
of tokens b…e are differences, and every one of them belongs to exactly one token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evals.errors import SuiteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evals.perplexity.documents import Document
    from evals.vocabulary import Vocabulary

_WORD = re.compile(r"\S+")
_LONGER_FROM = (0x80, 0x800, 0x10000)
"""Code points from which UTF-8 takes a byte more."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One text whose windows do not reach beyond it: a document, or all of them joined."""

    text: str
    ids: list[int]
    char_at: NDArray[np.int64]
    """(n + 1,) where each token begins, in characters."""
    byte_at: NDArray[np.int64]
    word_at: NDArray[np.int64]
    category: str
    cluster: str

    def start(self, tokens: int) -> Encoded:
        """Return its first tokens as a text of their own."""
        if tokens >= len(self.ids):
            return self
        return replace(
            self,
            text=self.text[: self.char_at[tokens]],
            ids=self.ids[:tokens],
            char_at=self.char_at[: tokens + 1],
            byte_at=self.byte_at[: tokens + 1],
            word_at=self.word_at[: tokens + 1],
        )


def encode(vocabulary: Vocabulary, document: Document) -> Encoded:
    """Return the tokens of a text, no special ones added.

    Raises:
        SuiteError: it holds characters that have no UTF-8.
    """
    text = document.text
    codes = np.frombuffer(_utf32(text), dtype=np.uint32)
    sizes = 1 + np.searchsorted(_LONGER_FROM, codes, side="right")
    byte_of = np.concatenate([[0], np.cumsum(sizes)])
    word_starts = np.array([match.start() for match in _WORD.finditer(text)], dtype=np.int64)
    encoding = vocabulary.tokenizer.encode(text, add_special_tokens=False)
    char_at = np.array([*(begin for begin, _ in encoding.offsets), len(text)], dtype=np.int64)
    char_at[0] = 0
    char_at = np.maximum.accumulate(char_at)
    return Encoded(
        text=text,
        ids=list(encoding.ids),
        char_at=char_at,
        byte_at=byte_of[char_at],
        word_at=np.searchsorted(word_starts, char_at, side="left").astype(np.int64),
        category=document.category,
        cluster=document.cluster,
    )


def joined(documents: Sequence[Document], join: str) -> Document:
    """Return all documents as one, which is no more of one category."""
    from evals.perplexity.documents import Document

    if len(documents) == 1:
        return documents[0]
    return Document(join.join(document.text for document in documents))


def _utf32(text: str) -> bytes:
    try:
        return text.encode("utf-32-le")
    except UnicodeEncodeError as error:
        raise SuiteError(f"[perplexity] text: {error.reason} at character {error.start}") from error
