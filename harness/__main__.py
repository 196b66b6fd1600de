"""`harness` and `python -m harness`: the command line's entry, and what the shell gets back."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import BadInputError, ExitCode

if TYPE_CHECKING:
    from types import FrameType

DISTRIBUTION = "serving-load-harness"
_MARKER = f'DISTRIBUTION = "{DISTRIBUTION}"'
_LEAVES = ("launchers", "loadprofiles", "evals")
_SIGPIPE_EXIT = 128 + signal.SIGPIPE


def main(argv: list[str] | None = None) -> int:
    """Run one command line; the exit codes are `harness.errors.ExitCode`.

    SIGTERM and SIGHUP unwind like Ctrl-C, so that servers are stopped and files are whole.
    An unexpected exception keeps its traceback and gives 70.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupt)
    try:
        check_installation()
        from harness.cli import run

        code = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BadInputError as error:
        print(f"harness: {error}", file=sys.stderr)
        return ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        # CPython ends by SIGINT, and not with our code, if the signal fell into a string being
        # executed (as `namedtuple` does, in a module just being imported) and none was since.
        exec("")  # noqa: S102
        print("harness: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # `harness list servers | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _SIGPIPE_EXIT
    except Exception:  # noqa: BLE001 - left alone it would exit with 1, which is a verdict
        traceback.print_exc()
        print("harness: this is a bug; please report it with the lines above", file=sys.stderr)
        return ExitCode.INTERNAL
    return code


def check_installation() -> None:
    """Refuse to run with another distribution's `evals`, `launchers` or `loadprofiles`.

    PyPI has other packages of these names. Their code is not run here: only its source is read.

    Raises:
        BadInputError: naming the stranger.
    """
    home = Path(__file__).parents[1]
    for name in _LEAVES:
        spec = find_spec(name)
        origin = Path(spec.origin) if spec and spec.origin else None
        here = origin is not None and origin.parent == home / name
        if origin is None or not here or _MARKER not in origin.read_text(errors="replace"):
            raise BadInputError(
                f"another `{name}` shadows ours: {origin}",
                hint=f"Install {DISTRIBUTION} into an environment of its own.",
            )


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        signal.signal(number, signal.SIG_IGN)  # a shell that dies with its terminal says it again
        _leave_terminal()
    raise KeyboardInterrupt


def _leave_terminal() -> None:
    """Write into the void what would go to a terminal: it has gone, and writing to it fails."""
    with Path(os.devnull).open("r+b") as void:
        for descriptor in (0, 1, 2):
            with contextlib.suppress(OSError):  # closed
                if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                    os.dup2(void.fileno(), descriptor)


if __name__ == "__main__":
    sys.exit(main())
