"""Run folders with numbers of our choice, written as `harness load` writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.measuring.measurement import Caveat, CellMeasurement, RunInfo, Stat, measurements
from harness.rundir import RunFolder
from tests.harness.cells import answer, measured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOST: dict[str, Any] = {
    "cpu": "AMD EPYC 7763 64-Core Processor",
    "cores": 2,
    "cores_usable": 2,
    "cpu_limit": None,
    "kernel": "6.1",
    "machine": "x86_64",
    "python": "3.11.2",
    "cpu_flags": ["avx2"],
    "memory_gib": 16.0,
    "memory_limit_gib": None,
    "gpus": [],
}
_CELL: list[CellMeasurement] = []


def a_cell(
    build: str = "awq",
    *,
    ttft_p50_ms: float = 50.0,
    valid: bool = True,
    concurrency: int = 8,
    **changes: Any,  # noqa: ANN401 - a cell's fields
) -> CellMeasurement:
    """A measured cell in which the median TTFT is as wished."""
    if not _CELL:
        samples = [answer(n, 0.1 * n) for n in range(40)]
        _CELL.append(measured(samples, 5.0, streams=8))
    base = _CELL[0]
    ttft = Stat(mean=ttft_p50_ms, p50=ttft_p50_ms, n=40, ci95={"p50": (40.0, 60.0)})
    return msgspec.structs.replace(
        base,
        **{
            "id": f"{build}-closed-c{concurrency}-1",
            "build": build,
            "engine": "vllm",
            "engine_version": "0.32.0",
            "model": f"demo-{build}",
            "profile": "closed",
            "level": {"concurrency": float(concurrency)},
            "metrics": msgspec.structs.replace(base.metrics, ttft_ms=ttft),
            "client": msgspec.structs.replace(base.client, valid=valid),
            **changes,
        },
    )


def load_run(
    path: Path,
    cells: Sequence[CellMeasurement],
    *,
    started: str = "2026-11-25T00:00:00+00:00",
    caveats: Sequence[Caveat] = (),
    **manifest: Any,  # noqa: ANN401 - parts of a manifest
) -> RunFolder:
    """Write a run's manifest and numbers."""
    path.mkdir(parents=True)
    info = RunInfo(
        id=path.name,
        path=str(path),
        started=started,
        command="harness load --server awq --profile closed",
        seed=0,
        harness_version="0",
    )
    run = RunFolder(path)
    run.write_manifest(
        {
            "run": info,
            "request": {"dialect": "openai-completions", "no_stream": False},
            "host": HOST,
            "git": {"commit": "c0ffee", "dirty": False},
            "profile": {"name": "closed", "levels": [8], "prompt_tokens": 64},
            "servers": {cell.build: {"engine": "vllm", "ready_s": 24.5} for cell in cells},
            **manifest,
        }
    )
    run.write_measurements(measurements(info, list(cells), len(cells), list(caveats)))
    return run
