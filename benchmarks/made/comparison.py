"""Comparisons that nobody measured: of builds at levels, and of their answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from benchmarks.made.evaluation import MadeRun
from benchmarks.made.load import SPEED, closed_run
from evals.records import Answer
from harness.comparing.compare import compare
from harness.comparing.record import write_comparison
from harness.evidence.evidence import read_evidence
from harness.measuring.measurement import RunInfo
from harness.quality.evaluate import evaluate
from harness.quality.record import write_evaluation
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LIMITS = "itl_p95_ms@c8<=5, retained(domain)>=0.95"
CATEGORIES = ("velocity", "exposure", "merchant", "limits")
LOST = {"gptq": 0.02, "awq": 0.01, "nf4": 0.06, "damaged": 0.25}


def info(name: str, command: str) -> RunInfo:
    """Which run it says it is."""
    return RunInfo(
        id=name,
        path=name,
        started="2026-11-26T04:00:00+00:00",
        command=command,
        seed=7,
        harness_version="0.1.0",
    )


def graded(
    build: str, items: int, *, prompt: str = "", evil: str = "", near: float = 0.3
) -> list[Answer]:
    """Answers to questions of four categories with the log-likelihoods of two choices."""
    rng = np.random.default_rng(5)
    margins = rng.exponential(1.0, items)
    turned = np.random.default_rng(len(build)).random(items) < LOST.get(build, 0.0)
    found = []
    for number, (margin, flip) in enumerate(zip(margins.tolist(), turned.tolist(), strict=True)):
        knows = (number * 7919) % 100 < 90
        right = knows != flip
        gap = margin * near if flip else margin
        found.append(
            Answer(
                item=f"item-{number:05}",
                category=f"{CATEGORIES[number % 4]}{evil}",
                prompt_hash=f"{number:016x}",
                route="label",
                score=float(right),
                prompt=f"{prompt}Card {number} was used {3 + number % 9} times in {number % 60} "
                f"minutes. Is this a velocity alert? {evil}",
                expected=f"yes{evil}",
                text=f"{'yes' if right else 'no'}{evil}",
                choice=0 if right else 1,
                loglikelihoods=[-0.2, -0.2 - gap] if knows else [-0.2 - gap, -0.2],
                finish_reason="stop",
                output_tokens=1,
                latency_ms=12.0,
            )
        )
    return found


def quality_run(
    path: Path, builds: Sequence[str], *, items: int = 400, prompt: str = "", evil: str = ""
) -> RunFolder:
    """An evaluation of builds against the first, by a domain suite and a perplexity."""
    baseline, *others = builds
    run = MadeRun(path, builds=list(others), baseline=baseline, suites=["domain", "text"])
    for build in builds:
        run.add(build, graded(build, items, prompt=prompt, evil=evil), route="label")
        rise = LOST.get(build, 0.0) / 2
        windows = [
            Answer(
                item=f"w{number:03}",
                metric="perplexity",
                weight=100.0,
                score=230 + number % 17 + 100 * math.log1p(rise),
                category="prose" if number % 2 else "code",
            )
            for number in range(60)
        ]
        run.add(build, windows, suite="text", route="echo")
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    return folder


def composite(path: Path, kind: str, name: str, command: str) -> RunFolder:
    """A folder that is to hold a load run and an evaluation."""
    run = RunFolder(path)
    run.path.mkdir(parents=True, exist_ok=True)
    run.write_manifest(
        {
            "kind": kind,
            "run": msgspec.to_builtins(info(name, command)),
            "parts": ["load", "quality"],
            "host": {"cpu": "AMD EPYC 9V74 80-Core Processor", "cores": 2, "memory_gib": 15.6},
        }
    )
    return run


def comparison_run(
    parent: Path,
    *,
    builds: tuple[str, ...] = tuple(SPEED),
    levels: tuple[int, ...] = (1, 8, 32, 64),
    repeats: int = 2,
    window_s: float = 2,
    items: int = 400,
    prompt: str = "",
    evil: str = "",
) -> RunFolder:
    """A comparison of builds, the first of them the baseline."""
    run = composite(parent / "compare", "comparison", "compare", "harness compare")
    load = closed_run(
        parent / "made", builds=builds, levels=levels, repeats=repeats, window_s=window_s
    )
    load.path.rename(run.path / "load")
    quality_run(run.path / "quality", builds, items=items, prompt=prompt, evil=evil)

    found = compare(
        read_evidence([run]),
        baseline=builds[0],
        limits=LIMITS,
        prices={"": 2.0},
        allow_different=True,  # the parts name other engines
        run=info("20261126T040000Z-compare", f"harness compare {' '.join(builds)}"),
    )
    write_comparison(run, found)
    return run
