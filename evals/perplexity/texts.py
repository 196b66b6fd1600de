"""Where texts come from: `embedded:NAME`, `hub:NAME`, or a file.

A file that ends in `.jsonl` holds documents: an object a line with `text`, and, if known, `cluster`
(documents that are not independent share it) and `category`. `.parquet` and `.arrow` files, as hubs
give them out, hold documents in a column `text` or `page`. Any other file is one document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from evals.errors import GARBAGE, SuiteError
from evals.files import open_file, whole
from evals.perplexity import hub, prose
from evals.perplexity.documents import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

EMBEDDED: dict[str, Callable[[], tuple[Document, ...]]] = {
    "transactions": prose.transactions,
    "transactions-calibration": prose.transactions_calibration,
    "python-docs": prose.python_docs,
    "python-docs-calibration": prose.python_docs_calibration,
}
_TABLES = {".parquet", ".arrow"}
_decoder = msgspec.json.Decoder(Document)


def load_documents(name: str, base_dir: Path, python: Path | None) -> Sequence[Document]:
    """Return a text's documents.

    Args:
        name: what the suite's `text` says.
        base_dir: what a relative path counts from.
        python: a Python with the `datasets` package, for `hub:`, `.parquet` and `.arrow`.

    Raises:
        SuiteError: there is no such text, or nothing in it.
        NeedError: a package or the network is missing.
    """
    scheme, colon, rest = name.partition(":")
    if colon and scheme in {"embedded", "hub"}:
        known = EMBEDDED if scheme == "embedded" else hub.TEXTS
        if rest not in known:
            names = ", ".join(f"{scheme}:{one}" for one in sorted(known))
            raise SuiteError(f'[perplexity] text = "{name}": known are {names}, or a file\'s path')
        return (
            EMBEDDED[rest]() if scheme == "embedded" else read_lines(hub.fetch(rest, python), name)
        )
    path = base_dir / name
    if path.suffix in _TABLES:
        if not path.is_file():
            raise SuiteError(f'[perplexity] text = "{name}": there is no file {path}')
        return read_lines(hub.read_table(path, python), name)
    try:
        with open_file(path) as file:
            data = whole(file)
    except OSError as error:
        raise SuiteError(
            f'[perplexity] text = "{name}": cannot read {path}: {error.strerror}'
        ) from error
    if path.suffix == ".jsonl":
        return read_lines(data, name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SuiteError(
            f'[perplexity] text = "{name}": not UTF-8 at byte {error.start}: convert it'
        ) from error
    return _some([Document(text)], name)


def read_lines(data: bytes, name: str) -> list[Document]:
    """Return the documents of JSON lines.

    Raises:
        SuiteError: a line is wrong (its number is told), or there is none.
    """
    found = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                found.append(_decoder.decode(line))
            except GARBAGE as error:
                raise SuiteError(
                    f'[perplexity] text = "{name}": line {number}: {error}; '
                    'each line is an object with "text"'
                ) from error
    return _some(found, name)


def _some(documents: list[Document], name: str) -> list[Document]:
    if not any(document.text for document in documents):
        raise SuiteError(f'[perplexity] text = "{name}": there is no text in it')
    return documents
