"""What can go wrong, and with which request.

The same seed gives the same faults in the order that requests come in, whatever else is asked.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FAULTS = {
    "http_400": "400 with OpenAI's error body",
    "http_401": "401",
    "http_429": "429 with Retry-After",
    "http_500": "500",
    "http_503": "503 with a body that is no JSON",
    "redirect": "307 to another host",
    "error_event": "an error event after three tokens of a 200 stream",
    "reset": "the connection is reset after three tokens",
    "truncated": "the connection is closed after three tokens",
    "stall": "nothing more comes after three tokens",
    "silent": "no answer at all",
    "empty": "a finished stream without a token",
    "malformed": "an event that is no JSON",
    "no_usage": "a stream without its usage chunk",
    "no_stream": "one JSON document, as if `stream` had not been asked for",
    "no_http": "bytes of another protocol",
    "early_stop": "the answer ends by itself after a third of the tokens",
    "repeats": "the answer says the same three words over and over",
}
BREAK_AFTER = 3
"""Tokens before a fault in mid-stream."""
MID_STREAM = frozenset({"error_event", "reset", "truncated", "stall"})


class Faults:
    """Draws what goes wrong with each request.

    Args:
        shares: names and shares of the requests; at most 1 in all.
        seed: of the draw.
    """

    def __init__(self, shares: Sequence[tuple[str, float]], seed: int) -> None:
        self._shares = shares
        self._draw = random.Random(seed).random  # noqa: S311 - no secret

    def next(self) -> str | None:
        """Return the next request's fault."""
        if not self._shares:
            return None
        drawn = self._draw()
        for name, share in self._shares:
            if drawn < share:
                return name
            drawn -= share
        return None
