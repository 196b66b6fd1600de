"""Traces of real traffic: when each request came, and how long prompt and answer were.

Read are the layouts of these public traces, and a plain one of your own, as CSV or JSON lines,
compressed by gzip or not:

- Azure LLM inference 2023 and 2024 (Patel et al., Splitwise, ISCA 2024; Stojkovic et al.,
  DynamoLLM, HPCA 2025): CSV `TIMESTAMP,ContextTokens,GeneratedTokens`, dates.
- BurstGPT (Wang et al., arXiv:2401.17644): CSV `Timestamp,…,Request tokens,Response tokens,…`,
  seconds; requests that failed have 0 response tokens.
- Mooncake (Qin et al., FAST 2025): JSON lines `timestamp` in ms, `input_length`, `output_length`,
  `hash_ids`, one for each block of 512 prompt tokens; the same id is the same prefix.
- generic: `timestamp` in seconds or a date, `prompt_tokens`, `output_tokens`.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
import zlib
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from io import TextIOWrapper
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, cast

import numpy as np

from loadprofiles.errors import ProfileError
from loadprofiles.files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

Layout = Literal["azure", "burstgpt", "mooncake", "generic"]

BLOCK_TOKENS: Final = 512
"""Prompt tokens that one of Mooncake's hash ids stands for."""
_MOST_TOKENS = 10_000_000
_LINE_CHARS: Final = 1 << 20
"""A row of 10 million tokens has 20,000 hash ids, 0.2 MB."""
_PACKED: Final = 100
_ANY_BYTES: Final = 1 << 28
"""Traces were seen to shrink to a 10th at best; gzip can make a 1000th of nothing but zeros."""
_LOOK_EVERY: Final = 4096
_DATE = re.compile(r"\s*(\d{4}-\d\d-\d\d[ T]\d\d:\d\d):([0-5]\d(?:\.\d*)?)(Z|[+-]\d\d:?\d\d)?\s*")
"""Minute, seconds and zone: one minute of a trace has many requests and is read once."""


@dataclass(frozen=True)
class Columns:
    """Names of a layout's columns or keys, and its unit of time."""

    timestamp: str
    prompt_tokens: str
    output_tokens: str
    unit_s: float = 1.0
    """Of a timestamp that is a number."""


