"""Which probe comes next, by those that were made."""

from __future__ import annotations

import numpy as np
import pytest

from harness.capacity.attainment import Tally
from harness.capacity.estimate import Shown, estimate
from harness.capacity.search import (
    CLIENT_TRIES,
    FIRST,
    LEAP,
    MANY,
    PROBES,
    THEN,
    UP,
    Answer,
    Ask,
    Scout,
    Search,
    Tried,
)

ALONE = Scout(streams=1, shares=(0.0,), requests=60, served_rate=5.0, latency_s=0.2)
TOGETHER = Scout(streams=MANY, shares=(0.9,), requests=600, served_rate=100.0, latency_s=0.3)


def shown(rate: float, *broken: float, requests: int = 1000) -> Shown:
    """A probe in which a share of the requests, evenly strewn, broke each limit."""
    due = (np.arange(requests) + 0.5) / rate
    tallies = []
    for share in broken:
        which = np.diff(np.floor(np.arange(requests + 1) * share))
        tallies.append(Tally(at_s=due, broken=which, counted=np.ones(requests)))
    return Shown(
        rate=rate, from_s=0.0, to_s=requests / rate, tallies=tuple(tallies), due_s=due,
        work=np.ones(requests),
    )  # fmt: skip


def search(
    *tried: tuple[float, float | None], scouts: tuple[Scout, ...] = (ALONE, TOGETHER)
) -> Search:
    """A search for a p95, by (rate, share broken); None where the client was too slow."""
    return Search(
        allowed=(0.05,),
        names=("ttft_due_p95_ms<=70",),
        scouts=scouts,
        tried=[
            Tried(rate=rate, shown=None if share is None else shown(rate, share))
            for rate, share in tried
        ],
    )


def law(rate: float, limit: float = 80.0, slope: float = 20.0) -> float:
    return min(1.0, 0.05 * (rate / limit) ** slope)


def test_limits_that_break_wherever_the_client_was_in_time_hold_nowhere_that_is_known() -> None:
    """Below the one probe that tells of the server, twice the client was too slow."""
    slow = Scout(
        streams=1, shares=(1.0,), requests=13, served_rate=6.6, latency_s=0.15, client_was_slow=True
    )
    many = Scout(streams=MANY, shares=(1.0,), requests=40, served_rate=20.0, latency_s=0.16)
    found = search((16.0, None), (16.0, 1.0), (5.6, None), (5.6, None), scouts=(slow, many))
    answer = found.answer()
    assert (answer.outcome, answer.max_rate) == ("unfinished", None)
    assert answer.text.endswith("do not say where the limits break. They broke at 16 requests/s.")


def test_it_begins_with_one_stream_then_many_then_a_rate_below_what_was_served() -> None:
    assert search(scouts=()).next() == Ask(streams=1)
    assert search(scouts=(ALONE,)).next() == Ask(streams=MANY)
    assert search().next() == Ask(rate=FIRST * TOGETHER.served_rate)


def test_it_goes_up_until_a_rate_breaks() -> None:
    assert search((80, 0.0)).next() == Ask(rate=pytest.approx(THEN * TOGETHER.served_rate))
    assert search((80, 0.0), (110, 0.0)).next() == Ask(rate=UP * 110)
    step = search((80, 0.0), (110, 0.0), (220, 1.0)).next()
    assert isinstance(step, Ask)
    assert step.rate is not None
    assert 110 < step.rate < 220


ROOMY = Scout(streams=MANY, shares=(0.0,), requests=600, served_rate=150.0, latency_s=0.2)


def overloaded(rate: float, served: float) -> Tried:
    return Tried(rate=rate, shown=shown(rate, 0.95), served_rate=served)


def test_where_many_streams_are_served_as_well_as_one_the_rate_leaps() -> None:
    assert search(scouts=(ALONE, ROOMY)).next() == Ask(rate=LEAP * 150)
    step = search((1200, 0.0), scouts=(ALONE, ROOMY)).next()
    assert step == Ask(rate=LEAP * 1200), "and again, until something breaks"
    slow = Scout(streams=MANY, shares=(0.0,), requests=60, served_rate=60.0, latency_s=0.5)
    assert search(scouts=(ALONE, slow)).next() == Ask(rate=FIRST * 60), "full, if not too slow"


