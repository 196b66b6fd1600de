"""Lengths drawn from a trace's columns; of both columns in pairs, so that they stay correlated.

Pure but for reading the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from loadprofiles.errors import ProfileError
from loadprofiles.prompts.conversations import Lengths
from loadprofiles.prompts.lengths import FromFile, longest
from loadprofiles.traffic.traces import read_trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from loadprofiles.profile import Profile

Column = Literal["prompt_tokens", "output_tokens"]
COLUMNS: tuple[Column, ...] = ("prompt_tokens", "output_tokens")


def draw_lengths(profile: Profile, count: int, rng: np.random.Generator) -> Lengths:
    """Draw the lengths that a profile takes from files, with replacement.

    Where prompts and answers come from the same file, both are those of one of its requests.

    Raises:
        ProfileError: a file cannot be read, or has no request within the bounds.
    """
    drawn: dict[str, NDArray[np.int64] | None] = dict.fromkeys(COLUMNS)
    files = {column: length for column in COLUMNS if (length := _from_file(profile, column))}
    together = len(files) > 1 and len({(one.file, one.format) for one in files.values()}) == 1
    for column, length in files.items():
        if together and column != COLUMNS[0]:
            continue
        taken = files if together else {column: length}
        rows = _rows(taken)
        chosen = rows[rng.integers(len(rows), size=count)]
        for name, one in taken.items():
            drawn[name] = _column(one, name)[chosen]
    return Lengths(drawn["prompt_tokens"], drawn["output_tokens"])


def longest_of(profile: Profile, column: Column) -> int:
    """Return the longest prompt, or answer, that a profile can ask for; 0 where nobody knows yet.

    Raises:
        ProfileError: a file cannot be read, or has no request within the bounds.
    """
    length = _from_file(profile, column)
    if length is None:
        return longest(getattr(profile, column))
    return int(_column(length, column)[_rows({column: length})].max())


def _from_file(profile: Profile, column: Column) -> FromFile | None:
    length = getattr(profile, column)
    return length if isinstance(length, FromFile) else None


def _column(length: FromFile, column: Column) -> NDArray[np.int64]:
    try:
        trace = read_trace(Path(length.file), None if length.format == "auto" else length.format)
    except ProfileError as error:
        raise ProfileError(column, str(error).removeprefix(f"{error.field}: ")) from error
    found: NDArray[np.int64] = getattr(trace, column)
    return found


def _rows(taken: dict[Column, FromFile]) -> NDArray[np.int64]:
    """The requests whose lengths are all within their bounds."""
    within: NDArray[np.bool_] | None = None
    for column, length in taken.items():
        values = _column(length, column)
        fits = (values >= length.low) & (values <= length.high)
        within = fits if within is None else within & fits
    assert within is not None  # noqa: S101 - at least one is taken
    rows = np.flatnonzero(within)
    if not rows.size:
        column, length = next(iter(taken.items()))
        raise ProfileError(
            column,
            f"{length.file} has no request within low = {length.low} … high = {length.high}; widen "
            "the bounds",
        )
    return rows