LAYOUTS: Final[Mapping[Layout, Columns]] = {
    "azure": Columns("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    "burstgpt": Columns("Timestamp", "Request tokens", "Response tokens"),
    "mooncake": Columns("timestamp", "input_length", "output_length", unit_s=1e-3),
    "generic": Columns("timestamp", "prompt_tokens", "output_tokens"),
}


@dataclass(frozen=True)
class Trace:
    """All requests of a trace, in the order in which they came."""

    times_s: NDArray[np.float64]
    """From the first one on."""
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    blocks: tuple[tuple[int, ...], ...] | None
    """Mooncake's hash ids of each prompt's blocks; None where the trace has none."""
    unsorted: int
    """Rows that were earlier than the one before them; they are in order here."""

    def __len__(self) -> int:
        return len(self.times_s)


def read_trace(path: Path, layout: Layout | None = None) -> Trace:
    """Read a trace file; the last one read is kept in memory, 24 bytes a request.

    Args:
        path: `.csv` or `.jsonl`, with `.gz` behind it where compressed.
        layout: whose columns it has; None finds out.

    Raises:
        ProfileError: it cannot be read, or a row is not what it should be, with its line.
    """
    try:
        stamp = path.stat()
    except OSError as error:
        raise ProfileError("arrival.file", f"{path}: {_reason(error)}") from error
    return _read(path, layout, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, layout: Layout | None, _changed_ns: int, _size: int) -> Trace:
    times, prompts, outputs = array("d"), array("q"), array("q")
    blocks: list[tuple[int, ...]] = []
    found: tuple[Columns, str] | None = None
    try:
        with open_file(path) as raw, _text(path, raw) as file:
            for line, row in _rows(path, _lines(path, file)):
                if found is None:
                    found = _layout_of(path, row, layout)
                columns, name = found
                column = columns.timestamp
                try:
                    times.append(_seconds(row[column], columns.unit_s))
                    column = columns.prompt_tokens
                    prompts.append(_tokens(row[column]))
                    column = columns.output_tokens
                    outputs.append(_tokens(row[column]))
                    if name == "mooncake":
                        column = "hash_ids"
                        blocks.append(_hash_ids(row.get(column)))
                except (KeyError, TypeError, ValueError, OverflowError) as error:
                    raise _bad(path, line, _what(error, column)) from error
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise ProfileError("arrival.file", f"{path}: {_reason(error)}") from error
    if not times:
        raise ProfileError("arrival.file", f"{path} holds no request")
    when = np.frombuffer(times, dtype=np.float64)
    order = np.argsort(when, kind="stable")
    when = when[order]
    return Trace(
        times_s=when - when[0],
        prompt_tokens=np.frombuffer(prompts, dtype=np.int64)[order],
        output_tokens=np.frombuffer(outputs, dtype=np.int64)[order],
        blocks=tuple(blocks[place] for place in order.tolist()) if any(blocks) else None,
        unsorted=sum(later < earlier for earlier, later in pairwise(times)),
    )


def _text(path: Path, raw: BinaryIO) -> TextIOWrapper:
    unpacked = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
    return TextIOWrapper(cast("BinaryIO", unpacked), encoding="utf-8-sig", newline="")


def _lines(path: Path, file: TextIOWrapper) -> Iterator[str]:
    """Yield the lines; none without an end, and not of what unpacks to more than a trace does."""
    most = max(_ANY_BYTES, _PACKED * path.stat().st_size)
    number = 0
    while line := file.readline(_LINE_CHARS + 1):
        number += 1
        if len(line) > _LINE_CHARS:
            raise _bad(path, number, f"it has more than {_LINE_CHARS >> 20} Mi characters")
        if not number % _LOOK_EVERY and cast("BinaryIO", file.buffer).tell() > most:
            raise _bad(path, number, f"until here it unpacks to {_PACKED} times its size: no trace")
        yield line


def _rows(path: Path, file: Iterable[str]) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield line number and row; JSON lines where the file's name says so, else CSV."""
    name = path.name.removesuffix(".gz")
    if not name.endswith((".jsonl", ".json", ".ndjson")):
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise _bad(path, reader.line_num, "it has not as many columns as the first line")
            yield reader.line_num, row
        return
    for number, line in enumerate(file, start=1):
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _bad(path, number, f"no JSON ({error})") from error
        if not isinstance(value, dict):
            raise _bad(path, number, "no JSON object")
        yield number, value


def _layout_of(
    path: Path, row: Mapping[str, object], asked: Layout | None
) -> tuple[Columns, Layout]:
    names: Iterable[Layout] = LAYOUTS if asked is None else (asked,)
    for name in names:
        columns = LAYOUTS[name]
        wanted = (columns.timestamp, columns.prompt_tokens, columns.output_tokens)
        if all(column in row for column in wanted):
            return columns, name
    known = "; ".join(
        f"{name}: {c.timestamp}, {c.prompt_tokens}, {c.output_tokens}"
        for name, c in LAYOUTS.items()
        if asked in (None, name)
    )
    raise ProfileError(
        "arrival.file",
        f"{path} has the columns {', '.join(map(str, row))}, which is no layout that is known; "
        f"name them as one of these does ({known})",
    )


def _seconds(value: object, unit_s: float) -> float:
    if isinstance(value, str):
        try:
            seconds = float(value) * unit_s
        except ValueError:
            seconds = _date(value)
    else:
        seconds = value * unit_s if isinstance(value, int | float) else math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{value!r} is no time")
    return seconds


def _date(text: str) -> float:
    found = _DATE.fullmatch(text)
    try:
        minute = math.nan if found is None else _minute(found[1], found[3] or "")
    except ValueError:
        minute = math.nan
    if found is None or math.isnan(minute):
        raise ValueError(f"{text!r} is no time: neither seconds nor a date")
    return minute + float(found[2])


@lru_cache(maxsize=4096)
def _minute(text: str, zone: str) -> float:
    """Seconds since 1970 of a minute; without a zone it is taken as UTC."""
    when = datetime.fromisoformat(text + zone)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _tokens(value: object) -> int:
    try:
        number = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        number = math.nan
    if not number.is_integer() or not 0 <= number <= _MOST_TOKENS:
        raise ValueError(f"{value!r} is no number of tokens")
    return int(number)


def _hash_ids(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(one) is int for one in value):
        raise ValueError(f"{value!r} is no list of whole numbers")
    return tuple(value)


def _what(error: Exception, column: str) -> str:
    return f"{column!r} is missing" if isinstance(error, KeyError) else f"{column}: {error}"


def _bad(path: Path, line: int, problem: str) -> ProfileError:
    return ProfileError("arrival.file", f"{path}, line {line}: {problem}")


def _reason(error: Exception) -> str:
    text = (error.strerror or "") if isinstance(error, OSError) else ""
    return (text or str(error)).lower()
