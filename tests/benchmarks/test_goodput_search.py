"""The search for the highest rate, on queues whose limit is known."""

from __future__ import annotations

import goodput_search
import numpy as np
import pytest

from harness.capacity import virtual
from harness.capacity.search import PROBES

SEEDS = 5


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goodput_search, "LONG", 600_000)
    monkeypatch.setattr(virtual, "_LONG", 300_000)


@pytest.mark.parametrize("law", goodput_search.LAWS[:1] + goodput_search.LAWS[3:4])
def test_it_finds_the_limit_of_a_known_queue(law: goodput_search.Law) -> None:
    """The benchmark has 100 seeds of six queues; these are the same, and show that it works."""
    limit = law._limit(0)
    found = [goodput_search.search_on_paper(law, seed, 1500, plain=False) for seed in range(SEEDS)]
    off = [abs((answer.max_rate or 0) / limit - 1) for _, answer in found]
    assert sorted(off)[SEEDS - 2] <= 0.03, off
    assert all(search.made <= PROBES for search, _ in found)
    covered = [low <= limit <= high for _, one in found for low, high in [one.interval or (0, 0)]]
    assert sum(covered) >= SEEDS - 1
    assert all(search.estimate.control > 0.8 for search, _ in found)  # type: ignore[operator]


def test_the_queue_on_paper_is_first_come_first_served() -> None:
    law = goodput_search.Law(3, 1.0, 0.5)
    due = np.cumsum(np.random.default_rng(4).exponential(0.34, size=400))
    free, waits = [0.0] * 3, []
    for at in due:
        free.sort()
        begins = max(at, free[0])
        free[0] = begins + law.service_s
        waits.append(begins - at)
    assert law.waits_s(due) == pytest.approx(waits, abs=1e-9)


def test_the_limit_of_one_slot_is_the_one_of_queueing_theory() -> None:
    """M/D/1 with a wait below one service: P(W <= t) = (1 - rho) e^(rate t) (Erlang 1909)."""
    law = goodput_search.Law(1, 1.0, 0.5)
    rates = np.linspace(0.01, 0.5, 100_000)
    exact = rates[np.argmax((1 - rates) * np.exp(rates * law.wait_s) < 1 - goodput_search.ALLOWED)]
    assert law._limit(0) == pytest.approx(exact, rel=0.01)
