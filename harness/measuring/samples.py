"""The samples of a cell in columns: a quarter of the memory that as many `Sample`s take.

A million requests of 16 tokens are 1.9 GB as objects and 0.5 GB here. Code that looks at
all of them does so by column; code that looks at a few, or need not be fast, iterates and gets
each `Sample` made as it comes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from math import isnan, nan
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Self, overload

import msgspec
import numpy as np

from loadprofiles.records import Sample

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sized

    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

NONE: Final = -(2**63)
"""Stands for None in a column of integers."""
_INTS: Final = (
    "seq", "body", "due_ns", "submitted_ns", "sent_ns", "first_ns", "first_answer_ns", "last_ns",
    "done_ns", "end_ns", "connect_ns", "status", "prompt_tokens", "output_tokens",
    "planned_output_tokens", "silent_chunks", "output_chars", "endpoint", "worker",
)  # fmt: skip
_WORDS: Final = ("phase", "error", "finish_reason", "token_source", "clock")
"""Texts of which there are few: kept once each."""
_TEXTS: Final = ("request_id", "detail", "output_hash")
_LISTS: Final = ("chunk_ns", "lag_us")
_BLOCK: Final = 4096
_NO_TEXT: Final = b"\xff"
"""Stands for None among texts: no UTF-8."""


class _Growing:
    """Columns while samples are read, in the order in which they come."""

    def __init__(self) -> None:
        self.ints = {name: array("q") for name in _INTS}
        self.words = {name: array("i") for name in _WORDS}
        self.known: dict[str, dict[str | None, int]] = {name: {} for name in _WORDS}
        self.texts = {name: bytearray() for name in _TEXTS}
        self.lists = {name: array("i") for name in _LISTS}
        self.ends = {name: array("q", [0]) for name in (*_TEXTS, *_LISTS)}
        self.compression = array("d")
        self.retried = bytearray()

    def add(self, samples: Sequence[Sample]) -> None:
        """Append a block of samples.

        Raises:
            OverflowError: a number has more than 64 bits.
        """
        told = type(samples[0]).__struct_fields__  # of what is read in part the rest is the same
        for name, column in self.ints.items():
            values = map(attrgetter(name), samples if name in told else samples[:1])
            known_values = array("q", [NONE if value is None else value for value in values])
            column.extend(known_values if name in told else known_values * len(samples))
        for name, codes in self.words.items():
            known, words = self.known[name], map(attrgetter(name), samples)
            codes.extend([known.setdefault(word, len(known)) for word in words])
        for name, blob in self.texts.items():
            texts = map(attrgetter(name), samples)
            found = [_NO_TEXT if t is None else t.encode(errors="surrogatepass") for t in texts]
            blob.extend(b"".join(found))
            self._end(name, found)
        for name in _LISTS:
            parts = list(map(attrgetter(name), samples))
            self._extend(name, parts)
            self._end(name, parts)
        self.compression.extend([nan if s.compression is None else s.compression for s in samples])
        self.retried += bytes([sample.retried for sample in samples])

    def _end(self, name: str, parts: Sequence[Sized]) -> None:
        """Note where each of the parts that were appended ends."""
        ends = self.ends[name]
        ends.extend(list(accumulate(map(len, parts), initial=ends[-1]))[1:])

    def _extend(self, name: str, parts: Sequence[list[int]]) -> None:
        """Append to a list column: four bytes a number until one needs eight."""
        column, length = self.lists[name], len(self.lists[name])
        try:
            column.extend(chain.from_iterable(parts))
        except OverflowError:
            del column[length:]
            if column.typecode == "q":
                raise
            self.lists[name] = array("q", column)
            self.lists[name].extend(chain.from_iterable(parts))

    def order(self) -> Ints:
        """Put them by phase, number and, where these are the same, request id."""
        seq = np.frombuffer(self.ints["seq"], dtype=np.int64)
        names = list(map(str, self.known["phase"]))
        rank = np.array([sorted(names).index(name) for name in names], dtype=np.int64)
        phase = rank[np.frombuffer(self.words["phase"], dtype=np.int32)]
        order = np.lexsort((seq, phase))
        if ((np.diff(seq[order]) == 0) & (np.diff(phase[order]) == 0)).any():
            blob, ends = self.texts["request_id"], self.ends["request_id"]
            keys = [
                (int(phase[row]), int(seq[row]), bytes(blob[ends[row] : ends[row + 1]]))
                for row in range(order.size)
            ]
            order = np.array(sorted(range(order.size), key=keys.__getitem__), dtype=np.int64)
        return order


class _Columns:
    """What all views of one cell share. Takes the growing columns apart as it goes."""

    def __init__(self, grown: _Growing) -> None:
        order = grown.order()
        self.rows = order.size
        self.ints = {
            name: np.frombuffer(grown.ints.pop(name), dtype=np.int64)[order] for name in _INTS
        }
        self.words = {
            name: np.frombuffer(grown.words.pop(name), dtype=np.int32)[order] for name in _WORDS
        }
        self.known = {name: list(words) for name, words in grown.known.items()}
        self.compression = np.frombuffer(grown.compression, dtype=np.float64)[order]
        self.retried = np.frombuffer(grown.retried, dtype=np.bool_)[order]
        self.flat: dict[str, npt.NDArray[Any]] = {}
        self.ends: dict[str, Ints] = {}
        for name in (*_TEXTS, *_LISTS):
            flat: npt.NDArray[Any]
            if name in grown.texts:
                flat = np.frombuffer(grown.texts.pop(name), dtype=np.uint8)
            else:
                column = grown.lists.pop(name)
                flat = np.frombuffer(column, dtype=np.int32 if column.typecode == "i" else np.int64)
            ends = np.frombuffer(grown.ends.pop(name), dtype=np.int64)
            self.flat[name], self.ends[name] = _in_order(flat, ends, order)


def _in_order(flat: npt.NDArray[Any], ends: Ints, order: Ints) -> tuple[npt.NDArray[Any], Ints]:
    """Bring the pieces of `flat`, which end at `ends`, into another order."""
    lengths = np.diff(ends)[order]
    new_ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    moved = np.empty_like(flat)
    for start in range(0, order.size, _BLOCK):
        rows = order[start : start + _BLOCK]
        begin, stop = new_ends[start], new_ends[start + rows.size]
        shift = np.repeat(
            ends[rows] - new_ends[start : start + rows.size], lengths[start:][: rows.size]
        )
        moved[begin:stop] = flat[np.arange(begin, stop) + shift]
    return moved, new_ends


class Samples(Sequence[Sample]):
    """Samples by phase, then number; any selection of them shares the columns.

    Args:
        columns: of the whole cell.
        index: which of them, in order.
    """

    def __init__(self, columns: _Columns, index: Ints) -> None:
        self._columns = columns
        self._index = index

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Samples:
        """Put samples into columns, if they are not there yet; their order does not matter.

        Raises:
            msgspec.ValidationError: a number has more than 64 bits.
        """
        if isinstance(samples, Samples):
            return samples
        grown = _Growing()
        try:
            for block in _blocks(samples):
                grown.add(block)
        except OverflowError as error:
            raise msgspec.ValidationError(f"a number of more than 64 bits: {error}") from error
        columns = _Columns(grown)
        return cls(columns, np.arange(columns.rows))

    # --- as a sequence ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self._index.size)

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> Sample | Self:
        if isinstance(at, slice):
            return type(self)(self._columns, self._index[at])
        return next(iter(type(self)(self._columns, self._index[[at]])))

    def __iter__(self) -> Iterator[Sample]:
        for start in range(0, len(self), _BLOCK):
            yield from self._made(self._index[start : start + _BLOCK])

    def _made(self, rows: Ints) -> Iterator[Sample]:
        """Make the samples of some rows."""
        found = self._columns
        fields: dict[str, list[Any]] = {}
        for name in _INTS:
            values = found.ints[name][rows].tolist()
            fields[name] = [None if value == NONE else value for value in values]
        for name in _WORDS:
            words = found.known[name]
            fields[name] = [words[code] for code in found.words[name][rows].tolist()]
        at = rows.tolist()
        for name in _TEXTS:
            fields[name] = [self._text(name, row) for row in at]
        for name in _LISTS:
            flat, ends = found.flat[name], found.ends[name]
            fields[name] = [flat[ends[row] : ends[row + 1]].tolist() for row in at]
        ratios = found.compression[rows].tolist()
        fields["compression"] = [None if isnan(ratio) else ratio for ratio in ratios]
        fields["retried"] = found.retried[rows].tolist()
        names = tuple(fields)
        for values in zip(*fields.values(), strict=True):
            yield Sample(**dict(zip(names, values, strict=True)))

    def _text(self, name: str, row: int) -> str | None:
        ends = self._columns.ends[name]
        found = self._columns.flat[name][ends[row] : ends[row + 1]].tobytes()
        return None if found == _NO_TEXT else found.decode(errors="surrogatepass")

    # --- by column -------------------------------------------------------------------------------

    def column(self, name: str) -> Ints:
        """Return an integer field of all samples; `NONE` where it is None."""
        return self._columns.ints[name][self._index]

    def has(self, name: str) -> Bools:
        """Say of each sample whether an integer field is not None."""
        return np.asarray(self.column(name) != NONE)

    def is_in(self, name: str, words: Collection[str | None]) -> Bools:
        """Say of each sample whether a field of few texts (`error`, `phase`, …) is one of these."""
        codes = [code for code, word in enumerate(self._columns.known[name]) if word in words]
        return np.isin(self._columns.words[name][self._index], codes)

    def counts(self, name: str) -> dict[str | None, int]:
        """Count the samples by a field of few texts."""
        codes = self._columns.words[name][self._index]
        words = self._columns.known[name]
        counts = np.bincount(codes, minlength=len(words)).tolist()
        return {word: count for word, count in zip(words, counts, strict=True) if count}

    def words(self, name: str) -> npt.NDArray[np.str_]:
        """Return a field of few texts of all samples; "none" where it is None."""
        known = np.array([word or "none" for word in self._columns.known[name]] or ["none"])
        return known[self._columns.words[name][self._index]]

    def texts(self, name: str) -> Iterator[str | None]:
        """Yield a field of many texts, `request_id`, `detail` or `output_hash`, of each sample."""
        for row in self._index.tolist():
            yield self._text(name, row)

    def ratios(self) -> Floats:
        """Return the `compression` of all samples; NaN where it is None."""
        return self._columns.compression[self._index]

    @property
    def retried(self) -> Bools:
        """Say of each sample whether it was sent a second time."""
        return self._columns.retried[self._index]

    def lengths(self, name: str) -> Ints:
        """Return how many values a list field, `chunk_ns` or `lag_us`, has in each sample."""
        ends = self._columns.ends[name]
        return ends[self._index + 1] - ends[self._index]

    def values(self, name: str) -> npt.NDArray[np.signedinteger[Any]]:
        """Return the values of a list field of all samples one after the other.

        They are 32-bit integers where these suffice.
        """
        flat, ends = self._columns.flat[name], self._columns.ends[name]
        starts, stops = ends[self._index], ends[self._index + 1]
        if not starts.size:
            return flat[:0]
        if (starts[1:] == stops[:-1]).all():  # one piece: nothing to copy
            return flat[starts[0] : stops[-1]]
        pieces = []
        for at in range(0, starts.size, _BLOCK):
            begin, lengths = starts[at : at + _BLOCK], (stops - starts)[at : at + _BLOCK]
            within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            pieces.append(flat[np.repeat(begin, lengths) + within])
        return np.concatenate(pieces)

    def where(self, mask: Bools) -> Self:
        """Return the samples of which `mask` is true."""
        return type(self)(self._columns, self._index[mask])

    def take(self, positions: Ints) -> Self:
        """Return the samples at these positions, in their order."""
        return type(self)(self._columns, self._index[positions])

    def blocks(self, size: int) -> Iterator[Self]:
        """Yield all samples in parts of `size`."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @property
    def measured(self) -> Self:
        """Those of the measured phase."""
        return self.where(self.is_in("phase", {"measured"}))

    @property
    def answered(self) -> Self:
        """Those that got their answer."""
        return self.where(self.is_in("error", {None}))


def _blocks(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    block: list[Sample] = []
    for sample in samples:
        block.append(sample)
        if len(block) == _BLOCK:
            yield block
            block = []
    if block:
        yield block
