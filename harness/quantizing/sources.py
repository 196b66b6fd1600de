"""General and domain texts by name.

A name is a file (one text; `.jsonl`: a document a line, with `text`, or an item's `input` and
`expected`; `.parquet`, `.arrow`), `hub:NAME`, `embedded:NAME`, or a suite whose generator holds
questions back for calibration. The items of any other suite are what is asked: no calibration text.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from evals.errors import EvalError
from evals.files import lines_of, open_file
from evals.perplexity.documents import Document
from evals.perplexity.texts import load_documents
from evals.suite import builtin_suites
from harness.config import find_suite
from harness.errors import BadInputError
from loadprofiles.decoding import NO_RECORD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.config import Config
    from harness.quantizing.request import Role

DEMO_GENERAL: Final = "embedded:python-docs-calibration"
DEMO_DOMAIN: Final = "domain"
GENERAL: Final = "hub:c4-train"
_EMBEDDED: Final = "embedded:transactions"
_HELD_BACK: Final = "embedded:transactions-calibration"
_TABLES: Final = (".parquet", ".arrow")


class _Line(msgspec.Struct):
    """A line of a user's file; other fields do not matter."""

    text: str = ""
    input: str = ""
    expected: object = None


_decoder = msgspec.json.Decoder(_Line)


def text_of(role: Role, name: str, config: Config) -> str:
    """Return the text that a name stands for: itself, or what a suite holds back.

    Raises:
        BadInputError: a suite that holds nothing back.
    """
    if name not in config.suites and name not in builtin_suites():
        return name
    suite, _ = find_suite(name, config)
    if suite.domain is not None and suite.domain.items == _EMBEDDED:
        return _HELD_BACK
    raise BadInputError(
        f"--{role}: what the suite {name} asks cannot be calibrated on",
        hint="Give a file with other texts of the same kind: a model that has seen the questions "
        "looks better than it is.",
    )


def documents_of(role: Role, name: str, python: Callable[[], Path]) -> Sequence[Document]:
    """Read a text.

    Args:
        role: for the message.
        name: as `text_of` returns it.
        python: gives a Python with the `datasets` package, where one is needed.

    Raises:
        BadInputError: it cannot be read, or holds nothing.
    """
    path = Path(name).expanduser()
    if not name.startswith(("hub:", "embedded:")) and path.suffix == ".jsonl":
        return _lines(role, path)
    needed = python() if name.startswith("hub:") or path.suffix in _TABLES else None
    try:
        return load_documents(str(path), Path.cwd(), needed)
    except EvalError as error:
        text = str(error).replace(f'[perplexity] text = "{path}"', str(path))
        raise BadInputError(f"--{role}: {text}") from error


def _lines(role: Role, path: Path) -> list[Document]:
    found = []
    try:
        with open_file(path) as file:
            for number, line in enumerate(lines_of(file), 1):
                if line.strip():
                    found.append(_document(line, f"--{role}: {path}:{number}"))
    except OSError as error:
        raise BadInputError(f"--{role}: {path} cannot be read: {error.strerror}") from error
    if not found:
        raise BadInputError(f"--{role}: {path} holds no text")
    return found


def _document(data: bytes, place: str) -> Document:
    try:
        line = _decoder.decode(data)
    except NO_RECORD as error:
        raise BadInputError(f"{place}: {error}") from error
    if not (line.text or line.input):
        raise BadInputError(f"{place}: should be an object with text, or with input and expected")
    answer = f" {line.expected}" if isinstance(line.expected, str | int | float) else ""
    return Document(line.text or line.input + answer)
