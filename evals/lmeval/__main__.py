"""`python -m evals.lmeval`: the one process that imports lm-eval. Started by `process.py`."""

from __future__ import annotations

import os
import sys
import threading
import traceback

from evals.errors import EvalError
from evals.lmeval.plan import ERRORS, Event, Failed, decode_plan, encode

ABANDONED = 130


def main() -> int:
    """Read a plan, do it, and tell of it on standard output, one event a line."""
    plan = decode_plan(sys.stdin.buffer.readline())
    threading.Thread(target=_watch_parent, daemon=True).start()
    # lm-eval and what it uses print freely; standard output is for events.
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def tell(event: Event) -> None:
        events.write(encode(event) + b"\n")

    try:
        from evals.lmeval.running import run

        run(plan, tell)
    except Exception as error:  # noqa: BLE001 - it is told, whatever it is
        traceback.print_exc()
        tell(_failed(_first(error)))
        return 1
    return 0


def _failed(error: BaseException) -> Failed:
    kind = type(error).__name__
    if isinstance(error, EvalError):
        return Failed(error=kind if kind in ERRORS else "EvalError", text=str(error))
    if isinstance(error, ModuleNotFoundError):
        text = f"{sys.executable}: {error}: harness engines install lm-eval"
        return Failed(error="NeedError", text=text)
    return Failed(error="EvalError", text=f"lm-eval: {kind}: {error}")


def _watch_parent() -> None:
    """End when whoever started this ends, in whatever way: its end of the pipe closes."""
    while os.read(0, 1024):  # not sys.stdin: its lock would be held while Python ends
        pass
    os._exit(ABANDONED)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
