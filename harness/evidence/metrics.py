"""The names of all metrics, which side of each is better, and in what unit it is.

Those of a distribution are spelled as an SLO spells them: `ttft_p95_ms`, `sequence_p50_tps`;
`sequence_tps_p50` is understood, too.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from harness.measuring.slo import LATENCIES, SPEEDS, STATISTICS, spelled

Better = Literal["less", "more"]


class Metric(NamedTuple):
    """What a metric's name stands for."""

    better: Better | None
    """None: neither side is better by itself."""
    unit: str = ""
    of: Literal["cell", "server", "quality"] = "cell"
    """A load cell; a server, whatever it is asked; a suite's answers."""
    field: str = ""
    """A distribution's name in `Metrics`, and which of its statistics it is; empty for others."""
    statistic: str = ""


DISTRIBUTIONS: Final[dict[str, Metric]] = {
    spelled(field, statistic): Metric(
        "less" if field in LATENCIES else "more",
        field.rpartition("_")[2],
        field=field,
        statistic=statistic,
    )
    for field in (*LATENCIES, *SPEEDS)
    for statistic in STATISTICS
}
"""Every statistic of every distribution of a cell. p95 of a speed is its slow side."""
WHOLE_CELL: Final[dict[str, Metric]] = {
    "aggregate_tps": Metric("more", "tps"),
    "request_rate": Metric("more", "rps"),
    "goodput": Metric("more", "rps"),
    "error_rate": Metric("less"),
    "offered_rate": Metric(None, "rps"),
    "achieved_rate": Metric(None, "rps"),
    "in_flight_mean": Metric(None),
    "in_flight_peak": Metric(None),
    "backlog_growth_rps": Metric("less", "rps"),
    "tokens_per_chunk": Metric(None),
    "prefill_fixed_ms": Metric("less", "ms"),
    "prefill_per_1000_ms": Metric("less", "ms"),
    "memory_peak_gib": Metric("less", "GiB"),
    "kv_cache_tokens": Metric("more", "tokens"),
    "kv_cache_peak": Metric("less"),
    "running_peak": Metric(None),
    "waiting_peak": Metric("less"),
    "preemptions": Metric("less"),
    "prefix_cache_hit_rate": Metric(None),
    "cpu_cores_used": Metric("less"),
    "power_w_mean": Metric("less", "W"),
    "joules_per_output_token": Metric("less", "J"),
}
SERVER: Final[dict[str, Metric]] = {
    "ready_s": Metric("less", "s", "server"),
    "first_token_s": Metric("less", "s", "server"),
    "weights_gib": Metric("less", "GiB", "server"),
    "kv_cache_gib": Metric("more", "GiB", "server"),
}
QUALITY: Final[dict[str, Metric]] = {
    "score": Metric("more", "", "quality"),
    "perplexity": Metric("less", "", "quality"),
    "word_perplexity": Metric("less", "", "quality"),
    "byte_perplexity": Metric("less", "", "quality"),
    "bits_per_byte": Metric("less", "", "quality"),
    "difference": Metric("more", "", "quality"),
    "retained": Metric("more", "", "quality"),
    "perplexity_difference": Metric("less", "", "quality"),
    "perplexity_rise": Metric("less", "", "quality"),
    "flip_rate": Metric("less", "", "quality"),
    "kl_mean": Metric("less", "nats", "quality"),
    "top1": Metric("more", "", "quality"),
    "score_under_load": Metric("more", "", "quality"),
    "perplexity_under_load": Metric("less", "", "quality"),
}
"""Of a suite, and some of them of its categories and tasks. `difference`, `retained` and those
that follow are against the baseline."""
METRICS: Final[dict[str, Metric]] = {**DISTRIBUTIONS, **WHOLE_CELL, **SERVER, **QUALITY}


def canonical(name: str) -> str:
    """Return the one spelling of a metric that may be spelled `sequence_tps_p50`.

    A name that stands for nothing comes back as it is.
    """
    stem, _, statistic = name.rpartition("_")
    if statistic == "9" and stem.endswith("_p99"):
        stem, statistic = stem.removesuffix("_p99"), "p99_9"
    other = spelled(stem, statistic) if stem in (*LATENCIES, *SPEEDS) else name
    return other if name not in METRICS and other in METRICS else name
