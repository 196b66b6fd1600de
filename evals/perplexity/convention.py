"""What a perplexity is by: two of them can be compared only where all of this is the same."""

from __future__ import annotations

import json

import msgspec


class Convention(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the number, besides the model. Lies in the suite's `plan.json`."""

    text: str
    """As the suite names it."""
    text_sha256: str
    tokenizer_sha256: str
    documents: str
    """"joined" or "apart"."""
    join: str
    """Between joined documents."""
    bos: str
    """Token that begins every window; empty: none."""
    window: int
    """Tokens sent at most, BOS included."""
    stride: int
    """Tokens scored in each window of a text after its first."""
    windows: int
    """Windows that are asked."""
    windows_in_all: int
    """More than `windows` where a limit took a random subset of them."""
    tokens: int
    """Tokens scored."""
    bytes: int
    """UTF-8 bytes of them."""
    words: int
    """Runs between white space that begin in them."""

    def __str__(self) -> str:
        """Return one line, to be printed with the number."""
        begin = f"{self.bos} before each" if self.bos else "no BOS"
        overlap = "" if self.stride < self.window - bool(self.bos) else " (disjoint)"
        how = f"joined by {json.dumps(self.join)}" if self.documents == "joined" else "each apart"
        part = "" if self.windows == self.windows_in_all else f" of {self.windows_in_all:,}"
        return (
            f"token perplexity, {self.windows:,}{part} windows of up to {self.window:,} tokens, "
            f"{begin}, stride {self.stride:,}{overlap}, documents {how}, "
            f"{self.tokens:,} tokens scored of {self.text} (sha256 {self.text_sha256[:12]})"
        )
