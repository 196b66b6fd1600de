"""What this process has used of its machine so far."""

from __future__ import annotations

import gc
import time
from typing import NamedTuple

_now = time.perf_counter_ns


class Usage(NamedTuple):
    """A reading of what this process has used so far."""

    at_ns: int
    cpu_s: float
    run_delay_ns: int | None
    collections: int


def usage() -> Usage:
    """Read this process's CPU time, its wait for a CPU and the collector's runs."""
    try:
        with open("/proc/self/schedstat", "rb") as file:  # noqa: PTH123 - light, called in the window
            run_delay = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        run_delay = None
    collections = sum(generation["collections"] for generation in gc.get_stats())
    return Usage(_now(), time.process_time(), run_delay, collections)


def rss_peak_mib() -> float | None:
    """Return the most memory that this process has held; `getrusage` knows its parent's as well."""
    try:
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123 - light
            lines = file.read().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith(b"VmHWM:")]
    return int(found[0][1]) / 1024 if found else None
