"""The made-up runs of the history's benchmark are runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import history as benchmark

from harness.history.select import Selection, read_history

if TYPE_CHECKING:
    from pathlib import Path


def test_made_up_runs_are_read_and_the_slower_build_is_found(tmp_path: Path) -> None:
    benchmark.make_runs(tmp_path, 30)
    found = read_history(tmp_path, Selection(metrics=("ttft_p50_ms",)))
    assert len(found.runs) == 30
    assert not found.skipped
    changed = [one.build for one in found.series if one.changes]
    assert len(found.series) == len(benchmark.BUILDS) * len(benchmark.LEVELS)
    assert changed == ["awq"] * len(benchmark.LEVELS)
    assert {change.side for one in found.series for change in one.changes} == {"worse"}


def test_rates_are_of_the_series_drawn() -> None:
    lines = list(benchmark.found_steps(4))
    assert len(lines) == len(benchmark.STEPS)
    assert all(
        line.split(" %")[0].strip() in {"0.0", "25.0", "50.0", "75.0", "100.0"} for line in lines
    )
