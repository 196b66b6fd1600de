"""Copies of recorded runs whose files were changed: more of what a cell can hold is there."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Sample = dict[str, Any]
Change = Callable[[list[Sample], dict[str, Any]], None]


def alter(cell: Path, change: Change) -> None:
    """Change the samples of a cell, in the order in which they were due."""
    path = cell / "samples.jsonl"
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    samples.sort(key=lambda one: one["due_ns"])
    change(samples, json.loads((cell / "drive.json").read_text()))
    path.write_text("".join(json.dumps(one) + "\n" for one in samples))


def shift(sample: Sample, ns: int, names: tuple[str, ...]) -> None:
    for name in names:
        if sample[f"{name}_ns"] is not None:
            sample[f"{name}_ns"] += ns


def later(sample: Sample, ns: int) -> None:
    """All of an answer comes so much later."""
    shift(sample, ns, ("first", "first_answer", "last", "end", "done"))


def slow_begin(samples: list[Sample], drive: dict[str, Any]) -> None:
    """The first quarter of the window waits longer."""
    start, end = drive["window_start_ns"], drive["window_end_ns"]
    for place, one in enumerate(samples):
        if start <= one["due_ns"] < start + (end - start) // 4:
            later(one, 300_000_000 + place * 1000)


def drift(samples: list[Sample], drive: dict[str, Any]) -> None:
    """Gaps grow by a half over the window."""
    start, end = drive["window_start_ns"], drive["window_end_ns"]
    for one in samples:
        factor = 1 + 0.5 * (one["due_ns"] - start) / (end - start)
        gaps = [round(gap * factor) for gap in one["chunk_ns"]]
        more = sum(gaps) - sum(one["chunk_ns"])
        one["chunk_ns"] = gaps
        shift(one, more, ("last", "end", "done"))


def stalls(samples: list[Sample], _: dict[str, Any]) -> None:
    """Some answers stand still; behind some of the gaps chunks come together."""
    for place, one in enumerate(samples):
        if place % 7 == 0 and len(one["chunk_ns"]) > 3:
            at = place % 3
            one["chunk_ns"][at] += 260_000_000 + place * 10_000
            if place % 2:
                one["chunk_ns"][at + 1] = 0
                one["lag_us"][at + 2] = one["lag_us"][at + 1]
            more = one["first_ns"] + sum(one["chunk_ns"]) - one["last_ns"]
            shift(one, more, ("last", "end", "done"))
        if place % 11 == 0:
            one["retried"] = True
        if place % 5 == 0:
            one["connect_ns"] = 2_000_000


def uncounted(samples: list[Sample], _: dict[str, Any]) -> None:
    """The server counted few prompts, some answers are by chunks, with user stamps, or silent."""
    for place, one in enumerate(samples):
        one["prompt_tokens"] = None if place % 3 else one["prompt_tokens"]
        if place % 4 == 0 and one["error"] is None:
            one["token_source"] = "chunks"
            one["output_tokens"] = len(one["chunk_ns"]) + 1
        elif one["output_tokens"]:
            one["silent_chunks"] = 2
            one["output_tokens"] += 3 if place % 13 else 9_000
            one["end_ns"] += 5_000_000
        one["clock"] = "user" if place % 6 == 0 else one["clock"]
        one["output_hash"] = "00000000000000ff" if place % 9 == 0 else one["output_hash"]
        one["compression"] = 2.5 if place % 10 == 0 else 1.2


def quick_server(samples: list[Sample], _: dict[str, Any]) -> None:
    """No request waits long: bursts are over at once, and there is much to compare."""
    for place, one in enumerate(samples):
        if one["first_ns"] is not None:
            wait = 5_000_000 + int(3_000_000 * math.sin(place))
            later(one, one["sent_ns"] + wait - one["first_ns"])


def given_up(samples: list[Sample], _: dict[str, Any]) -> None:
    """The client gave up some answers, with more or fewer tokens left, that the server ended."""
    for place, one in enumerate(samples):
        if one["error"] is None and place % 9 == 0 and len(one["chunk_ns"]) > 2:
            for name in ("chunk_ns", "lag_us"):
                del one[name][-(place % 4) or len(one[name]) :]
            one |= {"error": "aborted", "prompt_tokens": None, "output_tokens": None}


def gpus(cell: Path) -> None:
    """Two cards hold the server, a third does not; the page tells no requests that ended."""
    path = cell / "telemetry.jsonl"
    readings = [json.loads(line) for line in path.read_text().splitlines()]
    for place, one in enumerate(readings):
        card = {"memory_used_bytes": 3 << 30, "memory_total_bytes": 24 << 30, "utilization": 0.5}
        one["gpus"] = [
            card
            | {"index": 0, "uuid": "a", "memory_server_bytes": (2 << 30) + place}
            | {"power_w": 100.0 + place % 5, "energy_j": 1000.0 + 51.5 * place},
            card
            | {"index": 1, "uuid": "b", "memory_server_bytes": 1 << 30, "power_w": 80.0 - place},
            card | {"index": 2, "uuid": "c", "memory_server_bytes": 0, "power_w": 30.0},
        ]
        page = one.get("engine")
        if page is not None:
            page |= {"preemptions": float(place // 3), "kv_cache_use": 0.96, "kv_cache_tokens": 4e4}
            page.pop("finished", None)
    path.write_text("".join(json.dumps(one) + "\n" for one in readings))


SAMPLES: dict[str, tuple[str, tuple[Change, ...]]] = {
    "late begin": ("recomputed/lengths", (slow_begin,)),
    "drift": ("recomputed/lengths", (drift,)),
    "given up": ("recomputed/lengths", (given_up,)),
    "stalls": ("recomputed/sessions", (stalls,)),
    "no counts": ("recomputed/bursts", (uncounted, quick_server)),
}
"""Runs whose cells are changed, in turn by each of these."""


def clusters(answers: Path) -> None:
    """Items share templates of unlike size; builds err where they did not, or say nothing."""
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    ours = answers.parent.name == "slow"
    for one in found:
        number = int(one["item"][1:])
        one["cluster"] = f"template {min(number, number * number % 11)}"
        if number % 4 == 1 if ours else number % 11 == 3:
            one["score"] = 0.0
        if ours and number % 13 == 5:
            one |= {"outcome": "unparsed", "score": 0.0}
    answers.write_text("".join(json.dumps(one) + "\n" for one in found))


def changed(fixtures: Path, folder: Path) -> list[Path]:
    """Write copies of recorded runs, changed, into a folder."""
    runs = []
    for name, (source, changes) in SAMPLES.items():
        run = shutil.copytree(fixtures / source, folder / name)
        for place, cell in enumerate(sorted(run.glob("cells/*"))):
            alter(cell, changes[place % len(changes)])
            if name == "drift":
                gpus(cell)
        runs.append(run)
    run = shutil.copytree(fixtures / "runs/schema-1-gate/quality-candidate", folder / "clusters")
    for path in run.glob("evals/*/*/answers.jsonl"):
        clusters(path)
    return [*runs, run]
