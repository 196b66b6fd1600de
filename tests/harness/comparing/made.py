"""Evidence with numbers of our choice, without a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from evals.compare.records import Flips, GroupScore, Noninferiority, Part, PerplexityRatio, Retained
from harness.evidence.evidence import Evidence, LoadRun, QualityRun
from harness.measuring.measurement import RunInfo, Stat, measurements
from harness.measuring.server_stats import ServerUse
from harness.quality.evaluation import Against, Evaluation, Evaluations, ServerInfo, SuiteResult
from harness.quality.record import BaselineFacts, EvalManifest, ServerFacts, SuiteFacts
from harness.rundir import RunFolder
from tests.harness.evidence.runs import HOST, a_cell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.measuring.measurement import CellMeasurement

LEVELS = (1, 8, 32, 64)


def info(name: str) -> RunInfo:
    """A run's head."""
    return RunInfo(
        id=name, path=f"runs/{name}", started="2026-11-25T00:00:00+00:00",
        command="harness compare fp16 awq", seed=0, harness_version="0",
    )  # fmt: skip


def stat(value: float, within: float = 0.03) -> Stat:
    """A distribution whose p50 is `value` ± a share, and whose p95 twice that."""
    spread = {
        name: (at * (1 - within), at * (1 + within))
        for name, at in (("p50", value), ("p95", 2 * value))
    }
    return Stat(mean=value, p50=value, p95=2 * value, n=200, ci95=spread)


def cell(
    build: str, level: float, repeat: int, slow: float = 1.0, *, kind: str = "concurrency",
    memory: float = 1.0, answers: int = 200, **changes: Any,  # noqa: ANN401 - a cell's fields
) -> CellMeasurement:  # fmt: skip
    """One cell; `slow` multiplies its latencies and divides its rates."""
    base = a_cell(build)
    latency = 100 * (1 + level / 16) * slow
    tps = 50 * level / (1 + level / 64) / slow
    metrics = msgspec.structs.replace(
        base.metrics,
        ttft_ms=stat(latency / 4),
        ttft_due_ms=stat(latency / 4),
        itl_ms=stat(latency / 20),
        tpot_ms=stat(latency / 20),
        e2e_ms=stat(latency),
        sequence_tps=stat(1000 / latency),
        aggregate_tps=tps,
        request_rate=tps / 20,
    )
    return msgspec.structs.replace(
        base,
        **{
            "id": f"{build}-{level:g}-{repeat}", "repeat": repeat, "level": {kind: float(level)},
            "metrics": metrics, "requests": msgspec.structs.replace(base.requests, sent=answers),
            "server": ServerUse(memory_peak_gib=memory, memory_kind="rss"),
        } | changes,
    )  # fmt: skip


def server(**reported: object) -> dict[str, Any]:
    """What a manifest says of a server."""
    return {
        "engine": "vllm", "engine_version": "0.32.0",
        "quantization": "x", "scheme": "4-bit, group 128",
        "argv": ["python", "--model", "m", "--port=1234", "--dtype=float16"],
        "environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
        "reported": {
            "max_model_len": 2048, "kv_cache_tokens": 5000, "linear_kernel": "K", **reported,
        },
        "weights": {"bytes": 1 << 29}, "ready_s": 20.0,
    }  # fmt: skip


def load(
    cells: Sequence[CellMeasurement], name: str = "load", **manifest: Any  # noqa: ANN401
) -> LoadRun:  # fmt: skip
    """A finished load run."""
    told = {
        "request": {"dialect": "openai-completions"},
        "host": HOST,
        "profile": {"name": "closed", "levels": list(LEVELS), "prompt_tokens": 64},
        "servers": {one.build: server() for one in cells},
    }
    return LoadRun(
        folder=RunFolder(Path(name)),
        manifest=told | manifest,
        measurements=measurements(info(name), list(cells), len(cells), []),
    )


