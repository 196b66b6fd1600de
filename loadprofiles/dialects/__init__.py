"""Wire dialects: how a request is written and what one event of the answer means.

Each module of this folder ends in `DIALECT: Dialect = …`; the folder is the registry.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Annotated, Literal, NamedTuple, Protocol, cast

import msgspec

from loadprofiles.errors import UnknownDialectError

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
"""A number of tokens as a server states it; more than this can be no count."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


Prompt = str | list[Message]
"""A text, or a conversation whose last turn is the user's."""


def as_messages(prompt: Prompt) -> list[Message]:
    """Return a conversation; a text is one user's turn."""
    return [Message("user", prompt)] if isinstance(prompt, str) else prompt


def as_text(prompt: Prompt) -> str:
    """Return one text, for APIs without turns.

    An answer stands right behind the text that it once continued, so that a prefix cache knows
    both; every other turn begins on a line of its own.
    """
    if isinstance(prompt, str):
        return prompt
    text = "".join(
        turn.content if turn.role == "assistant" else f"\n{turn.content}" for turn in prompt
    )
    return text.removeprefix("\n")


class Event(NamedTuple):
    """What one server-sent event says."""

    text: str = ""
    """Generated text of the answer: content, a refusal, a tool call."""
    reasoning: str = ""
    """Generated text that is none of the answer's."""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    choice: bool = False
    """It carries a choice, and so a token, with or without text; a role alone is none."""
    error: str | None = None
    """Message of an error event inside a 200 stream."""
    end: bool = False
    """The dialect's own end mark."""


Told = str | Event
"""What an event says; where it is text of the answer and nothing else, that text. Most are."""


class Dialect(Protocol):
    """One way of asking for a completion and of streaming it back.

    Finish reasons are OpenAI's: "length" for an answer cut at its limit, "stop" for one that
    ended by itself, and what else there is.
    """

    path: str
    """Where to ask for a stream of events, e.g. `/completions`."""
    whole_path: str
    """Where to ask for one document."""
    at_root: bool
    """Whether these hang at the server's root, and not at the API's base (`…/v1`)."""
    pins: tuple[str, ...]
    """Fields by which the output length can be pinned; an engine may know only some of them."""
    template_tokens: int
    """Tokens that the server may put around a prompt, beyond its own special ones."""

    def encode(
        self, model: str, prompt: Prompt, max_tokens: int, pin: tuple[str, ...], *, stream: bool
    ) -> bytes:
        """Return the request's JSON body on one line.

        `pin`: those of `pins` to set, so that the answer has exactly `max_tokens`.
        """
        ...

    def decode(self, data: bytes) -> Event:
        """Read one event's data.

        Raises:
            msgspec.DecodeError: it is not what this dialect sends.
            UnicodeDecodeError, RecursionError: neither, and further from it.
        """
        ...

    def decode_lines(self, lines: bytes) -> list[Told]:
        """Read the data of many events, one a line: the same, at a fraction of the cost.

        Raises: as `decode`; nothing says which line it was.
        """
        ...

    def decode_whole(self, data: bytes) -> Event:
        """Read the one document of an answer that was not asked for as a stream.

        Raises: as `decode`.
        """
        ...


class _ErrorBody(msgspec.Struct, gc=False):
    error: object = None
    message: str | None = None
    detail: object = None


def error_message(content: bytes | bytearray) -> str | None:
    """Return what a JSON error object says, of OpenAI's, FastAPI's and TGI's shapes.

    That is `error.message`, `error`, `message` or `detail`; None where there is none of them.
    """
    try:
        body = msgspec.json.decode(content, type=_ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _words(body.error, body.message, body.detail)


def error_words(error: object, message: object = None) -> str:
    """Return what the `error` and `message` of an error event say."""
    return _words(error, message, None) or "an error event without a message"


def _words(error: object, message: object, detail: object) -> str | None:
    if isinstance(error, dict) and error.get("message"):
        return str(error["message"])
    said = error or message or detail
    return str(said) if said else None


def dialect_names() -> list[str]:
    """Names of the dialects in this folder, as the command line spells them."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__))


def load_dialect(name: str) -> Dialect:
    """Return the dialect of that name.

    Raises:
        UnknownDialectError: there is none; the message lists those there are.
    """
    names = dialect_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UnknownDialectError(f"dialect: no dialect {name!r} ({', '.join(names)}){meant}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return cast("Dialect", module.DIALECT)
