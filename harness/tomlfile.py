"""TOML text that remembers where each key stands, so that a mistake has a line."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1 << 20
KeyPath = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')[ \t]*(\.)?""")
_STRING = re.compile(
    r'"{3}(?:[^\\]|\\.)*?"{3,5}|\'{3}.*?\'{3,5}|"(?:[^"\\]|\\.)*"|\'[^\']*\'', re.DOTALL
)
_BARE = re.compile(r"[^,\]}\n#]*")
_TWICE = re.compile(r"Cannot declare (\(.*\)) twice")
_SYNTAX = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)")


@dataclass(frozen=True)
class TomlFile:
    """A parsed file and the line of each of its keys."""

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    def line(self, where: KeyPath) -> int:
        """Line of the key `where`, or of the nearest table around it."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)


def read_toml(path: Path) -> TomlFile:
    """Read a TOML file of at most 1 MiB.

    Raises:
        BadInputError: it is missing, too large, not text, or not TOML (with line and column).
    """
    if not path.is_file():
        raise BadInputError(f"no file {path}")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror or error}") from error
    if len(raw) > MAX_BYTES:
        raise BadInputError(f"{path} is larger than 1 MiB, which no configuration is")
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
        data = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadInputError(f"{path}:{line}: not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInputError(_syntax_message(path, text, str(error))) from error
    except RecursionError as error:
        raise BadInputError(f"{path}: nested too deeply") from error
    return TomlFile(path, data, key_lines(text))


def key_lines(text: str) -> dict[KeyPath, int]:
    """Line (from 1) of each key, table and array item of a text that `tomllib` has accepted."""
    return _Scanner(text).scan()


def _syntax_message(path: Path, text: str, message: str) -> str:
    match = _SYNTAX.fullmatch(message)
    if match is None:
        return f"{path}: {message}"
    line = match[2] or str(text.rstrip("\n").count("\n") + 1)
    column = f":{match[3]}" if match[3] else ""
    if twice := _TWICE.fullmatch(match[1]):
        table = ".".join(re.findall(r"'([^']*)'", twice[1]))
        return f"{path}:{line}: [{table}] is there twice; give the second another name"
    return f"{path}:{line}{column}: not TOML: {match[1][:1].lower()}{match[1][1:]}"


class _Scanner:
    """Walks over valid TOML; it checks nothing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.items: dict[KeyPath, int] = {}
        """How many `[[tables]]` of a name were seen."""
        self.counted = 0
        self.line = 1

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._take(_SPACE)
        while self.at < len(self.text):
            if self.text.startswith("[[", self.at):
                self.at += 2
                table = self._array_table(self._key(()))
                self.at += 2
            elif self.text[self.at] == "[":
                self.at += 1
                table = self._key(())
                self.at += 1
            else:
                self._pair(table)
            self._take(_SPACE)
        return self.lines

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:  # not reached on valid TOML; going on would loop for ever
            raise ValueError(f"line {self._line()} is not TOML")
        self.at = match.end()
        return match[0]

    def _line(self) -> int:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        return self.line

    def _key(self, prefix: KeyPath) -> KeyPath:
        """Take a dotted key; a name that is an array of tables means its newest item."""
        line = self._line()
        while True:
            match = _KEY.match(self.text, self.at)
            if match is None:
                raise ValueError(f"line {line} is not TOML")
            self.at = match.end()
            name = match[1]
            prefix = (*prefix, next(iter(tomllib.loads(f"{name}=0"))))
            self.lines.setdefault(prefix, line)
            if match[2] is None:
                return prefix
            if prefix in self.items:
                prefix = (*prefix, self.items[prefix] - 1)

    def _array_table(self, name: KeyPath) -> KeyPath:
        index = self.items.get(name, 0)
        self.items[name] = index + 1
        self.lines[*name, index] = self._line()
        return (*name, index)

    def _pair(self, table: KeyPath) -> None:
        where = self._key(table)
        self.at += 1  # =
        self._take(_SPACE)
        self._value(where)

    def _value(self, where: KeyPath) -> None:
        first = self.text[self.at]
        if first == "[":
            self._items("]", where)
        elif first == "{":
            self._items("}", where)
        else:
            self._take(_STRING if first in "\"'" else _BARE)

    def _items(self, end: str, where: KeyPath) -> None:
        """Take an array or an inline table."""
        self.at += 1
        index = 0
        while True:
            self._take(_SPACE)
            if self.text[self.at] == ",":
                self.at += 1
            elif self.text[self.at] == end:
                self.at += 1
                return
            elif end == "}":
                self._pair(where)
            else:
                self.lines[*where, index] = self._line()
                self._value((*where, index))
                index += 1
