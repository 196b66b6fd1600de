from __future__ import annotations

import numpy as np

from harness.capacity.attainment import Tally
from harness.capacity.sequential import LEAST_PART, decided


def tally(broken: int, of: int) -> Tally:
    values = np.zeros(of)
    values[:broken] = 1
    return Tally(at_s=np.arange(of, dtype=float), broken=values, counted=np.ones(of))


def test_an_overload_is_seen_early_and_a_bad_stretch_is_not_one() -> None:
    assert decided([tally(60, 60)], [0.05], LEAST_PART, may_hold=False) == "broken"
    assert decided([tally(8, 60)], [0.05], 0.5, may_hold=False) is None
    assert decided([tally(100, 500)], [0.05], 0.5, may_hold=False) is None


def test_nothing_is_decided_before_its_time() -> None:
    assert decided([tally(600, 600)], [0.05], LEAST_PART - 0.01, may_hold=True) is None


def test_what_holds_is_ended_only_far_from_the_limit_and_after_enough_of_it() -> None:
    assert decided([tally(0, 900)], [0.05], 0.5, may_hold=True) == "holds"
    assert decided([tally(0, 900)], [0.05], 0.5, may_hold=False) is None
    assert decided([tally(0, 300)], [0.05], 0.5, may_hold=True) is None
    assert decided([tally(30, 900)], [0.05], 0.5, may_hold=True) is None


def test_one_broken_limit_is_enough_and_all_must_hold() -> None:
    both = [tally(0, 900), tally(900, 900)]
    assert decided(both, [0.05, 0.01], 0.5, may_hold=True) == "broken"
    assert decided([tally(0, 900), tally(0, 900)], [0.05, 0.001], 0.5, may_hold=True) is None


def test_requests_that_are_under_way_together_tell_as_much_as_one() -> None:
    one = tally(300, 400)
    assert decided([one], [0.05], 0.5, may_hold=False, in_flight=5) == "broken"
    assert decided([one], [0.05], 0.5, may_hold=False, in_flight=200) is None
    held = tally(0, 900)
    assert decided([held], [0.05], 0.5, may_hold=True, in_flight=10) == "holds"
    assert decided([held], [0.05], 0.5, may_hold=True, in_flight=100) is None
