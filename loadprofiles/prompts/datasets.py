"""Prompts of a user's own: conversations from a JSON or JSON-lines file.

Three layouts are read: ShareGPT's (`conversations` of `from` and `value`), OpenAI's (`messages` of
`role` and `content`) and plain prompts (`prompt`, perhaps with `output_tokens` or `completion`).
The file is data from outside: entries are bounded in size, nothing in it is run, and what is no
conversation is refused with its line. Entries are looked at once and read again when they are
used, so that a large file costs memory for its offsets only.
"""

from __future__ import annotations

import mmap
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from loadprofiles.errors import ProfileError
from loadprofiles.files import open_file
from loadprofiles.prompts.bodies import without_marks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_ENTRY_BYTES = 16 * 1024 * 1024
MAX_ARRAY_BYTES = 2 * 1024 * 1024 * 1024
"""Of a file that is one JSON array: its entries are found all at once."""

Layout = Literal["auto", "sharegpt", "openai", "prompt"]
_ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "chatgpt": "assistant", "bard": "assistant", "bing": "assistant", "model": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
_FIELDS = {"conversations": "sharegpt", "messages": "openai", "prompt": "prompt"}

_NO_LAYOUT = (
    "has none of the fields of a layout; write a JSON object with conversations (a list of from "
    "and value, as ShareGPT), messages (a list of role and content, as OpenAI) or prompt (a text, "
    "perhaps with output_tokens or completion)"
)


class Dataset(BaseModel):
    """The `[dataset]` table of a profile: real prompts instead of made-up ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Annotated[str, Field(min_length=1)]
    """JSON lines, or one JSON array; a relative path begins at the profile's folder."""
    layout: Layout = "auto"
    """auto: by the first entry's fields."""
    skip_longer: bool = False
    """Leave conversations out that are too long for the model; else they are an error."""
    skip_above: Annotated[int, Field(gt=0)] | None = None
    """Leave those of more tokens out, prompts and answers together, whichever model is asked."""


class Said(NamedTuple):
    """What a user said in a turn, and what was answered then."""

    user: str
    answer: str | None
    output_tokens: int | None
    """Of the answer, where the file says so itself."""


class Entry(NamedTuple):
    """One conversation of the file."""

    system: str | None
    turns: list[Said]


class _Words(msgspec.Struct, gc=False):
    """A message of either layout."""

    role: str | None = None
    content: str | list[dict[str, Any]] | None = None
    speaker: str | None = msgspec.field(name="from", default=None)
    value: str | None = None


class _Line(msgspec.Struct, gc=False):
    """An entry of any layout."""

    conversations: list[_Words] | None = None
    messages: list[_Words] | None = None
    prompt: str | None = None
    completion: str | None = None
    output_tokens: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


_Raws = list[msgspec.Raw]
_decode = msgspec.json.Decoder(_Line).decode


