"""Cells whose server changes all through the window, and those whose server does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.measuring.drift import DRIFTED, trend
from tests.harness.cells import S, answer, measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measuring.measurement import CellMeasurement

WINDOW_S = 20.0
TOKENS = 20


def closed(pace_ms: Callable[[float], float], seed: int = 0, streams: int = 4) -> CellMeasurement:
    """Streams whose gap between tokens depends on when a request is sent, with noise."""
    rng = np.random.default_rng(seed)
    free = [float(rng.uniform(-0.3, 0)) for _ in range(streams)]
    found = []
    while (at := min(free)) < WINDOW_S:
        gap = pace_ms(at) * float(rng.lognormal(0, 0.2))
        phase = "measured" if at >= 0 else "warmup"
        gaps = [gap] * (TOKENS - 1)
        found.append(answer(len(found), at, 20, gaps, phase=phase))
        free[free.index(at)] = at + 0.02 + gap * (TOKENS - 1) / 1000
    return measured(found, WINDOW_S, streams=streams)


def codes(cell: CellMeasurement) -> list[str]:
    return [one.code for one in cell.client.caveats]


@pytest.mark.parametrize("factor", [1.3, 0.75])
def test_a_server_that_slows_down_or_speeds_up_by_and_by_is_told(factor: float) -> None:
    cell = closed(lambda at: 10 * factor ** (at / WINDOW_S))
    [told] = [one for one in cell.client.caveats if one.code == DRIFTED]
    assert ("longer" if factor > 1 else "shorter") in told.text
    assert "mirrored order" in told.text
    assert not told.invalidates


def test_a_step_in_the_middle_is_no_line_and_told_all_the_same() -> None:
    cell = closed(lambda at: 10 if at < WINDOW_S / 2 else 14)
    [told] = [one for one in cell.client.caveats if one.code == DRIFTED]
    assert told.text.startswith("There was no steady state: ")


def test_a_server_that_is_as_it_was_is_no_drift() -> None:
    """Cells of independent noise; and of waves of which a window has four."""
    assert sum(DRIFTED in codes(closed(lambda _: 10, seed)) for seed in range(30)) <= 1

    def waves(seed: int) -> CellMeasurement:
        begin = float(np.random.default_rng(seed).uniform(0, 5))
        return closed(lambda at: 10 * (1 + 0.2 * np.sin((at + begin) * 2 * np.pi / 5)), seed)

    assert sum(DRIFTED in codes(waves(seed)) for seed in range(20)) <= 1


def test_an_open_loop_begins_and_ends_with_fewer_in_flight_and_does_not_drift_by_that() -> None:
    def cell(slower: float) -> CellMeasurement:
        rng = np.random.default_rng(1)
        found = []
        for n, at in enumerate(np.arange(0, WINDOW_S, 0.05)):
            edge = 0.6 if min(at, WINDOW_S - at) < 0.5 else 1.0
            gap = 10 * edge * (1 + slower * at / WINDOW_S) * float(rng.lognormal(0, 0.1))
            found.append(answer(n, float(at), 20, [gap] * (TOKENS - 1)))
        return measured(found, WINDOW_S)

    assert DRIFTED not in codes(cell(0.0))
    assert DRIFTED in codes(cell(0.3))


def test_load_that_changes_by_plan_and_few_answers_are_not_judged() -> None:
    answers = [answer(n, n * 0.05, 20, [10 + 0.02 * n] * 19) for n in range(400)]
    assert DRIFTED in codes(measured(answers, WINDOW_S))
    assert DRIFTED not in codes(measured(answers, WINDOW_S, bursts_ns=[(S, 2 * S)]))
    assert DRIFTED not in codes(measured(answers, WINDOW_S, after=[-1] * 400)), "sessions"
    assert DRIFTED not in codes(measured(answers[::10], WINDOW_S))


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("parts", [8, 12, 20])
def test_false_alarms_are_rare_also_where_neighbours_are_alike(parts: int, alike: float) -> None:
    """At most 5 % for one series (AR(1)); two are looked at, which mostly say the same."""
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(400):
        values = rng.normal(size=parts + 50)
        for n in range(1, values.size):
            values[n] = alike * values[n - 1] + values[n] * (1 - alike**2) ** 0.5
        alarms += trend(np.exp(0.05 * values[50:])) is not None
    assert alarms <= 20


def test_a_line_is_found_with_its_size() -> None:
    rng = np.random.default_rng(3)
    values = np.exp(np.linspace(0, np.log(1.5), 20) + 0.02 * rng.normal(size=20))
    assert trend(values) == pytest.approx(0.5, abs=0.05)
    assert trend(1 / values) == pytest.approx(-1 / 3, abs=0.05)
    assert trend(np.full(20, 3.0)) is None
    assert trend(np.linspace(1, 1.04, 20)) is None, "too little to be told"
