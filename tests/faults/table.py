"""The fault matrix: a row a fault, how it is made, and what a run must make of it.

The modules beside this one make the faults, a family each; `after.py` has what must hold after all
of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet


@dataclass(frozen=True)
class Row:
    """One fault."""

    family: str
    name: str
    """In family `answers`: the mock's name of it."""
    made: str
    """How it is made."""
    code: int
    """What the command exits with."""
    status: int | None = None
    """HTTP status in the record of a request that it hits; None: no record is looked at."""
    error: str | None = None
    """The kind of error in that record; None: such a request has been answered."""
    says: str = ""
    """What of it the report says, or stderr where there is no report."""


def rows(family: str) -> list[ParameterSet]:
    """The rows of a family, as parameters of a test."""
    return [
        pytest.param(row, id=row.name, marks=pytest.mark.fault_row)
        for row in MATRIX
        if row.family == family
    ]


ANSWERS = (
    ("http_400", "400 and OpenAI's error body", 4, 400, "http_400", "told to 400"),
    ("http_401", "401", 4, 401, "http_401", "told to 401"),
    ("http_429", "429 and Retry-After", 4, 429, "http_429", "Retry-After: 1: told to 429"),
    ("http_500", "500", 4, 500, "http_500", "told to 500"),
    ("http_503", "503 and a body that is no JSON", 4, 503, "http_503", "upstream unavailable"),
    ("redirect", "307", 4, 307, "http_307", "redirects are not followed"),
    ("error_event", "an error event inside of a 200", 4, 200, "error_event", "engine died"),
    ("reset", "a reset after three tokens", 4, 200, "reset", "Connection reset by peer"),
    ("truncated", "the end after three tokens", 4, 200, "truncated", "closed in mid-answer"),
    ("half_closed", "half the end after three tokens", 4, 200, "truncated", "closed in mid-answer"),
    ("stall", "nothing more after three tokens", 4, 200, "timeout", "no end of the answer after"),
    ("endless", "tokens on and on", 4, 200, "timeout", "no end of the answer after"),
    ("slow_loris", "a head byte by byte", 4, 0, "timeout", "no end of the answer after"),
    ("silent", "nothing", 4, 0, "timeout", "no end of the answer after"),
    ("empty", "no token", 4, 200, "empty", "holds no generated text"),
    ("malformed", "an event that is no JSON", 4, 200, "malformed", "oops"),
    ("cut_json", "half a JSON", 4, 200, "malformed", "truncated"),
    ("no_stream", "one document", 4, 200, "malformed", "stream: true"),
    ("html", "a page for people", 4, 200, "malformed", "not an event stream but something else"),
    ("no_http", "another protocol", 4, 0, "malformed", "not HTTP"),
    ("big_event", "a token of 10 MB", 0, 200, None, ""),
    ("no_usage", "no usage chunk", 0, 200, None, ""),
    ("no_done", "no [DONE]", 0, 200, None, ""),
    ("wrong_type", "events as application/json", 0, 200, None, ""),
    ("early_stop", "a third of the tokens", 0, 200, None, "stop"),
    ("repeats", "three words over and over", 0, 200, None, ""),
)
MATRIX: tuple[Row, ...] = tuple(
    Row("answers", name, f"three in ten requests get {made}", *rest)
    for name, made, *rest in ANSWERS
)
