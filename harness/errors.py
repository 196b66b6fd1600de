"""What can go wrong, as the caller and the shell see it.

    HarnessError              something the user must know: text, hint, exit code
    ├── BadInputError         2    usage, configuration, unknown name, unwritable output
    ├── ServerError           3    a server could not be installed, started or reached
    ├── InvalidRunError       4    the measurement must not be believed
    ├── OutOfTimeError        5    a time budget ran out before there was an answer
    └── InterruptedRunError   130  Ctrl-C or SIGTERM; what was measured is kept

Errors of single requests are no exceptions: they are data in the samples. Exceptions of the
leaves are turned into these in one place, `harness.cli.translate`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(enum.IntEnum):
    """What the process answers to its caller; scripts rely on it."""

    OK = 0
    """Done, valid, verdict PASS."""
    FAIL = 1
    """Verdict FAIL."""
    BAD_INPUT = 2
    """Usage, configuration, unknown name."""
    SERVER = 3
    """A server could not be installed, started or reached."""
    INVALID = 4
    """The measurement is invalid."""
    INCONCLUSIVE = 5
    """Verdict INCONCLUSIVE: more is needed to decide."""
    INTERNAL = 70
    """A bug of the harness: its traceback is on stderr (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Interrupted; what was measured is kept."""


class HarnessError(Exception):
    """Something the user must know. `str()` gives the text, then the hint on a line of its own.

    Attributes:
        text: what is wrong, naming the field, file or server.
        hint: what to do about it, if that is known.
        exit_code: what the process answers.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, text: str, *, hint: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.text}\n{self.hint}" if self.hint else self.text


class BadInputError(HarnessError):
    """What was asked cannot be done: usage, configuration, a name or path that is not there."""

    exit_code = ExitCode.BAD_INPUT


class ServerError(HarnessError):
    """A server could not be installed, started or reached, or it died."""

    exit_code = ExitCode.SERVER


class InvalidRunError(HarnessError):
    """The measurement is there, but must not be believed."""

    exit_code = ExitCode.INVALID


class OutOfTimeError(HarnessError):
    """The time that something was given ran out; what there is until then is kept."""

    exit_code = ExitCode.INCONCLUSIVE


class InterruptedRunError(HarnessError):
    """The run was interrupted; what was measured is kept."""

    exit_code = ExitCode.INTERRUPTED


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return ` (did you mean "awq"?)` for the nearest of `choices`, or an empty string."""
    import difflib

    folded = {choice.casefold(): choice for choice in choices}
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f' (did you mean "{folded[near[0]]}"?)' if near else ""
