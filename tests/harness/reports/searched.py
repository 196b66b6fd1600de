"""A search on paper, sized and predicted, with a name that would do harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.capacity.result import CAPACITY_FILE
from harness.capacity.weigh import read_capacity
from harness.rundir import RunFolder
from harness.sizing.asked import Asked
from harness.sizing.least import least
from harness.sizing.record import Demand, Terms
from tests.harness.capacity.test_run import asked, in_place, search

if TYPE_CHECKING:
    from pathlib import Path

    from harness.capacity.result import Capacity

HARMFUL = "<b>b&w"
DAY = Asked(
    demand=Demand(
        source="day.csv", peak_rate=400.0, mean_rate=200.0, window_s=3600.0, span_s=86_400.0,
        requests=17_280_000, rates=[100.0] * 8 + [400.0] * 4 + [150.0] * 12,
    ),
    terms=Terms(price_per_gpu_hour={"": 2.0}, growth_per_month=0.1, months=6),
)  # fmt: skip


def search_run(path: Path) -> RunFolder:
    """Make the run of a search at one build, of a queue of 8 slots, for a day's demand."""
    with pytest.MonkeyPatch.context() as patch:
        in_place(patch).gaps_ms = (5.0,) * 6
        search(asked("ttft_due_p95_ms<=100,error_rate<=1%", probes=8, sizing=DAY), path)
    [folder] = path.iterdir()
    return RunFolder(folder)


def of_two_builds(run: RunFolder) -> Capacity:
    """Write the search's result as if a second build, twice as fast, had been searched, too."""
    found = read_capacity(run)
    [first] = found.builds
    assert found.sizing is not None
    [sized] = found.sizing.builds
    ends = first.max_rate_ci95
    twice = msgspec.structs.replace(
        first,
        build=HARMFUL,
        max_rate=2 * (first.max_rate or 0),
        max_rate_ci95=ends and (2 * ends[0], 2 * ends[1]),
    )
    builds = [sized, msgspec.structs.replace(sized, build=HARMFUL)]
    cheapest, text = least(builds, found.sizing.terms)
    sizing = msgspec.structs.replace(found.sizing, builds=builds, cheapest=cheapest, text=text)
    both = msgspec.structs.replace(found, builds=[first, twice], sizing=sizing)
    run.write_json(CAPACITY_FILE, both)
    return both
