"""A process that imports this module is killed by the kernel when its parent ends.

A worker does so before all else: importing Locust takes seconds on a busy machine, and nobody
listens meanwhile to the pipe whose end says the same. Linux alone has it; elsewhere that pipe has
to do.
"""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with(number: signal.Signals) -> None:
    """Have this signal sent to the process when the thread that has started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


end_with(signal.SIGKILL)
