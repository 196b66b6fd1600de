"""JSON of files that others may have damaged: what was asked for, or one kind of error."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from loadprofiles.errors import RecordError

_T = TypeVar("_T")
_Record = TypeVar("_Record", bound=msgspec.Struct)
_MOST: Final = 1 << 62
"""No time or count is more; and two of them can be added in 64 bits."""

NO_RECORD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of bytes that are none: no UTF-8 within a text, or nested too deep, too."""


def decoded(data: bytes, kind: type[_T], where: str) -> _T:
    """Return a JSON document as `kind`.

    Raises:
        RecordError: it is none; the text says `where` and names the field.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except NO_RECORD as error:
        raise RecordError(f"{where}: {error}") from error


def bounded(record: _Record, where: str) -> _Record:
    """Return a record whose whole numbers, and lists of them, can be computed with.

    Raises:
        RecordError: one has more than 62 bits; the text says `where` and names the field.
    """
    for name in record.__struct_fields__:
        value = getattr(record, name)
        numbers = value if isinstance(value, list) and value else [value]
        if isinstance(numbers[0], int) and not -_MOST <= min(numbers) <= max(numbers) <= _MOST:
            raise RecordError(f"{where}: {name}: a number of more than 62 bits")
    return record
