"""The shape of `measurements.json`. Every number in it is a pure function of the sample files.

Definitions and their sources: docs/method.md.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.comparing.rows import SideBySide  # noqa: TC001 - as Arrivals
from harness.foreign import FolderName  # noqa: TC001 - as Arrivals
from harness.measuring.arrival_stats import Arrivals  # noqa: TC001 - msgspec reads it at run time
from harness.measuring.compared_stats import OutputsCompared  # noqa: TC001 - as Arrivals
from harness.measuring.prefill_stats import Prefill  # noqa: TC001 - as Arrivals
from harness.measuring.server_stats import Reconciliation, ServerUse  # noqa: TC001 - as Arrivals
from harness.measuring.sweep import UNDER_WAY, Sweep, Throughput

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


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of two groups of answers, in the unit of its name."""

    value: float | None = None
    reference: float | None = None
    difference: float | None = None
    """value - reference; None with too few answers on a side."""
    ci95: tuple[float, float] | None = None
    """Bootstrap interval of the difference."""
    n: int = 0
    n_reference: int = 0
    unstable: bool = False
    """As in `Stat`: no number is given but how many there are."""


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

    @property
    def due(self) -> int:
        """How many were to be sent until the end: sent, or dropped."""
        return self.sent + self.dropped

    @property
    def lost(self) -> int:
        """How many of those got no answer: failed, or dropped."""
        return self.failed + self.dropped


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


class Burst(msgspec.Struct, frozen=True, kw_only=True):
    """One burst; seconds from the window's start."""

    start_s: float
    end_s: float
    arrivals: int
    peak_backlog: int
    """Most requests that were due and not answered, until they were down again."""
    beyond_usual: float | None
    """How far that is above the usual backlog."""
    recovery_s: float | None
    """From the burst's end until the backlog was back; None: not within `watched_s`."""
    watched_s: float
    """From the burst's end to the next one, or to the window's end."""


class Bursts(msgspec.Struct, frozen=True, kw_only=True):
    """What the bursts of an open loop did."""

    usual_backlog: float | None
    """Median of the backlog before the first burst."""
    usual_backlog_p95: float | None
    """Up to here it counts as back."""
    bursts: list[Burst]
    ttft_inside_ms: Stat
    """TTFT from due of the requests due in a burst, and of the others."""
    ttft_between_ms: Stat
    stayed: dict[str, Contrast]
    """`ttft_ms` and `tpot_ms` of requests due after a recovery, against those before the first
    burst."""