def part(difference: float, reach: float = 0.01, *, margin: float = 0.02, items: int = 200) -> Part:
    """A comparison of one category."""
    low, high = difference - reach, difference + reach
    verdict = "PASS" if low > -margin else "FAIL" if high < -margin else "INCONCLUSIVE"
    return Part(
        pairs=items, clusters=items, score=0.9 + difference, baseline_score=0.9,
        difference=difference, difference_ci95=(low, high),
        retained=Retained(share=1 + difference / 0.9, ci95=(1 + low / 0.9, 1 + high / 0.9)),
        flips=Flips(lost=3, gained=1, rate=0.02),
        noninferiority=Noninferiority(
            margin=margin, verdict=verdict, p_pass=0.01, p_fail=0.9, items_needed=3500,
        ),
    )  # fmt: skip


def suite(
    difference: float | None, reach: float = 0.01, *, name: str = "domain", margin: float = 0.02,
    categories: Mapping[str, Part] | None = None, regressed: Sequence[str] = (),
) -> SuiteResult:  # fmt: skip
    """One suite of one build; None: of the baseline."""
    categories = dict(categories or {})
    against = None
    if difference is not None:
        whole = part(difference, reach, margin=margin, items=1400)
        assert whole.retained is not None
        against = Against(
            build="fp16", score=0.9, our_score=whole.score, difference=difference,
            difference_ci95=whole.difference_ci95, retained=whole.retained.share,
            retained_ci95=whole.retained.ci95, flips=whole.flips, pairs=1400, clusters=70,
            verdict=whole.noninferiority.verdict if whole.noninferiority else None,
            noninferiority=whole.noninferiority, categories=categories, regressed=list(regressed),
            worst=regressed[0] if regressed else None,
        )  # fmt: skip
    return SuiteResult(
        suite=name, kind="domain", route="generative", planned=1400, items=1400,
        score=0.9 + (difference or 0.0), ci95=(0.87, 0.93), metric="accuracy",
        categories={
            key: GroupScore(items=one.pairs, score=one.score) for key, one in categories.items()
        },
        baseline=against,
    )  # fmt: skip


def perplexity(rise: float | None, reach: float = 0.005) -> SuiteResult:
    """A perplexity of one build; None: of the baseline."""
    against = None
    if rise is not None:
        against = Against(
            build="fp16", score=2.0, our_score=2 * (1 + rise), difference=2 * rise, pairs=280,
            perplexity=PerplexityRatio(
                ratio=1 + rise, ci95=(1 + rise - reach, 1 + rise + reach), windows=280,
                clusters=70, units=1e4,
            ),
            noninferiority=Noninferiority(
                margin=0.05, verdict="PASS" if rise + reach < 0.05 else "FAIL", p_pass=0.0,
                p_fail=1.0,
            ),
            verdict="PASS" if rise + reach < 0.05 else "FAIL",
        )  # fmt: skip
    return SuiteResult(
        suite="perplexity", kind="perplexity", route="echo", planned=280, items=280,
        score=2 * (1 + (rise or 0.0)), metric="perplexity, window 256", baseline=against,
    )  # fmt: skip


def graded(
    suites: Mapping[str, Sequence[SuiteResult]], name: str = "quality", **servers: dict[str, Any]
) -> QualityRun:
    """A finished evaluation: build → suites."""
    evaluations = [
        Evaluation(
            run=info(name),
            server=ServerInfo(build=build, engine="vllm", engine_version="0.32.0", model="m"),
            probe=None, suites=list(those), valid=True, caveats=[],
        )
        for build, those in suites.items()
    ]  # fmt: skip
    names = {one.suite: one.kind for those in suites.values() for one in those}
    manifest = EvalManifest(
        run=info(name), builds=list(suites), baseline=BaselineFacts(build="fp16"),
        suites=[SuiteFacts(name=key, kind=kind) for key, kind in names.items()], passes=[],
        margin=2.0, perplexity_margin=5.0, max_fail_ratio=0.05, seed=0,
        servers={
            build: ServerFacts(
                engine="vllm", engine_version="0.32.0", model="m", identity=build,
                provenance=servers.get(build, server()),
            )
            for build in suites
        },
        host=HOST,
    )  # fmt: skip
    result = Evaluations(run=info(name), evaluations=evaluations, valid=True, caveats=[])
    return QualityRun(folder=RunFolder(Path(name)), manifest=manifest, result=result)


def evidence(*parts: LoadRun | QualityRun) -> Evidence:
    """All of it."""
    return Evidence(
        load=[one for one in parts if isinstance(one, LoadRun)],
        quality=[one for one in parts if isinstance(one, QualityRun)],
    )