def test_what_was_served_when_it_was_too_much_says_where_to_look() -> None:
    found = search(scouts=(ALONE, ROOMY))
    found.tried = [overloaded(1200, 400.0)]
    assert found.next() == Ask(rate=pytest.approx(0.8 * 400))
    found = search((320, 0.0), scouts=(ALONE, ROOMY))
    found.tried = [overloaded(1200, 400.0), *found.tried]
    assert found.next() == Ask(rate=pytest.approx(0.95 * 400))


def test_many_streams_that_all_ran_out_of_time_are_no_dead_server() -> None:
    """One slot of 10 s lets 32 streams wait longer than they may."""
    alone = Scout(streams=1, shares=(0.0,), requests=3, served_rate=0.1, latency_s=10.0)
    many = Scout(streams=MANY, shares=(1.0,), requests=40, served_rate=0.0, latency_s=None)
    assert search(scouts=(alone, many)).next() == Ask(rate=pytest.approx(FIRST * 0.1))


def test_as_long_as_none_has_held_it_goes_down_in_steps() -> None:
    step = search((80, 1.0)).next()
    assert isinstance(step, Ask)
    assert step.rate is not None
    assert 0.3 * 80 < step.rate <= 0.7 * 80


def test_what_the_client_broke_in_the_first_scout_is_not_the_servers() -> None:
    slow = Scout(
        streams=1, shares=(0.4,), requests=60, served_rate=5.0, latency_s=0.2, client_was_slow=True
    )
    assert search(scouts=(slow,)).next() == Ask(streams=MANY)


def test_a_search_that_was_cut_off_does_not_say_more_than_it_knows() -> None:
    before = search(scouts=(ALONE, TOGETHER)).answer(ended=False)
    assert (before.outcome, before.max_rate) == ("unfinished", None)
    one_side = search((80, 0.0)).answer(ended=False)
    assert (one_side.outcome, one_side.max_rate) == ("unfinished", None)
    assert "They hold at 80 requests/s" in one_side.text
    once = search((80, None)).answer(ended=False)
    assert once.outcome == "unfinished", "a client that was slow once is tried again"
    both = search((70, 0.0), (78, 0.03), (82, 0.08), (90, 0.6)).answer(ended=False)
    assert both.outcome == "unfinished"
    assert both.max_rate == pytest.approx(80, rel=0.05)
    assert both.text.startswith("The search was not finished.")


def test_all_probes_without_one_that_breaks_are_no_highest_rate() -> None:
    tried = [(80.0 * 1.3**number, 0.0) for number in range(PROBES - 2)]
    answer = search(*tried).next()
    assert isinstance(answer, Answer)
    assert (answer.outcome, answer.max_rate, answer.interval) == ("unfinished", None, None)


def test_probes_far_from_where_the_limit_may_be_do_not_end_it() -> None:
    """Within 15 % of a limit at which all turns at once, but none where some do."""
    tried = [(70.0, 0.0), (72.0, 0.0), (74.0, 0.0), (90.0, 1.0), (91.0, 1.0), (92.0, 1.0)]
    assert isinstance(search(*tried).next(), Ask)


def test_it_finds_a_limit_of_its_own_law_within_two_percent() -> None:
    tried: list[tuple[float, float | None]] = []
    while isinstance(step := search(*tried).next(), Ask):
        assert step.rate is not None
        assert step.rate not in dict(tried), "each rate has a schedule of its own"
        tried.append((step.rate, law(step.rate)))
    assert isinstance(step, Answer)
    assert step.outcome == "found"
    assert step.max_rate == pytest.approx(80, rel=0.02)
    assert step.interval is not None
    assert step.interval[0] < 80 < step.interval[1]
    assert 5 <= len(tried) <= PROBES - 2
    near = [rate for rate, _ in tried if abs(rate / 80 - 1) < 0.1]
    assert len(near) >= len(tried) / 2, "time is spent where it decides"


def test_a_server_that_goes_from_all_to_nothing_at_once_is_bracketed() -> None:
    tried: list[tuple[float, float | None]] = []
    while isinstance(step := search(*tried).next(), Ask):
        assert step.rate is not None
        tried.append((step.rate, float(step.rate > 43)))
    assert step.interval is not None
    assert step.interval[0] < 43 < step.interval[1]
    assert step.max_rate == pytest.approx(43, rel=0.05)


