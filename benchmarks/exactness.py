"""Puts a table between its two marks in docs/exactness.md."""

from __future__ import annotations

from rig import ROOT

PAGE = "docs/exactness.md"


def write(name: str, table: str) -> None:
    """Replace what is between `<!-- NAME -->` and `<!-- /NAME -->`.

    Raises:
        ValueError: the marks are not there, or not once.
    """
    path = ROOT / PAGE
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    text = path.read_text()
    if (text.count(begin), text.count(end)) != (1, 1) or text.index(begin) > text.index(end):
        raise ValueError(f"{PAGE}: {begin.strip()} and {end} must be there once, in this order")
    head, rest = text.split(begin)
    path.write_text(f"{head}{begin}\n{table.strip()}\n\n{end}{rest.split(end)[1]}")
