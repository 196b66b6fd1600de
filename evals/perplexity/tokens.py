"""What the server said of every scored token: `tokens.npz` in the suite's folder.

    values = read_tokens(folder)
    values.logprob[values.window == 3]      # ln p of the tokens scored in window 3

While windows are asked, each request's values lie in a file of their own (`tokens/part-*.npz`),
written before its answers are; at the end they become one file. Both are replaced atomically, so
a killed run loses no window that `answers.jsonl` has, and the file at the end is the same.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TOKENS_FILE = "tokens.npz"
PARTS_FOLDER = "tokens"
NO_TOKEN = -1
"""Fills `top_ids` where a server told fewer than were asked for; its ln p is NaN."""


@dataclass(frozen=True, kw_only=True)
class TokenValues:
    """One row a scored token, by window and place. N rows; K likeliest tokens, 0 if not asked."""

    window: NDArray[np.int64]
    """(N,) index of the window, the number in its answer's item `window-00012`."""
    position: NDArray[np.int64]
    """(N,) index of the token among all tokens of the text."""
    id: NDArray[np.int64]
    """(N,)"""
    logprob: NDArray[np.float64]
    """(N,) ln p(token | tokens before it in the window)."""
    greedy: NDArray[np.bool_]
    """(N,) whether it was the likeliest at its place."""
    top_ids: NDArray[np.int64]
    """(N, K) the likeliest tokens, the best first; `NO_TOKEN` where there are fewer."""
    top_logprobs: NDArray[np.float64]
    """(N, K) their ln p; NaN where there are fewer."""

    @staticmethod
    def joined(tables: Sequence[TokenValues]) -> TokenValues:
        """Return one table of several, in their order."""
        return TokenValues(
            **{f.name: np.concatenate([getattr(t, f.name) for t in tables]) for f in COLUMNS}
        )


COLUMNS = fields(TokenValues)


def write_part(folder: Path, values: TokenValues) -> None:
    """Keep the values of one request's windows; named by the first of them."""
    parts = folder / PARTS_FOLDER
    parts.mkdir(exist_ok=True)
    _write(parts / f"part-{int(values.window[0]):07d}.npz", values)


def settle(folder: Path, windows: set[int]) -> set[int]:
    """Put the values of `windows` into one file, drop all others, and say which were there."""
    values = read_tokens(folder)
    if values is None:
        return set()
    kept = _rows(values, np.isin(values.window, sorted(windows)))
    _write(folder / TOKENS_FILE, kept)
    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)
    return set(kept.window.tolist())


def read_tokens(folder: Path) -> TokenValues | None:
    """Return the values of all windows that are there, or None where there are none."""
    paths = [folder / TOKENS_FILE, *sorted((folder / PARTS_FOLDER).glob("part-*.npz"))]
    found = [_read(path) for path in paths if path.is_file()]
    return _joined(found) if found else None


def padded(rows: Sequence[Sequence[float]], width: int, fill: float) -> NDArray[np.float64]:
    """Return rows of unequal lengths as an array (len(rows), width), cut or filled up."""
    table = np.full((len(rows), width), fill, dtype=np.float64)
    for number, row in enumerate(rows):
        kept = row[:width]
        table[number, : len(kept)] = kept
    return table


def _joined(found: list[TokenValues]) -> TokenValues:
    """One table of several; of a window that is in two of them (killed in `settle`), the first."""
    seen: set[int] = set()
    pieces = []
    for values in found:
        there = set(values.window.tolist()) - seen
        seen |= there
        pieces.append(_rows(values, np.isin(values.window, sorted(there))))
    table = TokenValues.joined(pieces)
    return _rows(table, np.lexsort((table.position, table.window)))


def _rows(values: TokenValues, which: NDArray[Any]) -> TokenValues:
    return TokenValues(**{f.name: getattr(values, f.name)[which] for f in COLUMNS})


def _read(path: Path) -> TokenValues:
    with np.load(path, allow_pickle=False) as arrays:
        return TokenValues(**{f.name: arrays[f.name] for f in COLUMNS})


def _write(path: Path, values: TokenValues) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **{f.name: getattr(values, f.name) for f in COLUMNS})
    temporary.replace(path)
