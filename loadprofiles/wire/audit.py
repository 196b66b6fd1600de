"""What tells of an answer's text without keeping it: which answers are the same, which repeat."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

LEAST_CHARS = 32
"""zlib's own header and tables outweigh shorter texts."""
_STEP_BYTES = 4096
"""Some 0.1 ms of work."""


def audit(text: str) -> Generator[None, None, tuple[str, float | None]]:
    """Return hash and compression of an answer's text, in steps of a fraction of a millisecond.

    The hash is BLAKE2b in 16 hex digits, "" without text. The compression is the text's size in
    UTF-8 ÷ its size as zlib packs it at level 6, None below 32 characters: the `compression_ratio`
    of Whisper (A. Radford et al., *Robust speech recognition via large-scale weak supervision*,
    2022, and its `whisper/utils.py`), where more than 2.4 is taken for a repeating answer.
    """
    if not text:
        return "", None
    content = text.encode()
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    if len(text) < LEAST_CHARS:
        return digest, None
    packer = zlib.compressobj()
    packed = 0
    for start in range(0, len(content), _STEP_BYTES):
        packed += len(packer.compress(content[start : start + _STEP_BYTES]))
        yield
    return digest, len(content) / (packed + len(packer.flush()))
