"""A JSON document in the answer: valid by a schema, and its fields as expected."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ConfigDict, Field

from evals.cpu_limit import CpuLimitError, cpu_limit
from evals.errors import SuiteError
from evals.grading import Grade, Grader, Item

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 0.5
"""Of processor time for one answer: a schema may hold patterns."""
_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_MISSING = object()


class Json(Grader):
    """One JSON object or array, alone, in a code fence or within other text.

    The score is the share of fields that are as in `expected`; 0 where the schema is broken.
    """

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["json"]
    rules: dict[str, Any] | str | None = Field(default=None, alias="schema")
    """A JSON Schema (2020-12), or its file's path (relative to the TOML file)."""
    fields: tuple[str, ...] = ()
    """Paths of the fields that count, such as `card.country` or `items.0`; without them all of
    `expected`'s own."""
    ignore_case: bool = False
    """Of texts."""
    absolute: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """By how much a number may be off."""

    @property
    def needs_expected(self) -> bool:  # type: ignore[override]  # a schema alone is enough
        """Whether items must say what they expect."""
        return self.rules is None or bool(self.fields)

    def beside(self, folder: Path) -> Self:
        """See `Grader.beside`; the schema itself is checked, too."""
        rules = self.rules
        if isinstance(rules, str):
            try:
                rules = json.loads((folder / rules).read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise SuiteError(f"domain.grader.schema: {rules}: {error}") from error
        if rules is not None:
            _check_schema(rules)
        return self.model_copy(update={"rules": rules})

    def problem(self, item: Item) -> str | None:
        """See `Grader.problem`."""
        expected = self._expected(item)
        if expected is None:
            return "expected should be a JSON object or array, or a text that holds one"
        if expected is _MISSING:
            return None
        lacking = [path for path in self.fields if _at(expected, path) is _MISSING]
        if lacking:
            return f"expected has no {', '.join(lacking)}, which domain.grader.fields names"
        return None if self._paths(expected) else "expected has no field to compare"

    def grade(self, text: str, item: Item, *, cut: bool = False) -> Grade:
        """See `Grader.grade`."""
        del cut  # a document that is whole is whole
        found = list(islice(_documents(text), 2))
        if len(found) != 1:
            several = "several JSON documents that differ" if found else "no JSON"
            return Grade("unparsed", 0.0, several)
        (document,) = found
        broken = self._broken(document)
        if broken:
            return Grade("scored", 0.0, f"schema: {broken}")
        expected = self._expected(item)
        if expected is _MISSING or expected is None:
            return Grade("scored", 1.0, "by the schema")
        paths = self._paths(expected)
        wrong = [p for p in paths if not self._same(_at(document, p), _at(expected, p))]
        read = f"wrong: {', '.join(wrong)}" if wrong else "all fields right"
        return Grade("scored", 1 - len(wrong) / len(paths), read[:500])

    def _expected(self, item: Item) -> Any:  # noqa: ANN401 - a JSON value
        """Return the document expected; _MISSING where none is, None where it is no document."""
        value = item.expected
        if value == "" and not self.needs_expected:
            return _MISSING
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
        return value if isinstance(value, dict | list) else None

    def _paths(self, expected: Any) -> list[str]:  # noqa: ANN401 - a JSON value
        own = expected if isinstance(expected, dict) else range(len(expected))
        return list(self.fields) or [str(key) for key in own]

    def _broken(self, document: object) -> str | None:
        if not isinstance(self.rules, dict):
            return None
        try:
            with cpu_limit(LIMIT_S):
                error = next(_validator(self.rules).iter_errors(document), None)
        except CpuLimitError:
            return "checking takes too long"
        except RecursionError:
            return "it is nested too deeply"
        return None if error is None else f"{error.json_path}: {error.message}"[:200]

    def _same(self, one: object, other: object) -> bool:
        if isinstance(one, bool) or isinstance(other, bool):
            return one is other
        if isinstance(one, int | float) and isinstance(other, int | float):
            return one == other or abs(one - other) <= self.absolute
        if isinstance(one, str) and isinstance(other, str):
            one, other = one.strip(), other.strip()
            return one.casefold() == other.casefold() if self.ignore_case else one == other
        if isinstance(one, list) and isinstance(other, list):
            return len(one) == len(other) and all(map(self._same, one, other))
        if isinstance(one, dict) and isinstance(other, dict):
            return one.keys() == other.keys() and all(self._same(one[k], other[k]) for k in one)
        return one is None and other is None


def _documents(text: str) -> Iterator[Any]:
    """Yield the objects and arrays of a text, those that are equal once.

    The whole text, or else what is in code fences, or else whatever can be read from a brace or
    bracket on.
    """
    whole = _loads(text)
    if whole is not None:
        yield whole
        return
    fences = [_loads(fence[1]) for fence in _FENCE.finditer(text)]
    fenced = [value for value in fences if value is not None]
    seen = set()
    for value in fenced or _embedded(text):
        key = json.dumps(value, sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield value


def _loads(text: str) -> Any | None:  # noqa: ANN401 - a JSON value
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


_MOST_TRIES = 200
"""Braces and brackets at which no document begins, before a text is given up."""
_MOST_TIMES = 4
"""As often as a text may be read in vain."""


def _embedded(text: str) -> Iterator[Any]:
    at, tries, left = 0, 0, _MOST_TIMES * len(text)
    while tries < _MOST_TRIES and left >= 0:
        match = re.compile(r"[{\[]").search(text, at)
        if match is None:
            return
        try:
            value, at = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError) as error:
            left -= getattr(error, "pos", len(text)) - match.start()
            at, tries = match.end(), tries + 1
            continue
        yield value


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _at(document: Any, path: str) -> Any:  # noqa: ANN401 - a JSON value
    """Return what stands at a path, or _MISSING; a key that holds dots itself is found first."""
    if isinstance(document, dict) and path in document:
        return document[path]
    for part in path.split("."):
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return _MISSING
    return document


def _validator(rules: dict[str, Any]) -> Any:  # noqa: ANN401 - jsonschema has no types
    from jsonschema import Draft202012Validator
    from referencing import Registry

    return Draft202012Validator(rules, registry=Registry())  # which fetches nothing


def _check_schema(rules: Any) -> None:  # noqa: ANN401 - a JSON value
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    if not isinstance(rules, dict):
        raise SuiteError("domain.grader.schema: should be a JSON object")
    try:
        Draft202012Validator.check_schema(rules)
    except (SchemaError, RecursionError) as error:
        text = getattr(error, "message", "nested too deeply")
        raise SuiteError(f"domain.grader.schema: no JSON Schema: {text[:300]}") from error
    resource = DRAFT202012.create_resource(rules)
    root = resource.id() or ""
    resolver = Registry().with_resource(root, resource).resolver(root)
    for reference in _references(rules):
        try:
            resolver.lookup(reference)
        except (Unresolvable, ValueError) as error:
            raise SuiteError(
                f"domain.grader.schema: {reference} points at nothing in this schema, and other "
                "files are not fetched; write what it means under $defs"
            ) from error


def _references(value: Any) -> Iterator[str]:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict):
        for key in ("$ref", "$dynamicRef"):
            if isinstance(value.get(key), str):
                yield value[key]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _references(part)


GRADER: type[Grader] = Json
