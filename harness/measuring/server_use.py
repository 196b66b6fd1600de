"""What the readings of a cell say of the server while the window was open. Pure; docs/method.md."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from harness.measuring.request import NS_PER_S
from launchers.telemetry.records import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.measuring.server_stats import ServerUse
    from launchers.telemetry.records import EnginePage, Reading
    from loadprofiles.records import DriveReport


@dataclass(frozen=True)
class Watched:
    """The readings of a cell, and its window in ns on their clock."""

    readings: Sequence[Reading]
    start_ns: int
    end_ns: int

    @property
    def within(self) -> list[Reading]:
        """Those in the window."""
        return [one for one in self.readings if self.start_ns <= one.at_ns <= self.end_ns]

    @property
    def pages(self) -> list[EnginePage]:
        """All pages of the cell."""
        return [one.engine for one in self.readings if one.engine is not None]

    @property
    def pages_within(self) -> list[EnginePage]:
        """Those that came in while the window was open."""
        return [one for one in self.pages if self.start_ns <= one.at_ns <= self.end_ns]

    @property
    def pages_from_within(self) -> list[EnginePage]:
        """Those in the window and the first after it: nothing of the warm-up lies between them."""
        return [*self.pages_within, *[one for one in self.pages if one.at_ns > self.end_ns][:1]]

    @property
    def pages_around(self) -> list[EnginePage]:
        """Those in the window, the last before it and the first after it."""
        before = [one for one in self.pages if one.at_ns < self.start_ns][-1:]
        return [*before, *self.pages_from_within]


def server_use(
    readings: Sequence[Reading], drive: DriveReport, known: ServerUse, output_tps: float
) -> ServerUse:
    """Say how the server was used in the window.

    Args:
        readings: of the cell, in the order of time; none leave what is known as it is.
        drive: with the window.
        known: what was known without them; they overrule it.
        output_tps: output tokens/s over the window.
    """
    if not readings:
        return known
    watched = Watched(readings, drive.window_start_ns, drive.window_end_ns)
    within, pages = watched.within, watched.pages_within
    gpus = server_gpus(readings)
    memory, kind = memory_points(within or readings, gpus)
    power = _power(within, gpus)
    window_s = max(0.0, (drive.window_end_ns - drive.window_start_ns) / NS_PER_S)
    per_token = None
    if power is not None and output_tps and not drive.elsewhere_s:
        per_token = power / output_tps
    told = {
        "memory_peak_gib": max((held for _, held in memory), default=0) / GIB or None,
        "memory_kind": kind,
        "kv_cache_tokens": _whole(_largest(watched.pages, "kv_cache_tokens")),
    }
    return msgspec.structs.replace(
        known,
        **{name: value for name, value in told.items() if value is not None},
        kv_cache_peak=_largest(pages, "kv_cache_use"),
        running_peak=_whole(_largest(pages, "running")),
        waiting_peak=_whole(_largest(pages, "waiting")),
        preemptions=_whole(grown(watched.pages_around, "preemptions")),
        prefix_cache_hit_rate=hit_rate(watched.pages_from_within),
        prompt_tokens=_whole(grown(watched.pages, "prompt_tokens")),
        generation_tokens=_whole(grown(watched.pages, "generation_tokens")),
        power_w_mean=power,
        energy_j=None if power is None or drive.elsewhere_s else power * window_s,
        joules_per_output_token=per_token,
        gpus=len(gpus) or None,
        gpu_utilization_mean=_mean(
            gpu.utilization for one in within for gpu in one.gpus if gpu.uuid in gpus
        ),
        cpu_cores_used=_rate([(one.at_ns, one.cpu_s) for one in within]),
        readings=len(within),
    )


def grown(pages: Sequence[EnginePage], name: str) -> float | None:
    """By how much a counter grew from the first page to the last; None if unknown or restarted.

    Of several replicas one can start anew while their sum still grows: their pages tell that
    (`restarts`).
    """
    counts = [getattr(page, name) for page in pages]
    known = [count for count in counts if count is not None]
    if len(known) < 2 or counts[0] is None or counts[-1] is None:  # noqa: PLR2004 - a pair
        return None
    if pages[0].restarts != pages[-1].restarts:
        return None
    falls = any(later < earlier for earlier, later in pairwise(known))
    return None if falls else float(counts[-1] - counts[0])


def hit_rate(pages: Sequence[EnginePage]) -> float | None:
    """Share of the prompt tokens looked for in the prefix cache that were found there."""
    looked, found = grown(pages, "prefix_cache_queries"), grown(pages, "prefix_cache_hits")
    return found / looked if looked and found is not None else None


def server_gpus(readings: Sequence[Reading]) -> set[str]:
    """The GPUs that the server's processes were on; all where NVML never told whose memory it is.

    By their uuids.
    """
    seen: dict[str, list[int]] = {}
    for one in readings:
        for gpu in one.gpus:
            own = gpu.memory_server_bytes
            seen.setdefault(gpu.uuid, []).extend([] if own is None else [own])
    return {uuid for uuid, known in seen.items() if any(known) or not known}


def memory_points(
    readings: Sequence[Reading], gpus: set[str]
) -> tuple[list[tuple[int, int]], str | None]:
    """The server's memory: ns and bytes, on its GPUs together, or where it has none in the host.

    And which of them it is: "vram", "rss", or None where nobody tells.
    """
    on_gpus = []
    for one in readings:
        held = [gpu.server_bytes for gpu in one.gpus if gpu.uuid in gpus]
        known = [each for each in held if each is not None]
        if known:
            on_gpus.append((one.at_ns, sum(known)))
    if any(held for _, held in on_gpus):
        return on_gpus, "vram"
    resident = [(one.at_ns, one.memory_bytes) for one in readings if one.memory_bytes is not None]
    return resident, "rss" if resident else None


def power_points(readings: Sequence[Reading], gpus: set[str]) -> list[tuple[int, float]]:
    """Power of the GPUs together: ns and W, where all of them tell."""
    found = []
    for one in readings:
        told = [gpu.power_w for gpu in one.gpus if gpu.uuid in gpus]
        known = [each for each in told if each is not None]
        if known and len(known) == len(told):
            found.append((one.at_ns, sum(known)))
    return found


def _power(readings: Sequence[Reading], gpus: set[str]) -> float | None:
    """Mean power of the GPUs together in W: by their own energy counters, or else their power."""
    found = []
    for uuid in sorted(gpus):
        seen = [(one.at_ns, gpu) for one in readings for gpu in one.gpus if gpu.uuid == uuid]
        mean = _rate([(at, gpu.energy_j) for at, gpu in seen])
        found.append(_over_time([(at, gpu.power_w) for at, gpu in seen]) if mean is None else mean)
    known = [mean for mean in found if mean is not None]
    return sum(known) if known and len(known) == len(found) else None


def _rate(points: Iterable[tuple[int, float | None]]) -> float | None:
    """Growth of a counter per second, from its first to its last known value; None if it fell."""
    known = [(at, value) for at, value in points if value is not None]
    if len(known) < 2 or known[-1][0] <= known[0][0]:  # noqa: PLR2004 - a pair
        return None
    rate = (known[-1][1] - known[0][1]) / ((known[-1][0] - known[0][0]) / NS_PER_S)
    return rate if rate >= 0 else None


def _over_time(points: Iterable[tuple[int, float | None]]) -> float | None:
    """Mean of a gauge over time, by the trapezoidal rule; of a single value that value."""
    known = [(at, value) for at, value in points if value is not None]
    if not known:
        return None
    span = known[-1][0] - known[0][0]
    if not span:
        return known[0][1]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(known)) / span


def _largest(pages: Sequence[EnginePage], name: str) -> float | None:
    values = [getattr(page, name) for page in pages]
    return max((value for value in values if value is not None), default=None)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
