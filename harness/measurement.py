"""The shape of `measurements.json`. Every number in it is a pure function of the sample files.

Definitions and their sources: docs/method.md.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA = 1
INCOMPLETE = "incomplete"


class Caveat(msgspec.Struct, frozen=True):
    """Something a reader must know, in words that say what to do about it."""

    code: str
    text: str
    invalidates: bool = False


class Stat(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution in the unit of its name. A percentile q is None below 1/(1-q) samples."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    max: float | None = None
    n: int = 0
    n_infinite: int = 0
    """How many values were counted as infinite (failures); percentiles beyond are None."""
    ci95: dict[str, tuple[float, float]] = {}
    """Bootstrap intervals of "p50" and "p95"."""
    unstable: bool = False
    """The queue grew throughout the window, so these values have no distribution: no number is
    given but how many there are."""


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """Counts over the measured requests. sent = ok + failed; errors add up to failed."""

    planned: int
    sent: int
    ok: int
    failed: int
    dropped: int
    errors: dict[str, int]
    truncated: int
    empty: int


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of one cell, over its answered measured requests."""

    ttft_ms: Stat
    ttft_due_ms: Stat
    ttfa_ms: Stat
    itl_ms: Stat
    stall_ms: Stat
    tpot_ms: Stat
    e2e_ms: Stat
    sequence_tps: Stat
    decode_tps: Stat
    aggregate_tps: float
    request_rate: float
    goodput: float | None = None


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """What the client knows about itself in this cell."""

    clock: Literal["kernel", "user"]
    lag_ms: Stat
    slip_ms: Stat
    merged_reads: int
    late_merges: int
    """Merged reads that the client caused; the others left the server together."""
    streams_held: float | None
    """Closed loop: mean number of streams in flight within the window."""
    streams_thinking: float | None = None
    """Closed loop with think time: mean number of streams whose users thought."""
    cpu: float
    """Share of one core within the window."""
    run_delay: float | None
    """Share of the window in which the driver waited for a CPU."""
    gc_collections: int
    valid: bool
    caveats: list[Caveat] = []


class ServerUse(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the server while the cell ran; None where unknown."""

    memory_peak_gib: float | None = None
    memory_kind: Literal["vram", "rss"] | None = None
    kv_cache_tokens: int | None = None
    kv_cache_peak: float | None = None
    waiting_peak: int | None = None
    preemptions: int | None = None
    power_w_mean: float | None = None


class CellMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """What the samples of one cell say."""

    id: str
    build: str
    engine: str
    engine_version: str | None
    model: str
    profile: str
    repeat: int
    level: dict[str, float]
    """{"concurrency": N} or {"rate": requests per second}."""
    requests: Requests
    offered_rate: float
    achieved_rate: float
    in_flight_mean: float
    in_flight_peak: int
    backlog_growth_rps: float
    stable: bool
    window_s: float
    prompt_tokens: int | None
    output_tokens: int
    token_source: Literal["server", "tokenizer", "chunks"]
    tokens_per_chunk: float | None
    metrics: Metrics
    metrics_with_failures: dict[str, Stat]
    client: Client
    server: ServerUse


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Which run this is."""

    id: str
    path: str
    started: str
    command: str
    seed: int
    harness_version: str


class Measurements(msgspec.Struct, frozen=True, kw_only=True):
    """All of `measurements.json`."""

    schema: int = SCHEMA
    run: RunInfo
    cells: list[CellMeasurement]
    valid: bool
    caveats: list[Caveat] = []


def measurements(
    run: RunInfo, cells: list[CellMeasurement], planned: int, caveats: list[Caveat]
) -> Measurements:
    """Put a run's numbers together: valid if all planned cells have valid ones, and no caveat."""
    caveats = [caveat for caveat in caveats if caveat.code != INCOMPLETE]
    if len(cells) < planned and not caveats:  # it is under way, or it was killed
        text = f"The run did not end: {len(cells)} of {planned} cells have numbers."
        caveats.append(Caveat(INCOMPLETE, text, invalidates=True))
    return Measurements(
        run=run,
        cells=cells,
        valid=all(cell.client.valid for cell in cells)
        and not any(caveat.invalidates for caveat in caveats),
        caveats=caveats,
    )
