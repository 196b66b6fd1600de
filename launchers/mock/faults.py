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
    "half_closed": "the server ends its side of the connection after three tokens",
    "stall": "nothing more comes after three tokens",
    "endless": "tokens come on and on",
    "slow_loris": "a head without an end, a byte at each token's time",
    "silent": "no answer at all",
    "black_hole": "no answer, nor one to anybody from then on: new connections are dropped",
    "empty": "a finished stream without a token",
    "malformed": "an event that is no JSON",
    "cut_json": "an event whose JSON ends in its middle",
    "big_event": "a first token of 10 MB",
    "no_usage": "a stream without its usage chunk",
    "no_done": "a stream without its [DONE]",
    "wrong_type": "events that are called application/json",
    "no_stream": "one JSON document, as if `stream` had not been asked for",
    "html": "200 with a page for people, as a proxy's",
    "no_http": "bytes of another protocol",
    "early_stop": "the answer ends by itself after a third of the tokens",
    "repeats": "the answer says the same three words over and over",
}
BREAK_AFTER = 3
"""Tokens before a fault in mid-stream."""
MID_STREAM = frozenset({"error_event", "reset", "truncated", "half_closed", "stall"})
UNENDING = frozenset({"endless", "slow_loris"})
BIG_TEXT = "x" * 10_000_000


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
