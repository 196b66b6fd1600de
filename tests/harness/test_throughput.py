from __future__ import annotations

import pytest

from tests.harness.cells import answer, measured
from tests.harness.test_steady import closed


def test_throughput_is_that_of_the_steady_part() -> None:
    """Eight streams of 20 tokens in 0.24 s: 667 tokens/s, once the server is warm."""
    found = measured(closed(8, 20, lambda at: 400 if at < 4 else 50), 20, streams=8).throughput
    assert found is not None
    assert found.from_s == pytest.approx(4, abs=1)
    assert found.tps == pytest.approx(8 * 20 / 0.24, rel=0.05)
    assert found.rate == pytest.approx(8 / 0.24, rel=0.05)


def test_its_error_is_what_windows_differ_by() -> None:
    found = [
        measured(closed(8, 10, lambda _: 50, seed), 10, streams=8).throughput for seed in range(12)
    ]
    rates = [one.rate for one in found if one]
    mean = sum(rates) / len(rates)
    spread = (sum((rate - mean) ** 2 for rate in rates) / (len(rates) - 1)) ** 0.5
    errors = [one.rate_se for one in found if one]
    assert 0.3 * spread < sum(errors) / len(errors) < 6 * spread
    assert max(errors) < 0.03 * mean


def test_where_the_queue_grew_the_server_fills_first() -> None:
    """Ten a second at a server that answers five: the first answer comes after two seconds."""
    samples = [answer(n, 0.1 * n, 2000 + 100 * n) for n in range(100)]
    found = measured(samples, 10)
    assert not found.stable
    assert found.throughput is not None
    assert (found.throughput.from_s, found.throughput.to_s) == (2, 10)
    assert found.throughput.rate == pytest.approx(5, rel=0.03)


def test_without_a_window_there_is_none() -> None:
    samples = closed(4, 5, lambda _: 50)
    assert measured(samples, 5, streams=4).throughput is not None
    assert measured(samples, 0, streams=4).throughput is None
