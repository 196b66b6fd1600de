"""What a server answered to each request, kept as it comes: a killed run asks only for the rest.

A key holds the server's identity beside all that was sent, so that no build is ever graded by
another's answers (which lm-eval's own cache allows: its key is the request alone).
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from evals.endpoint import Endpoint


class Said(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One prompt's answer."""

    key: str
    loglikelihood: float = 0.0
    """Σ ln p of the scored tokens, summed from left to right; nats."""
    greedy: bool = False
    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    output_tokens: int | None = None
    sent_ns: int = 0
    latency_ms: float = 0.0
    attempts: int = 1


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Said)


class Cache:
    """The answers of one folder, open for more."""

    def __init__(self, path: Path, endpoint: Endpoint) -> None:
        """Read what is there."""
        self._path = path
        self._who = hashlib.sha256(
            msgspec.json.encode((endpoint.base_url, endpoint.model, endpoint.identity))
        )
        self._said: dict[str, Said] = {}
        if path.is_file():
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1  # a killed writer may have left a torn line
            if whole < len(data):
                os.truncate(path, whole)
            for line in data[:whole].splitlines():
                said = _decoder.decode(line)
                self._said[said.key] = said

    def __enter__(self) -> Self:
        self._file = self._path.open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def key(self, *sent: object) -> str:
        """Return the key of what is sent."""
        digest = self._who.copy()
        digest.update(_encoder.encode(sent))
        return digest.hexdigest()[:32]

    def get(self, key: str) -> Said | None:
        """Return what was said, if it was asked."""
        return self._said.get(key)

    def add(self, said: Iterable[Said]) -> None:
        """Keep answers; they are with the kernel when this returns."""
        lines = []
        for one in said:
            self._said[one.key] = one
            lines.append(_encoder.encode(one) + b"\n")
        self._file.write(b"".join(lines))
        self._file.flush()
