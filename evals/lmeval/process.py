"""The child that has lm-eval, seen from the harness: start, follow, stop, reap."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from evals.errors import EvalError, NeedError
from evals.lmeval.plan import ERRORS, LOG_FILE, Failed, decode_event, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from evals.lmeval.plan import Event, Plan

PACKAGE = Path(__file__).parents[1] / "__init__.py"
BOOTSTRAP = """
import importlib.util, runpy, sys
spec = importlib.util.spec_from_file_location("evals", sys.argv.pop(1))
sys.modules["evals"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
runpy.run_module("evals.lmeval", run_name="__main__", alter_sys=True)
"""
"""Gives the child this very `evals`, and nothing else of the environment that it lies in."""
INSTALL = "harness engines install lm-eval"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
LOG_LINES = 15
LONGEST_LINE = 1 << 20
STOP_S = 3.0


def follow(
    plan: Plan, python: Path | None, heard: Callable[[Event], None], *, offline: bool = False
) -> None:
    """Let a child do the plan, and hear its events; `offline` takes data sets of the cache alone.

    Raises:
        EvalError: what the child ended with.
    """
    command = _command(python)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(python) | (OFFLINE if offline else {}),
            start_new_session=True,
        )
        with process, contextlib.ExitStack() as stack:
            stack.callback(process.kill)
            assert process.stdin is not None  # noqa: S101 - it is a pipe
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(encode(plan) + b"\n")
                process.stdin.flush()
            failed = _hear(process.stdout, heard)
            status = process.wait()
        log.seek(0)
        _judge(failed, status, log.read())


async def follow_async(plan: Plan, python: Path | None, heard: Callable[[Event], None]) -> None:
    """Do as `follow`, with the log in the plan's folder; ends the child when it is cancelled."""
    command = _command(python)
    log_file = Path(plan.folder) / LOG_FILE
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(python),
            start_new_session=True,  # a Ctrl-C in the terminal is for the harness to handle
            limit=LONGEST_LINE,
        )
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    failed: Failed | None = None
    try:
        with contextlib.suppress(ConnectionError):
            process.stdin.write(encode(plan) + b"\n")
            await process.stdin.drain()
        async for line in process.stdout:
            failed = _hear([line], heard) or failed
        status = await process.wait()
    finally:
        await _end(process)
    _judge(failed, status, log_file.read_bytes())


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    if process.stdin is not None:
        process.stdin.close()  # the order to end
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _hear(lines: Iterable[bytes], heard: Callable[[Event], None]) -> Failed | None:
    failed = None
    for line in lines:
        try:
            event = decode_event(line)
        except msgspec.DecodeError:  # a library that prints past the child's standard error
            continue
        if isinstance(event, Failed):
            failed = event
        else:
            heard(event)
    return failed


def _judge(failed: Failed | None, status: int, log: bytes) -> None:
    if failed is not None:
        raise ERRORS.get(failed.error, NeedError)(failed.text)
    if status:
        tail = log.decode(errors="replace").splitlines()[-LOG_LINES:]
        shown = "\n".join(f"  {line}" for line in tail)
        raise EvalError(f"lm-eval ended with exit status {status}:\n{shown}")


def _command(python: Path | None) -> list[str]:
    if python is None and find_spec("lm_eval") is None:
        raise NeedError(f"lm-eval is not installed: {INSTALL}")
    return [str(python or sys.executable), "-P", "-c", BOOTSTRAP, str(PACKAGE)]


def _environment(python: Path | None) -> dict[str, str]:
    """Keep this environment's modules out of a managed Python."""
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "true", "PYTHONUNBUFFERED": "1"}
    if python is not None:
        environment |= {"PYTHONPATH": "", "PYTHONHOME": "", "PYTHONSAFEPATH": "1"}
    return environment
