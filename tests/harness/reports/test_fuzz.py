"""Every format renders whatever numbers a run may have."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from harness.measuring.measurement import CellMeasurement, Stat
from harness.reports import NAMES, cells, load_report
from harness.rundir import RunFolder
from tests.harness.reports.page.reading import Page

if TYPE_CHECKING:
    from pathlib import Path

    from loadprofiles.records import Sample

MS = 1_000_000
VALUES = (None, 0.0, -2.5, 1e-6, 0.04, 7.0, 3e5)
COUNTS = (0, 1, 20, 2000)


def a_stat(rng: np.random.Generator) -> Stat:
    names = ("mean", "p50", "p90", "p95", "p99", "p99_9", "max")
    values = {name: VALUES[rng.integers(len(VALUES))] for name in names}
    spread = {"p50": (-1.0, 8.0), "p95": (0.0, 0.0)} if rng.random() < 0.5 else {}
    n, infinite = COUNTS[rng.integers(len(COUNTS))], int(rng.integers(2))
    return Stat(**values, n=n, n_infinite=infinite, ci95=spread)


def with_stats(cell: CellMeasurement, rng: np.random.Generator) -> CellMeasurement:
    """The cell with other statistics, some of them impossible."""
    names = [name for name, value in msgspec.structs.asdict(cell.metrics).items()
             if isinstance(value, Stat)]  # fmt: skip
    changes = {name: a_stat(rng) for name in names if rng.random() < 0.8}
    return msgspec.structs.replace(
        cell,
        metrics=msgspec.structs.replace(
            cell.metrics, **changes, aggregate_tps=float(rng.choice([0, 1e-9, 500]))
        ),
        metrics_with_failures={name: a_stat(rng) for name in ("ttft_due_ms", "e2e_ms")},
        window_s=float(rng.choice([0, 0.5, 30])),
    )


def a_sample(sample: Sample, rng: np.random.Generator) -> Sample:
    first = sample.due_ns + int(rng.choice([-MS, 0, 1, 9 * MS, 900_000 * MS]))
    gaps = [int(gap) for gap in rng.choice([-5, 0, 0, 0, 1, 4 * MS], size=rng.integers(4))]
    return msgspec.structs.replace(
        sample,
        sent_ns=sample.due_ns if rng.random() < 0.8 else None,
        first_ns=first if rng.random() < 0.8 else None,
        last_ns=first + sum(gaps),
        done_ns=first + sum(gaps) if rng.random() < 0.8 else None,
        chunk_ns=gaps,
        output_tokens=[None, 0, 1, 70][rng.integers(4)],
        error="timeout" if rng.random() < 0.2 else None,
    )


@pytest.mark.parametrize("kind", ["bursty", "one-build", "one-level"])
@pytest.mark.parametrize("seed", range(8))
def test_every_format_renders(
    runs: dict[str, RunFolder], tmp_path: Path, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    run = RunFolder(tmp_path / "run")
    shutil.copytree(runs[kind].path, run.path)
    before = run.read_measurements()
    for cell in before.cells:
        found = cells.read_cell(run, cell.id).samples
        kept = [found[i] for i in rng.integers(len(found), size=rng.choice([0, 1, 2, 30]))]
        lines = b"".join(msgspec.json.encode(a_sample(one, rng)) + b"\n" for one in kept)
        (run.path / "cells" / cell.id / "samples.jsonl").write_bytes(lines)
    run.write_measurements(
        msgspec.structs.replace(
            before,
            cells=[with_stats(cell, rng) for cell in before.cells],
            valid=bool(rng.integers(2)),
        )
    )
    for name in NAMES:
        text = load_report(name).render(run)
        assert text
        if name == "html":
            assert Page(text).tags("svg")
            assert "nan" not in "".join(re.findall(r' d="[^"]*"', text))
