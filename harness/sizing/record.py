"""What a sizing says. Every number is a pure function of finished runs and of what was asked."""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.measuring.measurement import Caveat  # noqa: TC001 - msgspec reads it at run time
from harness.sizing.prediction import Prediction  # noqa: TC001 - as above

Range = tuple[float | None, float | None]
"""(low, high); None where nothing bounds that side."""
Unit = Literal["requests/s", "sessions/s"]


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """The traffic that is to be served."""

    source: str
    """As it was given: a rate, or a trace's file."""
    peak_rate: float
    """Arrivals/s: the rate given, or the most within any `window_s` of the trace."""
    mean_rate: float | None = None
    """Arrivals/s over all the time that is paid for; None: not known."""
    window_s: float | None = None
    span_s: float | None = None
    """Of the trace, from its first to its last request."""
    requests: int | None = None
    rates: list[float] = []
    """Arrivals/s of a trace's successive whole windows of `window_s`."""
    prompt_tokens: float | None = None
    """Mean a request, of a trace; so is `output_tokens`."""
    output_tokens: float | None = None
    longest_tokens: int | None = None
    """Prompt and answer of the trace's longest request."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked about reserve, growth and money."""

    headroom: float = 0.2
    """Share of what a replica holds that is left free at the peak."""
    spare: int = 1
    """Replicas that may fail at the peak."""
    growth_per_month: float = 0.0
    """Compound; 0.1 is 10 % more each month."""
    months: int = 0
    price_per_gpu_hour: dict[str, float] = {}
    """Build → USD; "" for every build."""
    gpus_per_replica: dict[str, int] = {}
    """Build → GPUs; "" for every build. Where nothing is said those that were seen, else 1."""
    output_price_ratio: float = 4.0
    """How many times as dear an output token is counted as one of the prompt."""
    gpu_memory_gib: float | None = None
    """Of one card."""
    context_tokens: int | None = None
    """Longest prompt and answer that must fit."""

    def price(self, build: str) -> float | None:
        """USD an hour of one GPU; None where none was given."""
        return self.price_per_gpu_hour.get(build, self.price_per_gpu_hour.get(""))

    def gpus(self, build: str) -> int | None:
        """GPUs of one replica; None where nothing was said."""
        return self.gpus_per_replica.get(build, self.gpus_per_replica.get(""))


