"""What answers look like on the wire, one shape per dialect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from launchers.mock.answer import Answer

_CHARS_PER_TOKEN = 4
MODEL = "mock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request's body asks for."""

    tokens: int = 16
    stream: bool = False
    prompt_tokens: int = 1
    pinned: bool = False
    """Whether the answer must have this length (`ignore_eos`)."""


class Shape(Protocol):
    """One dialect. Events are whole, blank line included; texts need no escaping in JSON."""

    @property
    def paths(self) -> tuple[bytes, ...]:
        """How the request's path ends."""

    def asked(self, body: dict[str, Any]) -> Asked:
        """Read a request."""

    def head(self, answer: Answer) -> bytes:
        """Return the events before the first token."""

    def token(self, answer: Answer, text: str) -> bytes:
        """Return the event of a token that is not the last."""

    def last(self, answer: Answer, text: str) -> bytes:
        """Return the event of the last token."""

    def tail(self, answer: Answer) -> bytes:
        """Return the events after the last token."""

    def error(self) -> bytes:
        """Return the events of an answer that the server gives up."""

    def document(self, answer: Answer, text: str) -> Any:  # noqa: ANN401 - JSON
        """Return the whole answer of a request that did not ask for a stream."""

    def document_head(self, answer: Answer) -> str:
        """Return headers of such an answer, a line end behind each."""


def count_tokens(prompt: object) -> int:
    """Count a prompt: the length of a list of token ids, else a token for every four characters."""
    if isinstance(prompt, list) and all(isinstance(item, int) for item in prompt):
        return max(1, len(prompt))
    text = prompt if isinstance(prompt, str) else "".join(map(str, prompt or ()))  # type: ignore[call-overload]
    return max(1, -(-len(text) // _CHARS_PER_TOKEN))


def event(content: dict[str, Any], space: bytes = b" ") -> bytes:
    """Return a server-sent event."""
    return b"data:" + space + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"
