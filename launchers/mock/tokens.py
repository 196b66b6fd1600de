"""Text to token ids and back: bytes, or a `tokenizer.json`."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Protocol

from launchers.mock.options import OptionsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_BYTES = 256
_PRINTABLE = b" etaoinshrdlucmfwypvbgk.,0123456789"


class Tokens(Protocol):
    """A tokenizer. `bos` is what it puts in front of a text by itself, None where nothing."""

    @property
    def size(self) -> int:
        """Ids lie below this."""

    @property
    def bos(self) -> int | None:
        """The id that begins a text."""

    @property
    def eos(self) -> int | None:
        """The id that ends an answer."""

    @property
    def plain(self) -> tuple[int, ...]:
        """Ids that are clean text wherever they stand: what the model likes to say."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return a text's ids, with BOS where `special` and the tokenizer has one."""

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Return the text, with the names of special tokens or without."""

    def token(self, number: int) -> str:
        """Return one id's text."""


class Bytes:
    """An id for every byte of UTF-8, BOS and EOS after them."""

    size = _BYTES + 2
    bos: int | None = _BYTES
    eos: int | None = _BYTES + 1
    plain = tuple(_PRINTABLE)

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return a text's ids."""
        return [_BYTES] * special + list(text.encode())

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Return the text."""
        names = (b"<s>", b"</s>") if special else (b"", b"")
        parts = (bytes([n]) if n < _BYTES else names[n - _BYTES] for n in ids)
        return b"".join(parts).decode(errors="replace")

    def token(self, number: int) -> str:
        """Return one id's text."""
        return self.decode([number], special=True)


class File:
    """The tokenizer of a folder with a `tokenizer.json`."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:
            raise OptionsError(f"tokenizer: {folder}/tokenizer.json: {error}") from error
        self.size: int = self._tokenizer.get_vocab_size()
        first = self._tokenizer.encode("").ids
        self.bos: int | None = first[0] if first else None
        self.eos: int | None = self._eos(folder / "tokenizer_config.json")
        self.token = functools.cache(self._token)
        added = set(self._tokenizer.get_added_tokens_decoder())
        texts = ((n, self.token(n)) for n in range(self.size) if n not in added)
        self.plain = tuple(n for n, text in texts if text.isprintable() and "\ufffd" not in text)

    def _eos(self, config: Path) -> int | None:
        if not config.is_file():
            return None
        name = json.loads(config.read_text()).get("eos_token")
        name = name.get("content") if isinstance(name, dict) else name
        found: int | None = self._tokenizer.token_to_id(name) if name else None
        return found

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return a text's ids."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        return ids

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Return the text."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=not special)
        return text

    def _token(self, number: int) -> str:
        return self.decode([number], special=True)


def load_tokens(folder: Path | None) -> Tokens:
    """Return a folder's tokenizer, or bytes.

    Raises:
        OptionsError: there is no tokenizer that can be read.
    """
    return Bytes() if folder is None else File(folder)