class LengthBucket(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to prompts of `low` to `high` tokens."""

    low: int
    high: int
    ttft_ms: Stat
    """From due in an open loop."""
    tpot_ms: Stat
    e2e_ms: Stat


class Mixture(msgspec.Struct, frozen=True, kw_only=True):
    """Latency by prompt length, and what short requests pay for long neighbours."""

    length_source: Literal["server", "planned"]
    buckets: list[LengthBucket]
    short_below: int
    """A prompt of fewer tokens is short, one of `long_from` and more is long."""
    long_from: int
    long_share: float
    ttft_ms: Contrast
    """TTFT of short requests that waited while a long prompt was read, against the others."""
    tpot_ms: Contrast
    """TPOT of short requests that made text while a long prompt was read, against the others."""
    fairness: float | None
    """Jain's index of e2e per output token; None where the queue grew throughout."""


class Stalls(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that stood still in the middle."""

    threshold_ms: float
    """A longer gap is a stall: 200 ms, or five usual gaps."""
    count: int
    requests: int
    """How many had one."""
    frozen_share: float
    """Time in stalls / time from first to last text."""
    longest_ms: float
    at_once: int
    """The most that stood still at one moment."""
    maybe_client: int
    """Stalls with merged reads behind them that might be the client's."""


class SteadyPart(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of the steady part alone."""

    ttft_ms: Stat
    """From due in an open loop."""
    itl_ms: Stat
    e2e_ms: Stat
    aggregate_tps: float


class Steady(msgspec.Struct, frozen=True, kw_only=True):
    """Whether, and from when to when, the cell was in steady state."""

    state: Literal["steady", "none", "not judged"]
    reason: str = ""
    from_s: float = 0.0
    """Seconds from the window's start."""
    to_s: float = 0.0
    cut_share: float = 0.0
    """How much of the window is not in it."""
    part: SteadyPart | None = None
    """None where nothing was cut."""


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """What the answers of the measured requests are like."""

    finish_reasons: dict[str, int]
    tokens: Stat
    planned_tokens: int
    empty: int
    """Requests that got no text (they are among the failed)."""
    one_token: int
    """Answers of one token at most."""
    compared_texts: int
    """Answers whose text was looked at for repetition."""
    repeating: int
    """Of those, the ones that compress more than 2.4-fold."""
    hashed: int
    """Answers whose text was compared with others'."""
    identical: int
    """Of those, the ones whose text another prompt got, too."""
    compared: OutputsCompared | None = None


class TurnStat(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of all sessions: the later, the longer the conversation that its prompt holds."""

    turn: int
    """1 is the first."""
    n: int
    """How many were answered."""
    ttft_ms: Stat
    prompt_tokens_mean: float | None
    """As the server counts them."""


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the sessions. planned = complete + broken + cut_off."""

    planned: int
    """That the schedule begins; of a closed loop, those that were begun."""
    complete: int
    """All their turns were answered."""
    broken: int
    """A turn failed, and those after it were not sent."""
    cut_off: int
    """The window, or the cell, ended before they did."""
    turns: list[TurnStat]


class EndpointUse(msgspec.Struct, frozen=True, kw_only=True):
    """One of several addresses of a deployment; counts are over the measured requests to it."""

    address: str
    sent: int
    failed: int
    errors: dict[str, int]
    ttft_ms: Stat


class PromptCount(msgspec.Struct, frozen=True, kw_only=True):
    """Prompt tokens as planned and as the server counted them, of the same answered requests."""

    requests: int
    planned: int
    """Where a prompt holds earlier answers: with what the server counted of these."""
    counted: int


class CellMeasurement(msgspec.Struct, frozen=True, kw_only=True):
    """What the samples of one cell say."""

    id: FolderName
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
    weights: str | None = None
    """What the build's weights are, and the kernel that multiplies them; None where nobody says."""
    lengths: Literal["forced", "natural"] = "forced"
    """Whether the engine was told to make exactly as many tokens as planned, where it can be."""
    interleaved_with: list[str] = []
    """Builds that were up at the same time and asked by turns with this one; `window_s` is then
    the time that was this one's turn."""
    bursts: Bursts | None = None
    mixture: Mixture | None = None
    prefill: Prefill | None = None
    stalls: Stalls | None = None
    steady: Steady | None = None
    outputs: Outputs | None = None
    prompts: PromptCount | None = None
    """None where the server did not count."""
    arrivals: Arrivals | None = None
    """None in a closed loop."""
    sessions: Sessions | None = None
    """None without sessions."""
    endpoints: list[EndpointUse] = []
    """Empty where there is but one address."""
    reconciliation: Reconciliation | None = None
    """None where the server has no metrics page."""
    throughput: Throughput | None = None


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
    sweeps: list[Sweep] = []
    side_by_side: SideBySide | None = None
    """Of `harness load` with several servers."""


def measurements(
    run: RunInfo, cells: list[CellMeasurement], planned: int, caveats: list[Caveat],
    sweeps: list[Sweep] | None = None,
) -> Measurements:  # fmt: skip
    """Put a run's numbers together: valid if all planned cells have valid ones, and no caveat."""
    caveats = [caveat for caveat in caveats if caveat.code != INCOMPLETE]
    told = any(caveat.invalidates for caveat in caveats)
    planned += sum(sweep.ended == UNDER_WAY for sweep in sweeps or [])  # at least one more each
    if len(cells) < planned and not told:  # it is under way, or it was killed
        text = f"The run did not end: {len(cells)} of {planned} cells have numbers."
        caveats.append(Caveat(INCOMPLETE, text, invalidates=True))
    return Measurements(
        run=run,
        cells=cells,
        valid=all(cell.client.valid for cell in cells)
        and not any(caveat.invalidates for caveat in caveats),
        caveats=caveats,
        sweeps=sweeps or [],
    )
