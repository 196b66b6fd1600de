"""`python -m launchers.quantize`: the one process with llm-compressor. Started by `process.py`."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback

from launchers.errors import LauncherError
from launchers.quantize.plan import ERRORS, Event, Failed, decode_plan, encode

ABANDONED = 130


def main() -> int:
    """Read a plan, do it, and tell of it on standard output, one event a line."""
    began = time.monotonic()
    plan = decode_plan(sys.stdin.buffer.readline())
    threading.Thread(target=_watch_parent, daemon=True).start()
    # llm-compressor and what it uses print freely; standard output is for events.
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def tell(event: Event) -> None:
        events.write(encode(event) + b"\n")

    try:
        from launchers.quantize.compress import run

        run(plan, tell, began)
    except Exception as error:  # noqa: BLE001 - it is told, whatever it is
        traceback.print_exc()
        tell(_failed(error))
        return 1
    return 0


def _failed(error: Exception) -> Failed:
    kind = type(error).__name__
    if isinstance(error, LauncherError):
        return Failed(error=kind if kind in ERRORS else "QuantizeError", text=str(error))
    if isinstance(error, ModuleNotFoundError):
        text = f"{sys.executable}: {error}: harness engines install llm-compressor"
        return Failed(error="QuantizeError", text=text)
    return Failed(error="QuantizeError", text=f"llm-compressor: {kind}: {error}")


def _watch_parent() -> None:
    """End when whoever started this ends, in whatever way: its end of the pipe closes."""
    while os.read(0, 1024):  # not sys.stdin: its lock would be held while Python ends
        pass
    os._exit(ABANDONED)


if __name__ == "__main__":
    sys.exit(main())
