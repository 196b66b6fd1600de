"""Run folders that are made of runs: a comparison and a gate."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from evals.records import Answer
from harness.comparing.comparison import (
    Comparison,
    Crossover,
    Difference,
    Front,
    LevelRow,
    LimitResult,
    QualityRow,
    Recommendation,
    ServerFigures,
    Value,
)
from harness.gating.result import GateResult, RuleResult, StageResult
from harness.measuring.measurement import Caveat, RunInfo
from harness.quality.evaluate import evaluate
from harness.quality.evaluation import each
from harness.quality.record import write_evaluation
from harness.rundir import RunFolder
from tests.harness.quality.runs import MadeRun
from tests.harness.reports.conftest import SPEED, closed_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.measuring.measurement import CellMeasurement
    from harness.quality.evaluation import Evaluation

CATEGORIES = ("velocity", "exposure", "merchant", "limits")
LOST = {"gptq": 0.02, "awq": 0.01, "nf4": 0.06, "damaged": 0.25}
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    '<a href="javascript:alert(3)">x</a>\u202e\x1b[31m\u2028&amp;'
)


def info(name: str, command: str) -> RunInfo:
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


def compared(cells: Sequence[CellMeasurement], evaluations: Sequence[Evaluation]) -> Comparison:
    """A comparison with the shape of a real one; its numbers are the parts', roughly put together.

    What these numbers must be is tested where they are computed.
    """
    builds = list(dict.fromkeys(cell.build for cell in cells))
    rows = {
        (build, level): _row(
            [c for c in cells if c.build == build and c.level["concurrency"] == level]
        )
        for build in builds
        for level in sorted({cell.level["concurrency"] for cell in cells})
    }
    load = [
        msgspec.structs.replace(row, against=_against(row, rows[builds[0], level]))
        if build != builds[0]
        else row
        for (build, level), row in rows.items()
    ]
    top = max(level for _, level in rows)
    front = {
        build: {
            "quality": 1 - LOST.get(build, 0.0),
            "ttft_p95_ms": rows[build, top].metrics["ttft_p95_ms"].value,
            "aggregate_tps": rows[build, top].metrics["aggregate_tps"].value,
            "memory_peak_gib": 1.93 - 0.2 * number,
        }
        for number, build in enumerate(builds)
    }
    return Comparison(
        run=info("20261126T040000Z-compare", f"harness compare {' '.join(builds)}"),
        runs=["load", "quality"],
        baseline=builds[0],
        builds=builds,
        servers=[
            ServerFigures(
                build=build, engine="vllm", engine_version="0.32.0", model=f"models/{build}",
                kernel="CPUWNA16LinearKernel", ready_s=Value(value=23.4, ci95=(22.0, 25.1)),
                first_token_s=Value(value=24.0), weights_gib=1.2, kv_cache_gib=0.5,
                kv_cache_tokens=131_072, memory_peak_gib=Value(value=1.93), memory_kind="rss",
            )
            for build in builds
        ],
        load=load,
        quality=_quality(evaluations),
        crossovers=[
            Crossover(
                metric="itl_p95_ms", profile="closed", build=builds[-1], baseline=builds[0],
                below=builds[0], above=builds[-1], level=11.0, ci95=(9.0, 14.0),
                text=f"ITL p95: below 11 streams (9 to 14) {builds[0]} is faster, above "
                f"{builds[-1]} is.",
            )
        ],
        front=Front(
            objectives={
                "quality": "most", "ttft_p95_ms": "least", "aggregate_tps": "most",
                "memory_peak_gib": "least",
            },
            values=front,
            members=[build for build in builds if build != "nf4"],
            dominated={"nf4": "awq"} if "nf4" in builds else {},
            doubtful=["gptq"] if "gptq" in builds else [],
        ),
        recommendation=Recommendation(
            build="awq",
            verdict="PASS",
            headline="Ship awq.",
            reasons=["awq holds all limits.", "awq makes most tokens per second at 64 streams."],
            limits={
                build: [
                    LimitResult(
                        limit="retained(domain) >= 0.95", verdict="FAIL" if build == "nf4" else
                        "PASS", value=1 - LOST.get(build, 0.0), ci95=(0.9, 1.0), text="retained",
                    )
                ]
                for build in builds
            },
            unknown=["Whether gptq differs from awq: about 2,400 items would settle it."],
        ),
        valid=True,
        caveats=[Caveat("one_machine", "All builds ran on one machine, one after the other.")],
    )  # fmt: skip


def _row(cells: Sequence[CellMeasurement]) -> LevelRow:
    first = cells[0]
    return LevelRow(
        build=first.build,
        profile=first.profile,
        level=first.level,
        repeats=len(cells),
        valid=True,
        metrics={
            "ttft_p50_ms": _value([cell.metrics.ttft_ms.p50 for cell in cells]),
            "ttft_p95_ms": _value([cell.metrics.ttft_ms.p95 for cell in cells]),
            "itl_p95_ms": _value([cell.metrics.itl_ms.p95 for cell in cells]),
            "e2e_p95_ms": _value([cell.metrics.e2e_ms.p95 for cell in cells]),
            "aggregate_tps": _value([cell.metrics.aggregate_tps for cell in cells]),
            "error_rate": _value([0.0 for _ in cells]),
        },
    )


def _value(values: Sequence[float | None]) -> Value:
    there = [value for value in values if value is not None]
    if not there:
        return Value(value=None)
    middle = median(there)
    return Value(value=middle, ci95=(0.93 * middle, 1.08 * middle), repeats=list(values))


def _against(row: LevelRow, baseline: LevelRow) -> dict[str, Difference]:
    found = {}
    for name, value in row.metrics.items():
        theirs = baseline.metrics[name].value
        if value.value is None or not theirs:
            continue
        ratio = value.value / theirs
        faster = (ratio > 1) == name.endswith("tps")
        found[name] = Difference(
            difference=value.value - theirs,
            ratio=ratio,
            ratio_ci95=(ratio - 0.06, ratio + 0.06),
            side="unlike" if abs(ratio - 1) < 0.06 else "better" if faster else "worse",
        )
    return found


def _quality(evaluations: Sequence[Evaluation]) -> list[QualityRow]:
    rows = []
    for one in evaluations:
        for suite in one.suites:
            against = suite.baseline
            fields: dict[str, Any] = {} if against is None else {
                "difference": against.difference, "difference_ci95": against.difference_ci95,
                "verdict": against.verdict, "regressed": against.regressed,
            }  # fmt: skip
            if against is not None and against.perplexity is not None:
                fields["perplexity_ratio"] = against.perplexity.ratio
                fields["perplexity_ratio_ci95"] = against.perplexity.ci95
            rows.append(
                QualityRow(
                    build=one.server.build, suite=suite.suite, kind=suite.kind, metric=suite.metric,
                    score=suite.score, ci95=suite.ci95, items=suite.items, **fields,
                )
            )  # fmt: skip
    return rows


def composite(path: Path, kind: str, name: str, command: str) -> RunFolder:
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
    load = RunFolder(run.path / "load")
    quality = quality_run(run.path / "quality", builds, items=items, prompt=prompt, evil=evil)
    from harness.quality.record import read_evaluation

    found = compared(load.read_measurements().cells, each(read_evaluation(quality)))
    run.write_json("comparison.json", found)
    return run


def gate_run(parent: Path, *, evil: str = "") -> RunFolder:
    """A gate that fails by a category."""
    run = composite(parent / "gate", "gate", "gate", "harness gate damaged --baseline fp16")
    quality_run(run.path / "quality", ("fp16", "damaged"), evil=evil)
    run.write_json(
        "gate.json",
        GateResult(
            run=info("20261126T040000Z-gate", "harness gate damaged --baseline fp16"),
            candidate=f"damaged{evil}",
            baseline="fp16",
            rules_file="default",
            verdict="FAIL",
            rules=[
                RuleResult(
                    rule="perplexity_delta <= 5%", stage="perplexity", verdict="PASS", value=0.013,
                    ci95=(-0.004, 0.03), limit=0.05, text="perplexity rose by 1.3 %",
                ),
                RuleResult(
                    rule="retained(domain) >= 0.95", stage="domain", verdict="FAIL", value=0.72,
                    ci95=(0.68, 0.77), limit=0.95,
                    text=f"72 % retained; velocity{evil} lost most, 31 points",
                ),
                RuleResult(
                    rule="memory_peak_gib <= 4", stage="load", verdict="INCONCLUSIVE", limit=4.0,
                    text="not measured", settle="run the stage load",
                ),
            ],
            stages=[
                StageResult(stage="perplexity", verdict="PASS", elapsed_s=12.5, budget_s=120),
                StageResult(stage="domain", verdict="FAIL", elapsed_s=40, budget_s=240),
                StageResult(stage="load", verdict="SKIPPED", elapsed_s=0, text="domain failed"),
            ],
            elapsed_s=52.5,
            budget_s=1200,
            runs=["quality"],
        ),
    )  # fmt: skip
    return run
