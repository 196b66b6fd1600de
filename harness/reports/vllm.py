"""The result file of `vllm bench serve --save-result --save-detailed`, for scripts that read it.

One JSON object a cell. Several cells are one object a line, as its `--append-result` writes them;
`--out FOLDER` gives each cell a file of its own. Keys and units as in vLLM 0.32.0
(vllm/benchmarks/serve.py: `main_async`, `benchmark`): times in seconds in lists, in ms in
statistics. What these samples cannot tell is said in docs/explain.md.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from harness.explaining import vllm as like
from harness.explaining.explain import cells_of
from harness.measuring.remeasure import numbers_of
from harness.measuring.request import NS_PER_S
from harness.reports.words import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.explaining.requests import Cell
    from harness.measuring.samples import Floats, Ints
    from harness.reports import Report
    from harness.rundir import RunFolder

PERCENTILES: Final = (50, 90, 95, 99)
"""As if `--metric-percentiles 50,90,95,99` had been given; its default is 99 alone."""
_BACKENDS: Final = {"openai-completions": "openai", "openai-chat": "openai-chat"}


class Vllm:
    """vLLM's flat file."""

    suffix = ".vllm.json"

    def render(self, run: RunFolder) -> str:
        """Return all cells, one JSON object a line."""
        return "".join(f"{text}\n" for _, text in self.files(run))

    def files(self, run: RunFolder) -> Iterator[tuple[str, str]]:
        """Yield the name and the text of one file a cell."""
        manifest = run.read_manifest()
        info = numbers_of(run).run
        when = dt.datetime.fromisoformat(info.started).strftime("%Y%m%d-%H%M%S")
        for cell in cells_of(run):
            told = {"date": when, **_setup(cell, manifest), "harness_run": info.id, **result(cell)}
            yield f"{info.id}-{cell.measurement.id}.json", msgspec.json.encode(told).decode()


def _setup(cell: Cell, manifest: Mapping[str, object]) -> dict[str, Any]:
    """What it puts before the numbers; `--metadata` stands among it, as there."""
    request, found = table(manifest, "request"), cell.measurement
    arrival = (cell.plan.arrival if cell.plan else None) or {}
    dialect = cell.plan.dialect if cell.plan else ""
    backend = _BACKENDS.get(dialect, dialect)
    tokenizer = request.get("tokenizer")
    shape = {"poisson": 1.0, "constant": "inf", "gamma": arrival.get("burstiness")}
    concurrency = found.level.get("concurrency")
    return {
        "endpoint_type": backend,
        "backend": backend,
        "label": found.build,
        "model_id": found.model,
        "tokenizer_id": None if tokenizer is None else str(tokenizer),
        "num_prompts": len(cell.measured),
        **table(request, "metadata"),
        "harness_cell": found.id,
        "harness_profile": found.profile,
        "request_rate": found.level.get("rate", "inf"),
        "burstiness": shape.get(str(arrival.get("kind"))) if arrival else 1.0,
        "max_concurrency": None if concurrency is None else int(concurrency),
    }


def result(cell: Cell) -> dict[str, Any]:
    """What its `benchmark` returns, with `--percentile-metrics ttft,tpot,itl,e2el`."""
    whole = cell.measured
    row = np.flatnonzero(
        whole.is_in("error", {None}) & whole.has("first_ns") & whole.has("last_ns")
    )
    ttft, latency = cell.ms("submitted", "first"), cell.ms("submitted", "end")
    several = cell.tokens > 1
    tpot = (latency - ttft)[several] / (cell.tokens[several] - 1)
    duration = cell.duration_s
    output, prompt = int(cell.tokens.sum()), int(cell.prompt_tokens.sum())
    good = like.goodput(cell)
    taken_up = np.where(whole.has("submitted_ns"), whole.column("submitted_ns"), 0)
    waited = np.where(taken_up > 0, taken_up - whole.column("due_ns"), 0)
    found: dict[str, Any] = {
        "duration": duration,
        "completed": len(cell.answered),
        "failed": len(whole) - len(cell.answered),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "request_throughput": _rate(len(cell.answered), duration),
        "request_goodput": None if good is None else _rate(good, duration),
        "output_throughput": _rate(output, duration),
        "total_token_throughput": _rate(output + prompt, duration),
        "input_lens": _input_lengths(cell),
        "output_lens": _spread(len(whole), row, cell.tokens).astype(int).tolist(),
        "ttfts": _spread(len(whole), row, ttft / 1000).tolist(),
        "itls": _gaps(cell, row),
        "latencies": _spread(len(whole), row, latency / 1000).tolist(),
        "start_times": (taken_up / NS_PER_S).tolist(),
        "queue_times": (waited / NS_PER_S).tolist(),
        "generated_texts": [""] * len(whole),
        "errors": _errors(cell),
        "max_output_tokens_per_s": like.peak_events(cell) or 0.0,
        "max_concurrent_requests": int(like.peak_requests(cell) or 0),
        "rtfx": 0.0,
    }
    metrics = {"ttft": ttft, "tpot": tpot, "itl": like.gaps_ms(cell), "e2el": latency}
    for name, values in metrics.items():
        found |= _statistics(name, values)
    return found


def _statistics(name: str, values: Floats) -> dict[str, float]:
    """Its mean, median, standard deviation and percentiles; 0 without values, as there."""
    if not values.size:
        values = np.zeros(1)
    found = {
        f"mean_{name}_ms": float(values.mean()),
        f"median_{name}_ms": float(np.median(values)),
        f"std_{name}_ms": float(values.std()),
    }
    return found | {f"p{q}_{name}_ms": float(np.percentile(values, q)) for q in PERCENTILES}


def _rate(count: float, seconds: float) -> float:
    return count / seconds if seconds else 0.0


def _spread(rows: int, where: Ints, values: Floats | Ints) -> Floats:
    """Put the answered requests' values at their rows; 0 for the others, as there."""
    found = np.zeros(rows, dtype=np.float64)
    found[where] = values
    return found


def _gaps(cell: Cell, rows: Ints) -> list[list[float]]:
    """Its ITLs of each request in seconds; none for those that failed."""
    found: list[list[float]] = [[] for _ in range(len(cell.measured))]
    gaps = (cell.answered.values("chunk_ns") / NS_PER_S).tolist()
    ends = np.cumsum(cell.answered.lengths("chunk_ns")).tolist()
    tails = (cell.ms("last", "end") / 1000).tolist()
    start = 0
    for row, end, tail in zip(rows.tolist(), ends, tails, strict=True):
        found[row] = [*gaps[start:end], tail] if tail > 0 else gaps[start:end]
        start = end
    return found


def _input_lengths(cell: Cell) -> list[int]:
    """As the server counted them, else as planned, else 0."""
    whole = cell.measured
    planned = np.array([*(cell.plan.prompt_tokens if cell.plan else []), 0], dtype=np.int64)
    body = whole.column("body")
    at = np.where((body >= 0) & (body < planned.size), body, planned.size - 1)
    counted = whole.column("prompt_tokens")
    found: list[int] = np.where(whole.has("prompt_tokens"), counted, planned[at]).tolist()
    return found


def _errors(cell: Cell) -> list[str]:
    found = [""] * len(cell.measured)
    failed = np.flatnonzero(~cell.measured.is_in("error", {None}))
    for row, sample in zip(failed.tolist(), cell.measured.take(failed), strict=True):
        found[row] = f"{sample.error}: {sample.detail}" if sample.detail else str(sample.error)
    return found


REPORT: Report = Vllm()
