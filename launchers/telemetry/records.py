"""The lines of a cell's `telemetry.jsonl`.

One `Reading` a line, in the order of time, from just before the cell's first request until just
after its last. None stands for what nobody could tell. All times are CLOCK_MONOTONIC of the host
that the harness runs on: the clock of the samples, where they were sent from that host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

GIB: Final = 2**30
TELEMETRY_FILE: Final = "telemetry.jsonl"


class Histogram(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A histogram since the engine's start, as Prometheus counts: buckets are cumulative."""

    sum_s: float
    count: float
    buckets: list[tuple[float | None, float]] = []
    """(upper bound in s, how many are not above it), ascending; None: no bound."""


class EnginePage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine's metrics page said, by one set of names for all engines.

    Where there are several replicas, or several engines on one page, numbers are sums and
    `kv_cache_use` is the largest. Counters count from the engine's start: differences are meant.
    """

    at_ns: int
    """When the page had come in."""
    took_ms: float
    """From asking for it to having it; with several replicas the longest."""
    engine: str
    """Whose names the page has: "vllm", "sglang", "tgi", "llama.cpp"."""
    running: float | None = None
    """Requests in the batch."""
    waiting: float | None = None
    """Requests in the queue."""
    kv_cache_use: float | None = None
    """Share of the KV cache that is taken, 0 to 1."""
    kv_cache_tokens: float | None = None
    """How many tokens it holds in all, of engines whose page says so."""
    preemptions: float | None = None
    """Requests pushed back for want of KV cache, since the start."""
    prefix_cache_queries: float | None = None
    """Prompt tokens that were looked for in the prefix cache, since the start."""
    prefix_cache_hits: float | None = None
    """Prompt tokens that were found there, since the start."""
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    finished: float | None = None
    """Requests that ended regularly, since the start."""
    prefill_s: float | None = None
    """Seconds of computing prompts, since the start, of engines that have no histogram of it."""
    decode_s: float | None = None
    """Seconds of making tokens, since the start, of engines that have no histogram of it."""
    histograms: dict[str, Histogram] = {}
    """ttft_s, itl_s, e2e_s, queue_s, prefill_s, decode_s: those that the engine has. Only in a
    cell's first and last page."""
    odd: list[str] = []
    """Names whose value is no amount of anything (NaN, infinite, below 0), and that value: what
    they stand for is unknown."""
    restarts: int = 0
    """How often since the cell's first page a counter of a replica fell: it was started anew, and
    no difference that includes that moment means anything."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One NVIDIA GPU, as NVML tells."""

    index: int
    uuid: str
    memory_used_bytes: int | None = None
    """Of the whole device, whoever uses it."""
    memory_total_bytes: int | None = None
    memory_server_bytes: int | None = None
    """Of the server's processes; 0 where none of them is there, None where NVML cannot say."""
    power_w: float | None = None
    utilization: float | None = None
    """Share of the last sample period in which a kernel ran, 0 to 1."""
    sm_clock_mhz: float | None = None
    energy_j: float | None = None
    """Since the driver was loaded."""

    @property
    def server_bytes(self) -> int | None:
        """The server's memory here; all that is used where NVML cannot tell whose it is."""
        own = self.memory_server_bytes
        return self.memory_used_bytes if own is None else own


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One look at the server."""

    at_ns: int
    took_ms: float
    """For memory, CPU and GPUs."""
    memory_bytes: int | None = None
    """Resident, of the server's process tree."""
    cpu_s: float | None = None
    """CPU time of that tree since it began; of ended processes as far as /proc tells."""
    gpus: list[Gpu] = []
    engine: EnginePage | None = None
    """The page that came in since the reading before; None when none did."""
    problem: str = ""
    """What could not be read, and why; empty when nothing is new."""


_decode = msgspec.json.Decoder(Reading).decode


def read_telemetry(folder: Path) -> list[Reading]:
    """Return the readings in a cell's folder; empty where none were made.

    A last line that was cut off, by a kill or a full disk, is left out.

    Raises:
        OSError: the file cannot be read.
        msgspec.DecodeError: a line is not what it should be; the text names it.
    """
    try:
        lines = (folder / TELEMETRY_FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    readings = []
    try:
        for line in lines[:-1]:
            readings.append(_decode(line))  # noqa: PERF401 - the error tells which one it was
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"line {len(readings) + 1}: {error}") from error
    return readings
