"""The fault matrix: a row a fault, how it is made, and what a run must make of it.

A kernel that kills for want of memory is a real one: the server is put into a cgroup of 64 MiB
and asked for more. A wall clock that steps is patched in the driver, since the machine's own is
everybody's.

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
    """What of it the report says, or stderr where there is no report: a regular expression."""


def rows(family: str, *names: str) -> list[ParameterSet]:
    """The rows of a family, or some of them, as parameters of a test."""
    found = [row for row in MATRIX if row.family == family and row.name in (names or (row.name,))]
    assert found, names
    return [pytest.param(row, id=row.name, marks=pytest.mark.fault_row) for row in found]


ANSWERS = (
    ("http_400", "400 and OpenAI's error body", 4, 400, "http_400", "told to 400"),
    ("http_401", "401 (no or a wrong key)", 4, 401, "http_401", "told to 401"),
    ("http_429", "429 and Retry-After", 4, 429, "http_429", "Retry-After: 1: told to 429"),
    ("http_500", "500", 4, 500, "http_500", "told to 500"),
    ("http_503", "503 and a body that is no JSON", 4, 503, "http_503", "upstream unavailable"),
    ("redirect", "307 to another host", 4, 307, "http_307", "redirects are not followed"),
    ("error_event", "an error event inside of a 200", 4, 200, "error_event", "engine died"),
    ("reset", "a reset after three tokens", 4, 200, "reset", "Connection reset by peer"),
    (
        "truncated",
        "a closed connection after three tokens",
        4,
        200,
        "truncated",
        "closed in mid-answer",
    ),
    (
        "half_closed",
        "a half-closed connection after three tokens",
        4,
        200,
        "truncated",
        "closed in mid-answer",
    ),
    ("stall", "nothing more after three tokens", 4, 200, "timeout", "no end of the answer after"),
    ("endless", "tokens on and on", 4, 200, "timeout", "no end of the answer after"),
    ("slow_loris", "a head byte by byte", 4, 0, "timeout", "no end of the answer after"),
    ("silent", "no answer at all", 4, 0, "timeout", "no end of the answer after"),
    ("empty", "no token", 4, 200, "empty", "holds no generated text"),
    ("malformed", "an event that is no JSON", 4, 200, "malformed", "oops"),
    ("cut_json", "half a JSON", 4, 200, "malformed", "truncated"),
    ("no_stream", "one document in place of events", 4, 200, "malformed", "stream: true"),
    ("html", "a page for people", 4, 200, "malformed", "not an event stream but something else"),
    ("no_http", "another protocol", 4, 0, "malformed", "not HTTP"),
    ("big_event", "a token of 10 MB", 0, 200, None, ""),
    ("no_usage", "no usage chunk", 0, 200, None, "did not count the tokens of"),
    ("no_done", "no [DONE]", 0, 200, None, ""),
    ("wrong_type", "events as application/json", 0, 200, None, ""),
    ("early_stop", "a third of the tokens asked for", 0, 200, None, "stop"),
    ("repeats", "three words over and over", 0, 200, None, ""),
)
KILLED = {
    "term": ("SIGTERM", "killed by SIGTERM"),
    "kill": ("SIGKILL", "killed by SIGKILL, as the kernel does where memory runs out"),
    "memory": (
        "more memory than its cgroup has, so that the kernel kills it",
        "killed by SIGKILL, as the kernel does where memory runs out",
    ),
}
DIES = {
    "loading": "ended while it was loading",
    "in_warm_up": "the server died during victim-closed-c1-1",
    "in_mid_stream": "the server died during victim-closed-c1-1",
    "between_cells": "the server died (before|during) victim-closed-c[12]-1",
}
CONNECTIONS = (
    Row("connections", "refused_at_start", "nobody listens", 3, says="Connection refused"),
    Row(
        "connections",
        "refused_in_mid_run",
        "the server of a URL exits",
        4,
        0,
        "connect",
        "Connection refused",
    ),
    Row(
        "connections",
        "black_hole",
        "the server's kernel drops who connects",
        4,
        0,
        "timeout",
        "timeout",
    ),
    Row("connections", "unknown_host", "a name without an address", 3, says="no-such-host.invalid"),
    Row(
        "connections",
        "unknown_host_in_mid_run",
        "a name loses its address between cells",
        4,
        says="cannot find served.test",
    ),
)
_PART = "interrupted: 1 of 1 cells have numbers, the last one perhaps of a part of its window"
_NONE = "interrupted: 0 of 1 cells have numbers"
HARNESS = tuple(
    Row("harness", *rest)
    for rest in (
        ("sigint_in_window", "Ctrl-C, to the whole process group", 130, None, None, _PART),
        ("sigterm_in_window", "SIGTERM, to the whole process group", 130, None, None, _PART),
        ("sighup_in_window", "SIGHUP, to the whole process group", 130, None, None, _PART),
        ("sigint_in_warm_up", "SIGINT in the warm-up", 130, None, None, _PART),
        ("sigint_in_drain", "SIGINT in the drain", 130, 200, "aborted", _PART),
        ("sigint_in_second_cell", "SIGINT in the second cell", 130, None, None,
         "interrupted: 2 of 2 cells"),
        ("sigint_while_loading", "SIGINT while a server loads", 130, None, None, _NONE),
        ("sigint_twice", "SIGINT, and again before the answers under way have ended", 130,
         None, None, "interrupted: [01] of 1 cells"),
        ("sigterm_with_own_server", "SIGTERM, with a server of its own", 130, None, None, _PART),
        ("sigkill_in_window", "SIGKILL to the parent of all, in the window", -9, None, None, ""),
        ("sigkill_while_loading", "SIGKILL to the parent of all, while a server loads", -9,
         None, None, ""),
        ("resumed_beside", "a second process is told to go on with a run that still runs", 2,
         None, None, "is being measured by another process"),
        ("terminal_closed", "the terminal goes: SIGHUP twice, and writing fails", 130, None, None,
         _PART),
    )
)  # fmt: skip
MACHINE = tuple(
    Row("machine", *rest)
    for rest in (
        ("full_at_start", "a tmpfs without room", 2, None, None, "No space left on device"),
        ("full_in_mid_run", "a tmpfs that something else fills", 2, None, None,
         "cannot write .*: No space left on device"),
        ("read_only_at_start", "a read-only mount", 2, None, None, "Read-only file system"),
        ("read_only_in_mid_run", "a read-only mount over the run's folder", 2, None, None,
         "cannot write .*: Read-only file system"),
        ("removed_in_mid_run", "rm -r of the run's folder", 2, None, None,
         "cannot write .*: No such file or directory"),
        ("clock_step", "the driver's wall clock, patched, goes an hour ahead", 0, 200, None,
         "The wall clock was set by 3600000"),
        ("client_out_of_descriptors", "the client's limit of open files (RLIMIT_NOFILE)", 2, None,
         None, "take at most 36"),
        ("server_out_of_descriptors", "the server's limit of open files (RLIMIT_NOFILE)", 4, 0,
         "timeout", "timeout"),
    )
)  # fmt: skip
_OUT = "killed by SIGKILL, as the kernel does where memory runs out"
VLLM = (
    Row(
        "vllm", "memory_while_loading", "less memory in its cgroup than torch takes", 3,
        says=rf"ended while it was loading \({_OUT}\)",
    ),
    Row(
        "vllm", "kill_in_mid_stream", "SIGKILL in mid-stream", 3,
        says=rf"the server died during fp16-closed-c2-1 \({_OUT}\)",
    ),
    Row("vllm", "parent_killed_while_loading", "SIGKILL to the parent of all while it loads", -9),
)  # fmt: skip
MATRIX: tuple[Row, ...] = (
    *(
        Row("answers", name, f"three in ten requests get {made}", *rest)
        for name, made, *rest in ANSWERS
    ),
    *(
        Row(
            "servers",
            f"{how}-{when}",
            f"the server gets {made} ({when.replace('_', ' ')})",
            3,
            says=rf"{death} \({end}\)",
        )
        for how, (made, end) in KILLED.items()
        for when, death in DIES.items()
    ),
    *CONNECTIONS,
    *HARNESS,
    *MACHINE,
    *VLLM,
)


def as_markdown() -> str:
    """The table of docs/faults.md."""
    lines = ["| Family | Fault | Exit | Record | Said |", "| --- | --- | ---: | --- | --- |"]
    for row in MATRIX:
        record = ""
        if row.status is not None:
            record = f"{row.status or 'no status'}, {row.error or 'answered'}"
        said = row.says.replace("\\", "").replace("|", " or ").replace(".*", "…")
        cells = (row.family, row.made, str(row.code), record, said)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
