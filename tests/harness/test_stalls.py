from __future__ import annotations

import pytest

from tests.harness.cells import answer, measured


def test_a_freeze_of_a_second_in_every_stream() -> None:
    gaps = [*[10] * 10, 1000, *[10] * 10]
    found = measured([answer(n, 0.001 * n, 50, gaps) for n in range(32)], 5).stalls
    assert found is not None
    assert (found.count, found.requests, found.at_once) == (32, 32, 32)
    assert found.longest_ms == pytest.approx(1000)
    assert found.frozen_share == pytest.approx(1000 / 1200)
    assert found.threshold_ms == 200
    assert found.maybe_client == 0


def test_the_threshold_is_five_usual_gaps_for_a_slow_server() -> None:
    found = measured([answer(n, n, 50, [100, 100, 100, 450, 600]) for n in range(10)], 20).stalls
    assert found is not None
    assert found.threshold_ms == 500
    assert (found.count, found.requests, found.at_once) == (10, 10, 1)
    assert found.frozen_share == pytest.approx(600 / 1350)


def test_a_stall_that_late_reads_explain_is_said_to_be_one() -> None:
    """A gap of 230 ms with 6 merged behind it: seven gaps of some 33 ms, seen in one read."""
    late = answer(0, 0, 50, [35, 35, 230, 0, 0, 0, 0, 0, 0, 35, 35])
    true = answer(1, 1, 50, [35, 35, 1230, 0, 0, 0, 0, 0, 0, 35, 35])
    cell = measured([late, true], 5)
    found = cell.stalls
    assert found is not None
    assert (found.count, found.maybe_client) == (2, 1)
    [caveat] = [one for one in cell.client.caveats if one.code == "stalls_in_doubt"]
    assert caveat.text.startswith("1 of 2 stalls")


def test_without_gaps_there_is_nothing_to_stall() -> None:
    assert measured([answer(0, 0, 50, ())], 5).stalls is None
    assert measured([], 5).stalls is None
