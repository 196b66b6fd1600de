"""Repeats of one level that differ by more than chance, and those that do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from harness.measuring.repeats import REPEATS_DIFFER, repeats_differ
from harness.measuring.sweep import Throughput
from harness.measuring.throughput import BATCHES, _mean
from tests.harness.cells import answer, measured
from tests.harness.evidence.runs import a_cell

if TYPE_CHECKING:
    from harness.measuring.measurement import CellMeasurement


def cell(repeat: int, tps: float, tps_se: float, streams: float = 8) -> CellMeasurement:
    found = Throughput(tps=tps, tps_se=tps_se, rate=1, rate_se=0.1, from_s=0, to_s=9)
    level = {"concurrency": streams}
    return msgspec.structs.replace(a_cell(), repeat=repeat, throughput=found, level=level)


def opened(seed: int, slower: float = 1.0) -> CellMeasurement:
    """A Poisson loop whose tokens take longer with more requests in flight, as in a batch."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(0.1, 300))
    found, ends = [], np.empty(0)
    for n, at in enumerate(times):
        ends = ends[ends > at]
        gap = slower * 10 * (1 + 0.05 * ends.size) * float(rng.lognormal(0, 0.05))
        ends = np.append(ends, at + 0.05 + gap * 39 / 1000)
        found.append(answer(n, float(at), 50, [gap] * 39))
    return measured(found, float(times[-1]) + 0.1)


def test_repeats_that_differ_by_more_than_their_windows_allow_are_one_caveat() -> None:
    unlike = [cell(1, 400.0, 4.0), cell(2, 440.0, 4.0), cell(3, 470.0, 4.0)]
    alike = [cell(n, tps, 4.0, streams=1) for n, tps in enumerate((90.0, 91.0, 92.0), start=1)]
    [told] = repeats_differ([*unlike, *alike])
    assert told.code == REPEATS_DIFFER
    assert told.text.startswith("awq at 8 streams: tokens/s of its repeats, 400, 440, 470, are 18%")
    assert "1 stream" not in told.text
    assert not told.invalidates
    wide = [msgspec.structs.replace(one, throughput=msgspec.structs.replace(
        one.throughput, tps_se=40.0)) for one in unlike]  # fmt: skip
    assert not repeats_differ(wide)
    assert not repeats_differ([cell(1, 400.0, 0.1), cell(2, 410.0, 0.1)]), "too little to be told"
    assert not repeats_differ(unlike[:1])


def test_invalid_repeats_are_not_looked_at() -> None:
    good, bad = cell(1, 400.0, 4.0), cell(2, 800.0, 4.0)
    client = msgspec.structs.replace(bad.client, valid=False)
    assert repeats_differ([good, bad])
    assert not repeats_differ([good, msgspec.structs.replace(bad, client=client)])


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.7])
def test_false_alarms_are_rare_where_neighbouring_parts_are_alike(alike: float) -> None:
    """At most 5 % of the levels, by three windows each of twenty parts that are AR(1)."""
    rng = np.random.default_rng(5)

    def one(repeat: int) -> CellMeasurement:
        parts = rng.normal(size=BATCHES + 50)
        for n in range(1, parts.size):
            parts[n] = alike * parts[n - 1] + parts[n] * (1 - alike**2) ** 0.5
        return cell(repeat, *_mean(400 * np.exp(0.1 * parts[50:])))

    alarms = sum(bool(repeats_differ([one(n) for n in (1, 2, 3)])) for _ in range(300))
    assert alarms <= 15


def test_the_luck_of_an_open_loops_arrivals_is_no_alarm_and_a_slower_server_is() -> None:
    cells = [opened(seed) for seed in range(12)]
    groups = [cells[n : n + 3] for n in range(0, 12, 3)]
    assert not any(map(repeats_differ, groups))
    [told] = repeats_differ([*groups[0], opened(99, slower=1.3)])
    assert "median TPOT" in told.text
