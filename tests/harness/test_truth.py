from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.measuring.truth import Sent, Spread, join, read_truth, stamps
from loadprofiles.records import Sample

if TYPE_CHECKING:
    from pathlib import Path

US = 1000


def sample(first: int | None, gaps: list[int], lag_us: list[int], **fields: object) -> Sample:
    return Sample(
        seq=0, body=0, request_id=fields.pop("request_id", "a"), phase="measured", due_ns=0,
        sent_ns=fields.pop("sent_ns", 3 * US), first_ns=first, chunk_ns=gaps, lag_us=lag_us,
        **fields,
    )  # fmt: skip


def sent(times_us: list[int], unsure: tuple[int, ...] = ()) -> Sent:
    sure = np.array([number not in unsure for number in range(len(times_us))])
    return Sent(np.array(times_us) * US, sure)


def test_errors_are_stamp_minus_truth() -> None:
    truth = {"a": sent([100, 200, 300])}
    own = sample(102 * US, [101 * US, 99 * US], [5, 7, 9])
    found = join([own], truth, 0, 1000 * US)
    assert found.ttft_kernel.tolist() == [2 * US]
    assert found.ttft_user.tolist() == [7 * US]
    assert found.itl_kernel.tolist() == [1 * US, -1 * US]
    assert found.itl_user.tolist() == [3 * US, 1 * US]
    assert found.lag.tolist() == [5 * US, 7 * US, 9 * US]
    assert found.late.tolist() == [3 * US]
    assert (found.answers, found.tokens, found.unmatched) == (1, 3, 0)


def test_only_what_lies_in_the_window_counts() -> None:
    truth = {"a": sent([100, 200, 300])}
    found = join([sample(102 * US, [101 * US, 99 * US], [5, 7, 9])], truth, 150 * US, 302 * US)
    assert found.ttft_kernel.size == found.ttft_user.size == found.answers == found.late.size == 0
    assert found.itl_kernel.tolist() == [-1 * US]
    assert found.lag.tolist() == [7 * US, 9 * US]
    assert found.tokens == 1


def test_without_kernel_stamps_only_the_users_clock_is_judged() -> None:
    truth = {"a": sent([100, 200])}
    found = join([sample(160 * US, [100 * US], [], clock="user")], truth, 0, 1000 * US)
    assert found.ttft_kernel.size == found.itl_kernel.size == found.lag.size == 0
    assert found.ttft_user.tolist() == [60 * US]


def test_answers_that_are_not_the_truths_are_counted() -> None:
    truth = {"a": sent([100, 200])}
    lost = sample(102 * US, [], [5])
    unknown = sample(102 * US, [], [5], request_id="b")
    failed = sample(102 * US, [], [5], error="reset")
    found = join([lost, unknown, failed], truth, 0, 1000 * US)
    assert (found.unmatched, found.answers, found.tokens) == (2, 0, 3)


def test_no_answer_has_no_stamps() -> None:
    assert stamps(sample(None, [], [])).size == 0


def test_a_spread_is_of_absolute_values() -> None:
    spread = Spread.of(np.array([-4000, 2000, 3000]))
    assert spread == Spread(p50=3.0, p99=None, max=4.0, n=3)
    many = Spread.of(np.arange(1, 101) * US)
    assert many is not None
    assert many.p99 == pytest.approx(99.01, abs=0.1)
    assert Spread.of(np.empty(0, dtype=np.int64)) is None


def test_the_truth_file(tmp_path: Path) -> None:
    path = tmp_path / "truth.jsonl"
    path.write_text('{"request_id":"a","received_ns":1,"sent_ns":[2,3],"unsure":[1]}\n')
    found = read_truth(path)["a"]
    assert (found.times.tolist(), found.sure.tolist()) == ([2, 3], [True, False])


def test_what_the_server_did_not_see_well_is_left_out() -> None:
    truth = {"a": sent([100, 200, 300, 400], unsure=(1,))}
    found = join([sample(102 * US, [160 * US, 40 * US, 101 * US], [5] * 4)], truth, 0, 1000 * US)
    assert found.ttft_kernel.tolist() == [2 * US]
    assert found.itl_kernel.tolist() == [1 * US]
    assert (found.tokens, found.unsure) == (4, 1)


def test_what_the_client_did_not_see_in_time() -> None:
    truth = {"a": sent([100, 200, 300, 301])}
    # the first two came in one read, and so did the last two: those left together
    found = join([sample(201 * US, [0, 101 * US, 0], [5, 5, 5, 5])], truth, 0, 1000 * US)
    assert (found.hidden_gaps, found.hidden_firsts) == (1, 1)
