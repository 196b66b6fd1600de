"""The whole of measurements.json of a load run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import verdicts
from answers import compared, endpoints, outputs, prompts, sessions
from arrivals import arrivals
from beside import side_by_side
from bursts import bursts, stalls
from client import client, merges
from lengths import mixture, prefill
from rates import (
    asked,
    backlog,
    in_flight,
    metrics,
    offered,
    requests,
    throughput,
    tokens_of,
    tokens_per_chunk,
    with_failures,
)
from reading import Cell
from server import reconciliation, use
from slo import limits
from steady import steady
from sweep import sweeps

if TYPE_CHECKING:
    from pathlib import Path

    from reading import Record
    from slo import Limits

FACTS = (
    "id", "build", "engine", "engine_version", "model", "profile", "repeat", "level", "weights",
    "lengths", "interleaved_with",
)  # fmt: skip


def recomputed(folder: Path) -> Record:
    manifest = json.loads((folder / "manifest.json").read_text())
    slo = limits(manifest["request"].get("slo"))
    cells = {one["id"]: Cell(folder / "cells" / one["id"]) for one in manifest["cells"]}
    found = [
        measure(cells[one["id"]], slo, cells.get(one.get("baseline"))) for one in manifest["cells"]
    ]
    caveats = [caveat("repeats_differ")] if verdicts.repeats_differ(found) else []
    plan = manifest.get("sweep")
    return {
        "schema": 1,
        "run": manifest["run"],
        "cells": found,
        "valid": all(one["client"]["valid"] for one in found),
        "caveats": caveats,
        "sweeps": sweeps(plan, found) if plan else [],
        "side_by_side": side_by_side(manifest, found) if manifest.get("side_by_side") else None,
    }


def measure(cell: Cell, slo: Limits, baseline: Cell | None) -> Record:
    growth, stable = backlog(cell)
    mean_in_flight, peak = in_flight(cell)
    counted = [one["prompt_tokens"] for one in cell.answered]
    merged, level = merges(cell.answered), steady(cell, stable=stable)
    numbers = metrics(cell, slo, stable=stable)
    by_server = all(one["token_source"] == "server" for one in cell.answered)
    found = {name: cell.facts[name] for name in FACTS} | {
        "requests": requests(cell),
        "offered_rate": cell.per_second(offered(cell)),
        "achieved_rate": cell.per_second(cell.within(one["sent_ns"] for one in asked(cell))),
        "in_flight_mean": mean_in_flight,
        "in_flight_peak": peak,
        "backlog_growth_rps": growth,
        "stable": stable,
        "window_s": cell.window_s,
        "prompt_tokens": sum(counted) if counted and None not in counted else None,
        "output_tokens": sum(map(tokens_of, cell.answered)),
        "token_source": "server" if by_server else "chunks",
        "tokens_per_chunk": tokens_per_chunk(cell),
        "metrics": numbers,
        "metrics_with_failures": with_failures(cell, stable=stable),
        "client": client(cell, mean_in_flight, merged),
        "server": use(cell, numbers["aggregate_tps"]),
        "bursts": bursts(cell, stable=stable),
        "mixture": mixture(cell, stable=stable),
        "prefill": prefill(cell),
        "stalls": stalls(cell.answered, merged.usual_ns),
        "steady": level,
        "outputs": outputs(cell),
        "prompts": prompts(cell),
        "arrivals": arrivals(cell),
        "sessions": sessions(cell, stable=stable),
        "endpoints": endpoints(cell, stable=stable),
        "reconciliation": reconciliation(cell),
        "throughput": throughput(cell, level, stable=stable),
    }
    if baseline is not None:
        found["outputs"]["compared"] = compared(cell, baseline)
    told = verdicts.verdicts(cell, found, merged)
    found["client"]["valid"] = not any(invalid for _, invalid in told)
    found["client"]["caveats"] = [caveat(*one) for one in told]
    return found


def caveat(code: str, invalidates: bool = False) -> Record:  # noqa: FBT001, FBT002 - a pair
    return {"code": code, "invalidates": invalidates}
