"""A limit on the processor time of what cannot be trusted to end: a pattern on a model's text."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class CpuLimitError(Exception):
    """It took too long."""


@contextlib.contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """End what takes more processor time of this process than that.

    Python's regular expressions look for signals while they match, so that this ends them too.
    Signals reach the main thread only; in others there is no limit. A busy machine changes
    nothing: time in which the process did not run does not count.

    Raises:
        CpuLimitError: it did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expired(*_: object) -> None:
        raise CpuLimitError

    before = signal.signal(signal.SIGVTALRM, expired)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
