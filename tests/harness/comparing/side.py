"""Two builds of one load run with numbers of our choice, held side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from harness.comparing.sidebyside import side_by_side
from harness.measuring.compared_stats import OutputsCompared
from harness.measuring.measurement import Outputs, Stat, measurements
from harness.measuring.prefill_stats import Prefill, PrefillLine, PrefillStep
from harness.rundir import RunFolder
from tests.harness.comparing.made import cell, info, server

if TYPE_CHECKING:
    from pathlib import Path

    from harness.comparing.rows import SideBySide
    from harness.measuring.measurement import CellMeasurement

STEPS = (16, 256, 1500)
NOISE = {"fp16": (0.01, -0.01, 0.01, -0.01), "awq": (-0.02, 0.01, 0.02, -0.01)}
"""Of the logarithms, by repeat; none on average over all four."""


def prefill(slow: float) -> Prefill:
    """TTFT = 10 ms + 40 ms a thousand tokens, `slow` times as long."""
    times = {n: slow * (10 + 40 * n / 1000) for n in STEPS}
    return Prefill(
        length_source="server",
        steps=[
            PrefillStep(
                low=n, high=n, tokens=n, n=28, ttft_p50_ms=ms, ttft_p50_ci95=(0.97 * ms, 1.03 * ms)
            )
            for n, ms in times.items()
        ],
        line=PrefillLine(
            fixed_ms=10 * slow, fixed_ci95=(9 * slow, 11 * slow), per_1000_ms=40 * slow,
            per_1000_ci95=(38 * slow, 42 * slow), off=0.02,
        ),
    )  # fmt: skip


def compared(**changes: Any) -> Outputs:  # noqa: ANN401 - fields
    told = OutputsCompared(
        **{
            "baseline": "fp16", "pairs": 84, "length_ratio": 1.0, "shorter": 0, "longer": 0,
            "p_shorter": 1.0, "compared_texts": 84, "identical": 70, "prompts": "same",
            "prompt_tokens": {"0": 84},
        } | changes
    )  # fmt: skip
    return Outputs(
        finish_reasons={"length": 84}, tokens=Stat(), planned_tokens=0, empty=0, one_token=0,
        compared_texts=84, repeating=0, hashed=84, identical=0, compared=told,
    )  # fmt: skip


def held(
    folder: Path,
    slow: dict[float, float],
    *,
    repeats: int = 4,
    outputs: Outputs | None = None,
    awq: dict[str, Any] | None = None,
    **manifest: Any,  # noqa: ANN401 - of a run
) -> SideBySide:
    """Hold awq, so many times as slow as fp16 at each level, against it.

    `awq` are fields of its cells, `outputs` what is known of its answers.
    """
    cells: list[CellMeasurement] = []
    for build in ("fp16", "awq"):
        for level, times in slow.items():
            for repeat in range(1, repeats + 1):
                noise = NOISE[build][repeat - 1]
                pace = math.exp(noise) * (times if build == "awq" else 1.0)
                more: dict[str, Any] = {"prefill": prefill(pace)} if level == 1 else {}
                more |= {"engine": "llama.cpp", **(awq or {})} if build == "awq" else {}
                told = (outputs or compared()) if build == "awq" else None
                cells.append(cell(build, level, repeat, pace, outputs=told, **more))
    run = RunFolder.create(folder, "x")
    run.write_manifest(
        {
            "side_by_side": {"baseline": "fp16"},
            "request": {"profile": "batch1", "dialect": "openai-completions"},
            "servers": {
                "fp16": server(),
                "awq": server() | {"engine": "llama.cpp", "engine_version": "b1"},
            },
            "visits": [
                {
                    "build": build,
                    "visit": n,
                    **server(),
                    "ready_s": 20.0 + n,
                    "first_token_s": 22.0 + n,
                }
                for build in ("fp16", "awq")
                for n in range(1, repeats + 1)
            ],
        }
        | manifest
    )
    found = side_by_side(run, measurements(info("x"), cells, len(cells), []))
    assert found is not None
    return found
