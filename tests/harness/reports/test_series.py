from __future__ import annotations

import numpy as np
import pytest

from harness.measuring.samples import Samples
from harness.measuring.tokens import tokens_per_bin
from harness.reports import series
from loadprofiles.records import Sample

S = series.NS_PER_S


def sample(**changes: object) -> Sample:
    base: dict[str, object] = {
        "seq": 0, "body": 0, "request_id": "r", "phase": "measured", "due_ns": 0,
    }  # fmt: skip
    return Sample(**(base | changes))  # type: ignore[arg-type]


def test_tokens_are_spread_over_the_chunks_at_their_stamps() -> None:
    one = sample(sent_ns=0, first_ns=100, last_ns=400, chunk_ns=[100, 200], output_tokens=6)
    failed = sample(seq=1, first_ns=100, error="reset", output_tokens=9)
    samples = Samples.of([one, sample(seq=2), failed])
    assert tokens_per_bin(samples, np.array([0, 150, 200, 201, 500])).tolist() == [2, 0, 2, 2]
    assert tokens_per_bin(samples, np.array([101, 400])).tolist() == [2]  # no upper edge


def test_tokens_without_a_count_are_chunks() -> None:
    samples = Samples.of([sample(first_ns=5, chunk_ns=[1], output_tokens=None)])
    assert tokens_per_bin(samples, np.array([0, 6, 9])).tolist() == [1, 1]


def test_a_curve_of_very_many_values_is_the_curve_of_all() -> None:
    values = np.random.default_rng(1).integers(1, 10**9, 1_000_000)
    few = series.thinned(values, 1e6)
    assert few.size < 25_000
    grid = series.log_grid(0.01, 1000, 50)
    assert series.cdf_at(few, grid) == pytest.approx(series.cdf_at(values * 1e-6, grid), abs=1e-4)


def test_tokens_of_an_answer_in_one_document_are_made_evenly() -> None:
    whole = sample(first_ns=None, chunk_ns=[], sent_ns=100, last_ns=400, output_tokens=3)
    samples = Samples.of([whole])
    assert tokens_per_bin(samples, np.array([0, 200, 250, 999])).tolist() == [1, 0.5, 1.5]


def test_rate_counts_each_event_in_one_bin() -> None:
    edges = series.bin_edges(0, 2 * S, 0.5)
    times = np.array([0, S // 2, S // 2 + 1, 2 * S - 1, 2 * S, 3 * S])
    assert series.rate_per_bin(times, edges).tolist() == [2.0, 4.0, 0.0, 2.0]
    assert series.rate_per_bin(times, edges, np.full(6, 3.0)).tolist() == [6.0, 12.0, 0.0, 6.0]
    assert series.rate_per_bin(np.empty(0, dtype=np.int64), edges).tolist() == [0.0] * 4


def test_tokens_per_second_add_up_to_the_tokens() -> None:
    rng = np.random.default_rng(1)
    times = rng.integers(0, 10 * S, 5000)
    edges = series.bin_edges(0, 10 * S, 0.25)
    assert series.rate_per_bin(times, edges, np.ones(5000)).sum() * 0.25 == pytest.approx(5000)


def test_in_flight_mean_and_peak() -> None:
    starts = np.array([0, S // 2, 3 * S])
    ends = np.array([S, 2 * S, 3 * S])
    mean, peak = series.in_flight(starts, ends, series.bin_edges(0, 4 * S, 1))
    assert mean.tolist() == [1.5, 1.0, 0.0, 0.0]
    assert peak.tolist()[:3] == [2, 1, 0]


def test_in_flight_agrees_with_counting() -> None:
    rng = np.random.default_rng(2)
    starts = 7 * S + rng.integers(0, 5 * S, 300)
    ends = starts + rng.integers(1, S, 300)
    edges = series.bin_edges(7 * S, 13 * S, 0.25)
    mean, peak = series.in_flight(starts, ends, edges)
    at = np.arange(7 * S, 13 * S, S // 1000)
    counts = ((starts[:, None] <= at) & (at < ends[:, None])).sum(axis=0).reshape(len(mean), -1)
    assert np.abs(mean - counts.mean(axis=1)).max() < 0.2
    assert (peak >= counts.max(axis=1)).all()
    assert (peak <= counts.max(axis=1) + 3).all()


def test_a_freed_place_is_taken_without_a_peak() -> None:
    starts, ends = np.array([0, S, 2 * S]), np.array([S, 2 * S, 3 * S])
    _, peak = series.in_flight(starts, ends, series.bin_edges(0, 3 * S, 3))
    assert peak.tolist() == [1]


@pytest.mark.parametrize(
    ("span_s", "events", "most", "width"),
    [(30, 300, 2000, 0.25), (3, 30, 2000, 0.1), (300, 10_000, 2000, 2.0), (7200, 1, 100, 300.0)],
)
def test_bin_width(span_s: float, events: int, most: int, width: float) -> None:
    assert series.bin_width_s(span_s, events, most=most) == width
    assert span_s / width <= most


def test_edges_cover_an_empty_span() -> None:
    assert series.bin_edges(5, 5, 1).tolist() == [5, 5 + S]


def test_cdf_is_the_share_at_or_below() -> None:
    grid = np.array([1.0, 2.0, 3.0])
    assert series.cdf_at(np.array([3.0, 1.0, 1.0, 9.0]), grid).tolist() == [0.5, 0.5, 0.75]
    assert np.isnan(series.cdf_at(np.empty(0), grid)).all()


def test_log_grid_keeps_its_ends() -> None:
    grid = series.log_grid(0.3, 777.7, 50)
    assert (grid[0], grid[-1], len(grid)) == (0.3, 777.7, 50)
    assert (np.diff(series.log_grid(5, 5, 10)) > 0).all()


def test_thinning_keeps_extremes_and_order() -> None:
    rng = np.random.default_rng(3)
    times, values = np.arange(9999.0), rng.lognormal(0, 1, 9999)
    kept = series.thin(times, values, 500)
    assert len(kept) <= 500
    assert (np.diff(kept) > 0).all()
    assert values.argmax() in kept
    assert values.argmin() in kept
    assert series.thin(times[:10], values[:10], 500).tolist() == list(range(10))


def test_ttft_is_of_answers_alone() -> None:
    samples = Samples.of(
        [
            sample(sent_ns=1_000_000, first_ns=3_000_000),
            sample(seq=1, sent_ns=1, first_ns=3, error="reset"),
            sample(seq=2),
        ]
    )
    sent, due = (series.ttfts_ms(samples, from_due=from_due).tolist() for from_due in (False, True))
    assert (sent[0], due[0]) == (2.0, 3.0)
    assert np.isnan([*sent[1:], *due[1:]]).all()


def test_a_request_never_sent_has_no_span() -> None:
    starts, ends = series.spans(
        Samples.of([sample(), sample(sent_ns=5), sample(sent_ns=5, done_ns=9)])
    )
    assert (starts.tolist(), ends.tolist()) == ([5, 5], [5, 9])
