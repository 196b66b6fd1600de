from __future__ import annotations

import msgspec
import numpy as np
import pytest

from harness.capacity.attainment import allowed_share, check_limits, tallies
from harness.errors import BadInputError
from harness.measuring.samples import Samples
from harness.measuring.slo import parse_slo
from tests.harness.cells import T0, S, answer


def shares(slo: str, samples: list, *, cut: bool = False, window_s: float = 100) -> list[float]:  # type: ignore[type-arg]
    found = tallies(parse_slo(slo), Samples.of(samples), T0, T0 + round(window_s * S), cut=cut)
    return [one.share for one in found]


def test_a_percentile_allows_the_rest_to_break_it_and_an_error_rate_its_own_share() -> None:
    limits = parse_slo(
        "ttft_p95_ms<=5,e2e_p99_ms<=5,itl_ms<=5,error_rate<=2%,ttft_p50_ms<=1"
    ).limits
    assert [allowed_share(one) for one in limits] == pytest.approx([0.05, 0.01, 0.05, 0.02, 0.5])
    assert 0 < allowed_share(parse_slo("error_rate<=0").limits[0]) < 0.001


def test_failures_break_every_limit_and_gaps_are_pooled() -> None:
    samples = [answer(n, n, ttft_ms=80 if n < 2 else 20) for n in range(10)]
    samples.append(answer(10, 10, gaps_ms=[10, 10, 10, 60, 60]))
    samples.append(answer(11, 11, error="http", first_ns=None, last_ns=None, chunk_ns=[]))
    [ttft, itl, failed] = shares("ttft_due_p95_ms<=70,itl_p95_ms<=50,error_rate<=1%", samples)
    assert ttft == pytest.approx(3 / 12)
    assert itl == pytest.approx((2 + 3) / (10 * 3 + 5 + 3))
    assert failed == pytest.approx(1 / 12)


def test_a_speed_is_broken_by_the_slow_ones() -> None:
    samples = [answer(n, n, gaps_ms=[10] * 5) for n in range(8)]
    samples += [answer(8, 8, gaps_ms=[100] * 5), answer(9, 9, gaps_ms=[100] * 5)]
    assert shares("decode_p95_tps>=50", samples) == [pytest.approx(0.2)]


def test_what_is_unknown_at_an_early_end_is_left_out_with_all_behind_it() -> None:
    done = [answer(n, n) for n in range(5)]
    waited = answer(5, 5, error="aborted", first_ns=None, last_ns=None, done_ns=T0 + 9 * S)
    brief = answer(6, 8.99, error="aborted", first_ns=None, last_ns=None, done_ns=T0 + 9 * S)
    behind = answer(7, 8.995)
    cut = shares("ttft_due_p95_ms<=100", [*done, waited, brief, behind], cut=True)
    assert cut == [pytest.approx(1 / 6)], (
        "the one that waited broke it; of the brief one nobody knows"
    )
    assert shares("ttft_due_p95_ms<=100", [*done, waited, brief, behind]) == [pytest.approx(2 / 8)]


def test_only_what_was_due_in_the_window_counts_in_the_order_of_time() -> None:
    samples = [answer(n, n, ttft_ms=500) for n in (3, 1, 2, 12)]
    samples.append(msgspec.structs.replace(answer(9, 1.5), phase="warmup"))
    [found] = tallies(parse_slo("ttft_p95_ms<=100"), Samples.of(samples), T0, T0 + 10 * S)
    assert found.at_s == pytest.approx([1, 2, 3])
    assert found.within(1.5, 2.5).at_s == pytest.approx([2])
    assert np.all(found.broken == 1)


@pytest.mark.parametrize(
    ("slo", "words"),
    [
        ("goodput>=5", "no highest rate"),
        ("aggregate_tps>=5", "no highest rate"),
        ("ttft_max_ms<=5", "ttft_p99_ms<=5"),
        ("itl_mean_ms<=5", "itl_p99_ms<=5"),
    ],
)
def test_a_limit_without_a_highest_rate_is_bad_input(slo: str, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        check_limits(parse_slo(slo))
    assert words in str(caught.value)


def test_one_document_has_no_ttft() -> None:
    with pytest.raises(BadInputError, match="ttft_ms"):
        check_limits(parse_slo("ttft_p95_ms<=5"), stream=False)
    check_limits(parse_slo("e2e_p95_ms<=5,error_rate<=1%"), stream=False)
