"""The child that has llm-compressor, seen from the harness: start, follow, stop."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
from collections import deque
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from launchers.environments import ISOLATED
from launchers.errors import LauncherError, QuantizeError
from launchers.quantize.plan import ERRORS, Failed, Started, Written, decode_event, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launchers.quantize.plan import Plan

PACKAGE = Path(__file__).parents[1] / "__init__.py"
BOOTSTRAP = """
import importlib.util, runpy, sys
spec = importlib.util.spec_from_file_location("launchers", sys.argv.pop(1))
sys.modules["launchers"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
runpy.run_module("launchers.quantize", run_name="__main__", alter_sys=True)
"""
"""Gives the child this very `launchers`, and nothing else of the environment that it lies in."""
# One thread that waits for another must not keep the core that the other one needs.
SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
LOG_LINES = 15
STOP_S = 3.0
_PART = re.compile(r"\((\d+)/(\d+)\): (Calibrating|Propagating)")
_MAPPING = re.compile(r"Grid search for (\S+):")


def compress(plan: Plan, python: Path, on_line: Callable[[str], None]) -> Written:
    """Let a child do the plan; `on_line` hears how far it is.

    Nothing of the child is left when this returns or raises.

    Raises:
        PlanError: the model cannot be quantized as it was asked.
        QuantizeError: with the last lines of the child's log.
    """
    tail: deque[str] = deque(maxlen=LOG_LINES)
    try:
        process = subprocess.Popen(
            [str(python), "-P", "-c", BOOTSTRAP, str(PACKAGE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | SETTINGS | OFFLINE | ISOLATED,
            start_new_session=True,  # a Ctrl-C in the terminal is for the harness to handle
        )
    except OSError as error:
        raise QuantizeError(f"--python: {python} cannot be started: {error.strerror}") from error
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    assert process.stderr is not None  # noqa: S101 - it is a pipe
    log = threading.Thread(target=_read_log, args=(process.stderr, tail, on_line), daemon=True)
    written: Written | None = None
    failed: Failed | None = None
    try:
        log.start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(encode(plan) + b"\n")
            process.stdin.flush()
        for line in process.stdout:
            try:
                event = decode_event.decode(line)
            except msgspec.DecodeError:  # a library that prints past the child's standard error
                continue
            if isinstance(event, Started):
                on_line(event.step)
            elif isinstance(event, Written):
                written = event
            else:
                failed = event
        status = process.wait()
    finally:
        _end(process, log)
    if failed is not None:
        raise _error(failed, tail)
    if written is None:
        text = f"llm-compressor ended with exit status {status}"
        raise QuantizeError(text + _shown(tail))
    return written


def _end(process: subprocess.Popen[bytes], log: threading.Thread) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()  # the order to end
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.join(STOP_S)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def _read_log(log: IO[bytes], tail: deque[str], on_line: Callable[[str], None]) -> None:
    """Keep the last lines, and turn progress bars into what a person wants to know."""
    told = ""
    with contextlib.suppress(ValueError, OSError):  # closed
        for raw in _lines(log):
            line = raw.decode(errors="replace").strip()
            if part := _PART.search(line):
                news = f"calibrating part {part[1]} of {part[2]}"
            elif mapping := _MAPPING.search(line):
                news = f"scaling after {mapping[1]}"
            else:
                if line and "%|" not in line:
                    tail.append(line)
                continue
            if news != told:
                told = news
                on_line(news)


def _lines(log: IO[bytes]) -> Iterator[bytes]:
    """Yield lines as they come; a progress bar ends its own with a carriage return."""
    left = b""
    while chunk := os.read(log.fileno(), 65_536):
        *whole, left = (left + chunk).replace(b"\r", b"\n").split(b"\n")
        yield from whole
    yield left


def _error(failed: Failed, tail: deque[str]) -> LauncherError:
    kind = ERRORS.get(failed.error, QuantizeError)
    return kind(failed.text + (_shown(tail) if kind is QuantizeError else ""))


def _shown(tail: deque[str]) -> str:
    return "; its log ends with\n" + "\n".join(f"  {line}" for line in tail)
