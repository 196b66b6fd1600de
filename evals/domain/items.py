"""Items of a domain suite: a user's JSON lines, or questions that a generator makes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from evals.errors import GARBAGE, SuiteError
from evals.files import open_file
from evals.grading import Item
from evals.transactions import choices, generate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from evals.suite import DomainSettings

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
MAX_ITEMS = 200_000
MOST_SHOWN = 20
"""Mistakes that one error lists."""
_EMBEDDED = "embedded:"
_TEXTS = ("input", "category", "cluster", "id")
_ID_DIGITS = 12
_JSON_NAMES = {dict: "an object", list: "an array", int: "a number", float: "a number",
               bool: "a boolean"}  # fmt: skip


class Mistakes:
    """Collects what is wrong with a file's lines, to tell all of it at once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lines: list[tuple[int, str]] = []

    def add(self, line: int, text: str) -> None:
        """Keep one more."""
        self._lines.append((line, text))

    @property
    def there(self) -> bool:
        """Whether there are any."""
        return bool(self._lines)

    def tell(self) -> None:
        """Raise them.

        Raises:
            SuiteError: there are some.
        """
        if not self._lines:
            return
        shown = [f"{self._path}:{line}: {text}" for line, text in sorted(self._lines)[:MOST_SHOWN]]
        more = len(self._lines) - len(shown)
        count = f"{len(self._lines)} mistakes in the items:\n" if len(self._lines) > 1 else ""
        raise SuiteError(count + "\n".join(shown) + (f"\n… and {more} more" if more else ""))


def load_items(settings: DomainSettings, base_dir: Path) -> tuple[list[Item], Mistakes]:
    """Return a suite's items, and where to put what else is wrong with them.

    Raises:
        SuiteError: they cannot be read; all mistakes, each with its line.
    """
    if settings.items.startswith(_EMBEDDED):
        name = settings.items.removeprefix(_EMBEDDED)
        if name != "transactions":
            raise SuiteError(
                f'domain.items: nothing called {name!r} is embedded; write "embedded:transactions" '
                "or a JSONL file's path"
            )
        return list(_transactions(settings)), Mistakes(settings.items)
    path = base_dir / settings.items
    mistakes = Mistakes(str(path))
    items = list(_read(path, mistakes))
    if not items and not mistakes.there:
        mistakes.add(1, "holds no item; write one JSON object a line, with input and expected")
    mistakes.tell()
    return items, mistakes


def _transactions(settings: DomainSettings) -> Iterator[Item]:
    for question in generate(settings.embedded_seed, settings.embedded_items, "eval"):
        fields: dict[str, object] = {
            "id": question.id,
            "input": question.prompt,
            "expected": question.answer.strip(),
            "category": question.category,
            "cluster": question.template,
            "choices": [choice.strip() for choice in choices(question.category)],
            "hops": question.hops,
        }
        yield _item(fields, question.id, 0)


def _read(path: Path, mistakes: Mistakes) -> Iterator[Item]:
    try:
        with open_file(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SuiteError(f"domain.items: {path} cannot be read: {reason}") from error
    if len(data) > MAX_FILE_BYTES:
        raise SuiteError(f"domain.items: {path} has more than {MAX_FILE_BYTES >> 20} MiB")
    seen: dict[str, int] = {}
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        if len(seen) >= MAX_ITEMS:
            mistakes.add(number, f"more than {MAX_ITEMS:,} items; make two suites of it")
            return
        problems: list[str] = []
        fields = _fields(line, problems)
        own = fields.get("id") if fields else None
        name = str(own) if own else hashlib.sha256(line.strip()).hexdigest()[:_ID_DIGITS]
        if fields is not None and name in seen:
            fix = "give each its own" if own else "leave one out, or give both an id"
            what = f"id {name!r} is that of" if own else "is the same as"
            problems.append(f"{what} line {seen[name]} already; {fix}")
        seen.setdefault(name, number)
        for problem in problems:
            mistakes.add(number, problem)
        if fields is not None and not problems:
            yield _item(fields, name, number)


def _item(fields: dict[str, Any], name: str, line: int) -> Item:
    return Item(
        id=name,
        input=fields["input"],
        expected=fields.get("expected", ""),
        category=str(fields.get("category", "")),
        cluster=str(fields.get("cluster", "")),
        choices=tuple(fields.get("choices") or ()),
        fields=fields,
        line=line,
    )


def _fields(line: bytes, problems: list[str]) -> dict[str, Any] | None:
    """Return what a line says; what is wrong with it is added to `problems`."""
    if len(line) > MAX_LINE_BYTES:
        problems.append(f"has more than {MAX_LINE_BYTES >> 20} MiB")
        return None
    try:
        fields = msgspec.json.decode(line)
    except GARBAGE as error:
        problems.append(f"not JSON: {error}")
        return None
    if not isinstance(fields, dict):
        problems.append("should be a JSON object with input and expected")
        return None
    for name in fields.keys() & set(_TEXTS):
        if name != "input" and isinstance(fields[name], int):
            fields[name] = str(fields[name])
        elif not isinstance(fields[name], str):
            kind = _JSON_NAMES.get(type(fields[name]), "null")
            problems.append(f"{name} should be a text, not {kind}")
    problems += _lacking(fields)
    return fields


def _lacking(fields: dict[str, Any]) -> Iterator[str]:
    if "input" not in fields:
        near = [name for name in ("question", "prompt", "text") if name in fields]
        hint = f"; call {near[0]} so" if near else ""
        yield f"input is missing{hint}"
    elif isinstance(fields["input"], str) and not fields["input"].strip():
        yield "input is empty"
    options = fields.get("choices")
    if options is not None and not (
        isinstance(options, list) and all(isinstance(option, str) for option in options)
    ):
        yield "choices should be a list of texts"
