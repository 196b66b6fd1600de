"""One pass, asked: a suite's kind at work, with its pace shown and the server watched."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from evals.client.http import Client
from harness.errors import OutOfTimeError, ServerError
from harness.live import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeVar

    from evals.endpoint import Endpoint
    from evals.kinds import Job, Kind
    from harness.live import Live
    from harness.serving import Served

    _T = TypeVar("_T")

_LOOK_S = 0.5
"""How often it is seen whether the server lives."""


def ask_pass(
    kind: Kind,
    job: Job,
    endpoint: Endpoint,
    served: Served,
    live: Live,
    title: str,
    until_s: float | None = None,
) -> Pace:
    """Ask all items of a pass that its folder does not hold yet, and return how fast that went.

    Raises:
        ServerError: the server died; what it had answered is in the folder.
        OutOfTimeError: the monotonic clock passed `until_s`; says how much longer it would take.
        EvalError: see `evals.kinds.Kind.ask`.
        KeyboardInterrupt: after what was answered is in the folder.
    """
    pace = Pace()

    def progress(done: int, total: int) -> None:
        pace.step(done, total, time.monotonic())
        live.items(title, pace)

    async def asking() -> None:
        async with Client(endpoint, job.route) as client:
            await kind.ask(job, client, progress)

    live.status(title)
    try:
        run_watched(asking, served, title, until_s)
    except OutOfTimeError as error:
        raise OutOfTimeError(f"{error.text}, {pace}") from error
    return pace


def run_watched(
    work: Callable[[], Coroutine[None, None, _T]],
    served: Served,
    title: str,
    until_s: float | None = None,
) -> _T:
    """Run asynchronous work in a loop of its own while the server lives.

    Raises:
        ServerError: it died; the work was cancelled.
        OutOfTimeError: the monotonic clock passed `until_s`; the work was cancelled.
        KeyboardInterrupt: the work was cancelled.
    """

    async def watch() -> _T:
        task = asyncio.ensure_future(work())
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_S))[0]:
                check_alive(served, title)
                if until_s is not None and time.monotonic() > until_s:
                    raise OutOfTimeError(f"{title}: its time ran out")
            if task.exception() is not None:
                check_alive(served, title)  # the reason, rather than what followed from it
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return asyncio.run(watch())


def check_alive(served: Served, title: str) -> None:
    """Look whether the server lives.

    Raises:
        ServerError: it does not; ends with its log's last lines.
    """
    if served.running is None or (ended := served.running.poll()) is None:
        return
    lines = "".join(f"\n  {line}" for line in served.running.tail())
    raise ServerError(
        f"the server died during {title} ({ended}); the last lines of {served.server.log}:{lines}",
        hint="What it had answered until then is kept.",
    )