class Entries:
    """The conversations of a file, by position; those in which no user says anything left out.

    Attributes:
        silent: how many were left out for that.

    Raises:
        ProfileError: the file cannot be read, or an entry is none; with its line.
    """

    def __init__(self, path: Path, layout: Layout = "auto") -> None:
        self._path = path
        self._layout = layout
        self.silent = 0
        self._starts, self._ends, self._lines = array("q"), array("q"), array("q")
        try:
            with open_file(path) as file:
                size = file.seek(0, 2)
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except OSError as error:
            raise _bad(path, f"cannot be read: {(error.strerror or str(error)).lower()}") from error
        try:
            for line, start, end in self._found():
                if self._read(line, start, end).turns:
                    self._starts.append(start)
                    self._ends.append(end)
                    self._lines.append(line)
                else:
                    self.silent += 1
        except BaseException:
            self.close()
            raise
        if not self._starts:
            self.close()
            raise _bad(path, "holds no conversation in which a user says anything")

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, position: int) -> Entry:
        return self._read(self._lines[position], self._starts[position], self._ends[position])

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self._map, mmap.mmap):
            with suppress(BufferError):  # an error's traceback may still hold a part of it
                self._map.close()

    def _found(self) -> Iterator[tuple[int, int, int]]:
        """Yield line, start and end of each entry."""
        head = self._map[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if head == b"[":
            yield from self._array()
            return
        start, line = _after_bom(self._map), 0
        while start < len(self._map):
            line += 1
            end = self._map.find(b"\n", start, start + MAX_ENTRY_BYTES + 1)
            end = len(self._map) if end < 0 else end
            if end - start > MAX_ENTRY_BYTES:
                raise self._mistake(line, f"has more than {MAX_ENTRY_BYTES >> 20} MiB")
            if self._map[start:end].strip():
                yield line, start, end
            start = end + 1

    def _array(self) -> Iterator[tuple[int, int, int]]:
        """Yield the entries of a JSON array, whose line is where they begin."""
        if len(self._map) > MAX_ARRAY_BYTES:
            raise _bad(
                self._path,
                f"is one JSON array of more than {MAX_ARRAY_BYTES >> 30} GiB; write one entry a "
                "line instead",
            )
        try:
            raws = msgspec.json.decode(memoryview(self._map)[_after_bom(self._map) :], type=_Raws)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _bad(self._path, f"is no JSON array: {error}") from error
        line, at = 1, 0
        for raw in raws:
            piece = bytes(raw)
            start = self._map.find(piece, at)
            line += self._map[at:start].count(b"\n")
            if len(piece) > MAX_ENTRY_BYTES:
                raise self._mistake(line, f"has more than {MAX_ENTRY_BYTES >> 20} MiB")
            yield line, start, start + len(piece)
            line += piece.count(b"\n")
            at = start + len(piece)

    def _read(self, line: int, start: int, end: int) -> Entry:
        try:
            found = _decode(self._map[start:end])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._mistake(line, str(error)) from error
        layout = self._layout
        if layout == "auto":
            layout = self._layout = self._guess(line, found)
        try:
            return _entry(found, layout)
        except ValueError as error:
            raise self._mistake(line, str(error)) from error

    def _guess(self, line: int, found: _Line) -> Layout:
        for name, layout in _FIELDS.items():
            if getattr(found, name) is not None:
                return layout  # type: ignore[return-value]  # all of them are
        raise self._mistake(line, _NO_LAYOUT)

    def _mistake(self, line: int, problem: str) -> ProfileError:
        return _bad(self._path, problem, line)


def _after_bom(content: mmap.mmap | bytes) -> int:
    return 3 if content[:3] == b"\xef\xbb\xbf" else 0


def _bad(path: Path, problem: str, line: int | None = None) -> ProfileError:
    where = f"{path}, line {line}:" if line is not None else str(path)
    return ProfileError("dataset.file", f"{where} {problem}")


def _entry(found: _Line, layout: Layout) -> Entry:
    """Bring an entry into one form.

    Raises:
        ValueError: it is none of this layout.
    """
    if layout == "prompt":
        if found.prompt is None:
            raise ValueError("has no prompt, unlike the layout prompt")
        said = Said(without_marks(found.prompt), found.completion, found.output_tokens)
        return Entry(None, [said] if said.user.strip() else [])
    words = found.conversations if layout == "sharegpt" else found.messages
    if words is None:
        field = next(name for name, known in _FIELDS.items() if known == layout)
        raise ValueError(f"has no {field}, unlike the layout {layout}")
    system: list[str] = []
    turns: list[Said] = []
    for number, word in enumerate(words, 1):
        role = word.speaker if layout == "sharegpt" else word.role
        known = _ROLES.get((role or "").lower())
        if known is None:
            raise ValueError(f"message {number} is of {role!r}; known are {', '.join(_ROLES)}")
        text = word.value if layout == "sharegpt" else _content(word.content, number)
        text = without_marks(text or "")
        if known == "system":
            system.append(text)
        elif known == "assistant":
            if turns:  # what an assistant says before anybody asked answers nobody
                last = turns[-1]
                turns[-1] = last._replace(answer=_joined(last.answer, text))
        elif turns and turns[-1].answer is None:
            turns[-1] = turns[-1]._replace(user=_joined(turns[-1].user, text))
        else:
            turns.append(Said(text, None, None))
    turns = [turn for turn in turns if turn.user.strip()]
    return Entry(_joined(None, "\n".join(system)) if system else None, turns)


def _joined(before: str | None, text: str) -> str:
    return text if before is None else f"{before}\n{text}"


def _content(content: str | list[dict[str, Any]] | None, number: int) -> str:
    """Return the text of a message, whose content may come in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"message {number} has content that is no text (an image, a file)")
    return "\n".join(map(str, texts))
