"""A text as tokens, with the tokenizer that the server uses, and where bytes and words lie.

A text is tokenized whole and once. Of n tokens, `byte_at` and `word_at` have n + 1 entries: bytes
of UTF-8, and words (runs between white space) that begin, before each token; so the bytes and words
of tokens b…e are differences, and every one of them belongs to exactly one token.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evals.errors import NeedError, SuiteError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from evals.perplexity.documents import Document

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


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A `tokenizer.json`, as the evals use it."""

    tokenizer: Tokenizer
    sha256: str
    bos: int | None
    """Id of BOS, None where the tokenizer names none."""
    bos_name: str
    adds_bos: bool
    """Whether the tokenizer itself begins a text with BOS."""

    def encode(self, document: Document) -> Encoded:
        """Return the tokens of a text, no special ones added.

        Raises:
            SuiteError: it holds characters that have no UTF-8.
        """
        text = document.text
        codes = np.frombuffer(_utf32(text), dtype=np.uint32)
        sizes = 1 + np.searchsorted(_LONGER_FROM, codes, side="right")
        byte_of = np.concatenate([[0], np.cumsum(sizes)])
        word_starts = np.array([match.start() for match in _WORD.finditer(text)], dtype=np.int64)
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
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


def load_vocabulary(folder: str | None) -> Vocabulary:
    """Read the tokenizer of a folder.

    BOS is what the tokenizer puts in front of a text by itself; where it puts nothing there, the
    `bos_token` of `tokenizer_config.json`.

    Raises:
        NeedError: there is none, or it cannot be read.
    """
    from pathlib import Path

    from tokenizers import Tokenizer

    if folder is None:
        raise NeedError(
            "scoring prompts needs the tokenizer that the server uses: give --tokenizer DIR, "
            "a folder with its tokenizer.json"
        )
    path = Path(folder) / "tokenizer.json"
    try:
        data = path.read_bytes()
        tokenizer = Tokenizer.from_str(data.decode())
    except OSError as error:
        raise NeedError(f"--tokenizer: cannot read {path}: {error.strerror}") from error
    except Exception as error:  # tokenizers raises bare Exception
        raise NeedError(f"--tokenizer: {path} is no tokenizer.json: {error}") from error
    tokenizer.no_truncation()  # some files cut every text at 512 tokens, or fill it up
    tokenizer.no_padding()
    config = _config(path.with_name("tokenizer_config.json"))
    begin = _begins_with(tokenizer)
    named = config.get("bos_token")
    name = str(named.get("content", "")) if isinstance(named, dict) else str(named or "")
    bos = begin if begin is not None else tokenizer.token_to_id(name)
    return Vocabulary(
        tokenizer=tokenizer,
        sha256=hashlib.sha256(data).hexdigest(),
        bos=bos,
        bos_name="" if bos is None else str(tokenizer.id_to_token(bos)),
        adds_bos=begin is not None or (bos is not None and config.get("add_bos_token") is True),
    )


def joined(documents: Sequence[Document], join: str) -> Document:
    """Return all documents as one, which is no more of one category."""
    from evals.perplexity.documents import Document

    if len(documents) == 1:
        return documents[0]
    return Document(join.join(document.text for document in documents))


def _begins_with(tokenizer: Tokenizer) -> int | None:
    """Id that the tokenizer puts in front of a text, e.g. by its post-processor."""
    with_special = tokenizer.encode("a", add_special_tokens=True).ids
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    return int(with_special[0]) if with_special[:1] != plain[:1] else None


def _config(path: Path) -> dict[str, object]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _utf32(text: str) -> bytes:
    try:
        return text.encode("utf-32-le")
    except UnicodeEncodeError as error:
        raise SuiteError(f"[perplexity] text: {error.reason} at character {error.start}") from error
