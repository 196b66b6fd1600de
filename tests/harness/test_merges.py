from __future__ import annotations

import msgspec
import numpy as np
import pytest

from harness.measuring.merges import find_merges
from loadprofiles.records import Sample

US = 1_000
MS = 1_000_000
T0 = 50_000 * MS


def sample(seq: int = 0, **changes: object) -> Sample:
    """An answer of 64 chunks 4 ms apart, each read 40 µs after it came."""
    base = Sample(
        seq=seq, body=seq, request_id=f"r{seq}", phase="measured", due_ns=T0, sent_ns=T0,
        first_ns=T0 + 20 * MS, last_ns=T0 + 272 * MS, done_ns=T0 + 273 * MS, status=200,
        output_tokens=64, chunk_ns=[4 * MS] * 63, lag_us=[40] * 64,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def merged(seq: int, at: int, lag_us: int) -> Sample:
    """Gap number `at` was not seen: the chunks around it came in one read, so much lag later."""
    gaps, lags = [4 * MS] * 63, [40] * 64
    gaps[at] = 0
    lags[at] = lags[at + 1] = lag_us
    return sample(seq, chunk_ns=gaps, lag_us=lags)


@pytest.mark.parametrize(("lag_us", "late"), [(400, 1), (401, 2)])
def test_a_merge_is_late_beyond_a_tenth_of_the_usual_gap(lag_us: int, late: int) -> None:
    stalled = merged(1, 30, 3000)
    assert find_merges([merged(0, 30, lag_us), stalled]).late_reads == late


@pytest.mark.parametrize(
    ("stalls", "late"), [(0, 0), (1, 2), (5, 10), (20, 40), (200, 40)], ids=str
)
def test_no_more_merges_are_late_than_there_were_stalls(stalls: int, late: int) -> None:
    # 40 reads of two chunks, 0.8 ms late; a stall of a gap leaves 2 ms and more half of the time
    slow = [sample(100 + seq, lag_us=[40] * 10 + [2500] + [40] * 53) for seq in range(stalls)]
    found = find_merges([*(merged(seq, 30, 800) for seq in range(40)), *slow])
    assert found.reads == 40
    assert found.late_reads == late


def _smeared(draw: np.random.Generator, stall_ns: int) -> tuple[list[Sample], int]:
    """A steady server, read by a client that stalls once in 40 ms: what it stamps, what it hid."""
    answers, hidden = [], 0
    for seq in range(60):
        true = T0 + draw.integers(0, 4 * MS) + np.arange(64) * 4 * MS
        begin = np.arange(T0, T0 + 300 * MS, 40 * MS)
        index = np.searchsorted(begin, true, side="right") - 1
        stalled = (index >= 0) & (true < begin[index] + stall_ns)
        read = np.where(stalled, begin[index] + stall_ns, true + 40 * US)
        stamp = true.copy()
        for at in range(62, -1, -1):
            if read[at] == read[at + 1]:
                stamp[at] = stamp[at + 1]
                hidden += 1
        answers.append(
            sample(
                seq, first_ns=int(stamp[0]), chunk_ns=np.diff(stamp).tolist(),
                lag_us=((read - stamp) // US).tolist(),
            )
        )  # fmt: skip
    return answers, hidden


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("stall_ms", "share"), [(3, 0), (5, 0.2), (7, 0.6), (10, 0.6), (25, 0.75)])
def test_stalls_of_a_client_are_found_out(stall_ms: int, share: float, seed: int) -> None:
    answers, hidden = _smeared(np.random.default_rng(100 * stall_ms + seed), stall_ms * MS)
    found = find_merges(answers)
    assert (hidden > 0) is (stall_ms > 4)
    assert share * hidden <= found.late_gaps <= hidden


def test_a_stall_that_delays_a_whole_batch_alike_is_found_out() -> None:
    # 32 streams in step; five times all of them were read 2.4 ms late, two chunks in a read
    answers = []
    for seq in range(32):
        gaps, lags = [4 * MS] * 63, [40] * 64
        for at in (10, 20, 30, 40, 50):
            gaps[at], lags[at], lags[at + 1] = 0, 2400, 2400
        answers.append(sample(seq, chunk_ns=gaps, lag_us=lags))
    assert find_merges(answers).late_gaps == 160


@pytest.mark.parametrize("most_us", [1600, 2200, 3000])
def test_a_slow_client_that_never_stalls_a_gap_is_not_blamed(most_us: int) -> None:
    # the server sends the last two chunks of each answer together; the client could merge nothing
    draw = np.random.default_rng(most_us)
    answers = []
    for seq in range(100):
        lags = draw.integers(30, most_us, 64).tolist()
        lags[63] = lags[62]
        last_together = [4 * MS] * 62 + [0]
        start = T0 + seq * 300 * MS
        answers.append(sample(seq, first_ns=start, chunk_ns=last_together, lag_us=lags))
    found = find_merges(answers)
    assert found.reads == 100
    assert found.late_reads == 0


@pytest.mark.parametrize("stalls_ms", [0, 3, 6])
def test_what_the_server_always_sends_together_is_its_own(stalls_ms: int) -> None:
    # chunks leave in pairs; now and then all streams are read late, past a gap or not
    answers, late = [], 0
    for seq in range(64):
        gaps, lags = [4 * MS, 0] * 31 + [4 * MS], [40] * 64
        if stalls_ms:
            lags[31:33] = [2900] * 2
        if stalls_ms > 4:  # the pair before came in the same read
            gaps[28], gaps[30] = 8 * MS, 0
            lags[29:31] = [2900] * 2
            late += 1
        answers.append(sample(seq, chunk_ns=gaps, lag_us=lags))
    found = find_merges(answers)
    assert found.reads >= 64 * 30
    assert late <= found.late_gaps <= 2.5 * late


def test_a_read_of_three_chunks_is_one_read_and_two_gaps() -> None:
    gaps, lags = [4 * MS] * 63, [40] * 64
    gaps[0] = gaps[1] = gaps[61] = gaps[62] = 0
    lags[0:3] = [2100] * 3
    found = find_merges([sample(0, chunk_ns=gaps, lag_us=lags)])
    assert (found.reads, found.late_reads, found.late_gaps) == (2, 1, 2)
    assert (found.late_first, found.late_last) == (1, 0)


def test_an_answer_in_one_read_is_judged_by_the_others_gaps() -> None:
    whole = sample(1, chunk_ns=[0, 0], lag_us=[3000] * 3)
    assert find_merges([whole]).late_reads == 0  # nothing to compare with
    assert find_merges([sample(0), whole]).late_reads == 1


def test_without_lags_no_merge_is_called_late() -> None:
    blind = msgspec.structs.replace(merged(0, 30, 3000), lag_us=[], clock="user")
    assert find_merges([blind]).reads == 1
    assert find_merges([blind]).late_reads == 0
    assert find_merges([]).median_gap_ms is None