def test_a_limit_that_one_request_alone_breaks_is_met_at_no_load() -> None:
    slow = Scout(streams=1, shares=(0.4,), requests=30, served_rate=5.0, latency_s=0.2)
    answer = search(scouts=(slow,)).next()
    assert isinstance(answer, Answer)
    assert (answer.outcome, answer.max_rate) == ("not_met_at_any_load", None)
    assert "ttft_due_p95_ms<=70" in answer.text
    chance = Scout(streams=1, shares=(2 / 30,), requests=30, served_rate=5.0, latency_s=0.2)
    assert search(scouts=(chance,)).next() == Ask(streams=MANY), "two of thirty may be chance"


def test_limits_that_break_at_every_rate_are_met_at_no_load() -> None:
    tried: list[tuple[float, float | None]] = []
    while isinstance(step := search(*tried).next(), Ask):
        assert step.rate is not None
        tried.append((step.rate, 1.0))
    assert (step.outcome, step.max_rate) == ("not_met_at_any_load", None)


def test_a_server_that_answers_nothing_has_no_capacity_to_find() -> None:
    dead = Scout(streams=1, shares=(0.0,), requests=0, served_rate=0.0, latency_s=None)
    answer = search(scouts=(dead,)).next()
    assert isinstance(answer, Answer)
    assert (answer.outcome, answer.max_rate) == ("nothing_answered", None)


def test_a_rate_for_which_the_client_was_too_slow_is_tried_again_and_then_is_the_end() -> None:
    assert search((80, 0.0), (110, None)).next() == Ask(rate=110, repeat=CLIENT_TRIES)
    again = search((80, 0.0), (110, None), (110, None))
    assert again.ceiling == 110
    assert again.next() == Ask(rate=95.0), "half way up to it"
    end = search((80, 0.0), (110, None), (110, None), (95, 0.0), (102.5, 0.0), (106.2, 0.0))
    answer = end.next()
    assert isinstance(answer, Answer)
    assert (answer.outcome, answer.max_rate) == ("not_reached_by_client", None)
    assert "106.2 requests/s" in answer.text


def test_a_limit_below_what_the_client_can_do_is_found_all_the_same() -> None:
    tried: list[tuple[float, float | None]] = []
    while isinstance(step := search(*tried).next(), Ask):
        assert step.rate is not None
        tried.append((step.rate, None if step.rate > 100 else law(step.rate, limit=90)))
    assert step.max_rate == pytest.approx(90, rel=0.03)


def test_the_first_of_several_limits_decides() -> None:
    probes = [shown(rate, law(rate, 80), law(rate, 60)) for rate in (50, 58, 61, 63, 78, 82)]
    both = estimate(probes, (0.05, 0.05), (1, 500))
    assert both.median == pytest.approx(60, rel=0.02)
    assert both.interval[0] < 60 < both.interval[1]


def test_more_probes_make_the_interval_narrower_and_few_requests_wider() -> None:
    few = [shown(rate, law(rate), requests=200) for rate in (70, 90)]
    more = [*few, *(shown(rate, law(rate), requests=2000) for rate in (77, 79, 81, 83))]
    first, last = (estimate(probes, (0.05,), (1, 500)) for probes in (few, more))
    assert last.half_width < first.half_width / 2
    assert first.interval[0] < 80 < first.interval[1]


def test_blocks_that_differ_count_for_less_than_their_requests() -> None:
    """The same shares, but all of the broken requests in a row, as in a queue that built up."""

    def clumped(rate: float) -> Shown:
        one = shown(rate, law(rate))
        [tally] = one.tallies
        rows = Tally(at_s=tally.at_s, broken=np.sort(tally.broken), counted=tally.counted)
        return Shown(
            rate=rate, from_s=0.0, to_s=one.to_s, tallies=(rows,), due_s=one.due_s, work=one.work
        )  # fmt: skip

    rates = (74, 78, 80, 82, 86)
    even = estimate([shown(rate, law(rate)) for rate in rates], (0.05,), (1, 500))
    uneven = estimate([clumped(rate) for rate in rates], (0.05,), (1, 500))
    assert uneven.half_width > 1.5 * even.half_width
