from __future__ import annotations

import numpy as np
import pytest

from harness.capacity import virtual
from harness.capacity.virtual import (
    UTILIZATIONS,
    WIDTHS,
    VirtualQueue,
    can_control,
    crowd,
    waits,
)
from harness.config import find_profile, load_config
from loadprofiles.arrivals.poisson import Poisson

POISSON = Poisson(kind="poisson")


def test_a_wait_is_what_is_left_of_the_work_before() -> None:
    rng = np.random.default_rng(1)
    due, service = np.cumsum(rng.exponential(size=500)), rng.exponential(0.9, size=500)
    found, free = [], 0.0
    for at, takes in zip(due, service, strict=True):
        begins = max(at, free)
        found.append(begins - at)
        free = begins + takes
    assert waits(due, service) == pytest.approx(found, abs=1e-9)


def test_the_share_that_waits_too_long_is_the_one_asked_for_in_the_long_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(virtual, "_LONG", 400_000)
    queue = VirtualQueue(POISSON, np.ones(1))
    assert not queue.varies
    due = np.cumsum(np.random.default_rng(2).exponential(size=400_000))
    due *= due.size / due[-1]
    for used in UTILIZATIONS[[2, 6, 10]]:
        late = queue.exceeded(due, np.ones(due.size), float(used), 0.05)
        assert late.mean() == pytest.approx(0.05, rel=0.12)
    for width in WIDTHS[[0, 3, 6]]:
        late = queue.crowded(due, np.ones(due.size), float(width), 0.05)
        assert late.mean() == pytest.approx(0.05, rel=0.12)


def test_the_crowd_is_the_work_around_each_request_the_further_the_less() -> None:
    rng = np.random.default_rng(3)
    due, work = np.cumsum(rng.exponential(size=200)), rng.exponential(size=200)
    weights = np.maximum(0, 1 - np.abs(due[:, None] - due[None, :]) / 12)
    assert crowd(due, work, 12) == pytest.approx(weights @ work)


@pytest.mark.parametrize(
    ("profile", "can"), [("steady", True), ("gamma", True), ("bursty", False), ("diurnal", False)]
)
def test_only_arrivals_of_one_rate_have_a_long_run(profile: str, *, can: bool) -> None:
    assert can_control(find_profile(profile, load_config(None)).arrival) == can