class Supply(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one build: how much it holds, and what that takes."""

    build: str
    engine: str
    model: str
    basis: Literal["search", "open levels", "closed levels", "nothing held"]
    unit: Unit = "requests/s"
    servers: int = 1
    """Addresses that were measured together; `rate` is of all of them."""
    rate: float | None
    """The highest rate at which the limits hold; None: none does, or none was reached."""
    rate_ci95: tuple[float, float] | None = None
    """Of a search."""
    rate_between: Range | None = None
    """Of levels: the highest that held, and the lowest that did not (None: all held)."""
    efficiency: float | None = None
    """Rate of all ÷ (servers x rate of one), where one alone was measured, too."""
    efficiency_range: Range | None = None
    """By the far ends of both rates."""
    cell: str = ""
    """The one that the numbers below are of."""
    run: str = ""
    prompt_tokens: float | None = None
    """Mean a request; so is `output_tokens`."""
    output_tokens: float | None = None
    turns: float = 1.0
    """Requests of an arrival: the turns of a session on average; 1 without sessions."""
    served_rate: float | None = None
    """Answers/s in that cell."""
    in_flight: float | None = None
    """Requests under way at once, on average, at each server; `in_flight_peak` at most."""
    in_flight_peak: float | None = None
    power_w: float | None = None
    """Mean of all servers together."""
    joules_per_output_token: float | None = None
    gpus: int | None = None
    """That the processes of one server were seen on."""
    memory_peak_gib: float | None = None
    memory_kind: Literal["vram", "rss"] | None = None
    weights_gib: float | None = None
    kv_cache_gib: float | None = None
    kv_cache_tokens: float | None = None
    """Of one server."""
    kv_bytes_per_token: float | None = None
    """In all layers."""
    kv_window_tokens: int | None = None
    """Layers with a sliding window hold so many tokens of a request at most; None: no layer."""
    kv_bytes_beyond_window: float = 0.0
    """Of a token behind the window: in the layers without one."""
    kv_block_tokens: int = 1
    """The cache is taken in blocks of so many."""
    max_model_len: float | None = None
    caveats: list[Caveat] = []

    @property
    def per_server(self) -> float | None:
        """The rate of one server among `servers`."""
        return None if self.rate is None else self.rate / self.servers

    @property
    def bounds(self) -> Range | None:
        """What is known of `per_server`: the interval, or the levels to both sides."""
        found: Range | None = self.rate_ci95 or self.rate_between
        if found is None:
            return None
        low, high = (None if rate is None else rate / self.servers for rate in found)
        return low, high


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at the peak while so many replicas are down."""

    failed: int
    load: float | None
    """Rate of each of the others ÷ what it holds; above 1 the limits break. None: none is left."""
    holds: bool


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas for one peak."""

    month: int = 0
    """From now on."""
    peak_rate: float
    serving: int
    """That the peak and the headroom take."""
    replicas: int
    """With those that may fail."""
    replicas_range: tuple[int | None, int | None] | None = None
    """The same at both ends of what the measured rate may be; None: no end is known."""
    gpus: int
    usd_per_month: float | None = None
    usd_per_month_range: Range | None = None
    failing: list[Failing] = []


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas in each window of a trace, were they started and stopped in no time."""

    window_s: float
    replicas: list[int]
    replica_hours: float
    """Of those."""
    replica_hours_fixed: float
    """Of the fleet for the peak, over the same time."""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """A number, and what it may be as far as the measured rate is known."""

    value: float
    range: Range | None = None


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What traffic costs, in USD."""

    at: Literal["demand", "capacity"]
    """Of the fleet that the demand takes, spares and idle hours included; or of one replica that
    is always as busy as its limits allow."""
    rate: float
    """Answers/s that the money is shared out over."""
    usd_per_hour: float
    per_request: Amount
    per_million_tokens: Amount | None = None
    """Prompt and output tokens counted alike."""
    per_million_input_tokens: Amount | None = None
    """With an output token at `output_price_ratio` times the price of one of the prompt."""
    per_million_output_tokens: Amount | None = None
    per_million_output_tokens_alone: Amount | None = None
    """All of the money on the output tokens, as `harness compare` counts."""


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """By the mean power while the cell ran."""

    power_w: float
    """Of one server."""
    joules_per_output_token: float
    kwh_per_million_tokens: float | None = None
    """Prompt and output tokens counted alike."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one server's memory holds the longest requests, as many as are under way at once."""

    weights_gib: float | None = None
    kv_cache_gib: float | None = None
    other_gib: float | None = None
    """Peak during load less weights and KV cache: activations, graphs, the engine itself."""
    peak_gib: float | None = None
    card_gib: float | None = None
    """None, too, where a replica has several."""
    kv_bytes_per_token: float | None = None
    kv_cache_tokens: int | None = None
    context_tokens: int | None = None
    concurrency: int | None = None
    """Requests under way at once at each server."""
    kv_need_gib: float | None = None
    """Of so many requests, all of that length at once; behind a sliding window only what is in
    layers without one."""
    most_concurrency: int | None = None
    """That many of that length fit into the KV cache."""
    fits: bool | None = None
    """None: it could not be told."""
    text: str


class BuildSizing(msgspec.Struct, frozen=True, kw_only=True):
    """One build's answer."""

    build: str
    supply: Supply
    gpus_per_replica: int = 1
    fleets: list[Fleet] = []
    """Month by month; empty without a demand, or where no rate holds the limits."""
    day: Day | None = None
    cost: Cost | None = None
    cost_at_capacity: Cost | None = None
    energy: Energy | None = None
    memory: Memory | None = None
    text: str = ""
    """The answer in a sentence or two, with its reasons."""
    unknown: list[str] = []
    """What could not be told, and what it would take."""
    prediction: Prediction | None = None
    """By a simulator fitted to its cells, of this fleet, too; None where it cannot be fitted, and
    a caveat says why."""


class PerMillion(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens."""

    input: float
    output: float
    blended: float
    at: Literal["demand", "capacity"]


class Sizing(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. What lies outside `builds` is the first build's."""

    schema: int = 1
    slo: str
    max_rate: float | None
    max_rate_ci95: tuple[float, float] | None
    replicas: int | None
    """To have, spares included, for the peak of the last month."""
    replicas_range: tuple[int | None, int | None] | None
    cost_per_million_tokens: PerMillion | None
    demand: Demand | None
    terms: Terms
    builds: list[BuildSizing]
    cheapest: str | None = None
    text: str = ""
    """Which build takes the least, and whether that is shown."""
    prediction: Prediction | None = None
    caveats: list[Caveat] = []
