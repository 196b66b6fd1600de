"""Takes the secrets that were sent out of what a server repeats of them, before it is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from loadprofiles.wire.heads import secret_lines
from loadprofiles.wire.stream import HTTP_OK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadprofiles.records import DrivePlan
    from loadprofiles.wire.stream import Stream

_SHORTEST, _SHORTEST_IN_ANSWERS = 4, 8
"""Characters of a secret: `1` is none. Shorter ones may be a word of the dialect itself."""


class Mask:
    """The secrets of a plan's requests: headers' values, and the key without its scheme."""

    def __init__(self, plan: DrivePlan, values: Mapping[str, str] | None = None) -> None:
        sent = {line.partition(": ")[2] for line in secret_lines(plan, values)}
        sent |= {text.rpartition(" ")[2] for text in sent}
        sent |= {msgspec.json.encode(text).decode()[1:-1] for text in sent}
        found = {text.encode("latin-1", "replace") for text in sent if len(text) >= _SHORTEST}
        self._secrets = sorted(found, key=len, reverse=True)
        self._spelled = {
            least: _any_of([one for one in self._secrets if len(one) >= least])
            for least in (_SHORTEST, _SHORTEST_IN_ANSWERS)
        }

    def hide(self, stream: Stream) -> None:
        """Put as many stars in each secret's place: where events lie does not change."""
        least = _SHORTEST_IN_ANSWERS if stream.status == HTTP_OK else _SHORTEST
        for secret in self._secrets:
            stars = b"*" * len(secret)
            if len(secret) >= least and secret in stream.body:
                stream.body = stream.body.replace(secret, stars)
            for name in ("note", "detail"):
                if text := getattr(stream, name):
                    shown = text.replace(secret.decode("latin-1"), stars.decode())
                    setattr(stream, name, shown)
        if (spelled := self._spelled[least]) and any(
            mark in stream.body for mark in (rb"\/", rb"\u00")
        ):
            stream.body = bytearray(spelled.sub(lambda found: b"*" * len(found[0]), stream.body))


def _any_of(secrets: list[bytes]) -> re.Pattern[bytes] | None:
    return re.compile(b"|".join(map(_spelled, secrets))) if secrets else None


def _spelled(secret: bytes) -> bytes:
    r"""Match it however JSON may write it: `\/` for `/`, and `\u002f`."""
    return b"".join(
        rb"(?:\\?" + re.escape(one) + rb"|\\u(?i:%04x))" % one[0]
        for one in (secret[at : at + 1] for at in range(len(secret)))
    )
