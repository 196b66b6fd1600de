"""The search for the highest rate, on queues whose limit is known."""

from __future__ import annotations

import goodput_search
import known_queues
import numpy as np
import pytest
from known_queues import ALLOWED, SERVERS, Batch, Server, Slots, limit_by

from harness.capacity import virtual
from harness.capacity.search import PROBES

SEEDS = 5


@pytest.fixture(autouse=True)
def shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_queues, "LONG", 600_000)
    monkeypatch.setattr(virtual, "_LONG", 300_000)


@pytest.mark.parametrize("server", [SERVERS[0], SERVERS[3], SERVERS[6]], ids=str)
def test_it_finds_the_limit_of_a_known_queue(server: Server) -> None:
    """The benchmark has more seeds of more queues; these are the same, and show that it works."""
    limit = server.limit()
    found = [
        goodput_search.search_on_paper(server, seed, 1500, plain=False) for seed in range(SEEDS)
    ]
    off = [abs((answer.max_rate or 0) / limit - 1) for _, answer in found]
    assert sorted(off)[SEEDS - 2] <= 0.03, off
    assert all(search.made <= PROBES for search, _ in found)
    covered = [low <= limit <= high for _, one in found for low, high in [one.interval or (0, 0)]]
    assert sum(covered) >= SEEDS - 1
    controls = [search.estimate.control for search, _ in found]
    assert sorted(controls)[1] > 0.5, controls  # type: ignore[type-var, operator]


def test_a_search_of_short_probes_says_so() -> None:
    """As asked without --duration, 10 s an answer: some 20 requests a probe."""
    server = Slots(1, 10.0, 10.0)
    limit = server.limit()
    for seed in range(SEEDS):
        _, answer = goodput_search.search_on_paper(server, seed, 1500, plain=False, most_s=60.0)
        assert answer.outcome in {"imprecise", "unfinished"}
        assert answer.interval is None or answer.interval[0] < limit < answer.interval[1]


def test_the_queue_on_paper_is_first_come_first_served() -> None:
    law = Slots(3, 1.0, 0.5)
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
    law = Slots(1, 1.0, 0.5)
    rates = np.linspace(0.01, 0.5, 100_000)
    exact = rates[np.argmax((1 - rates) * np.exp(rates * law.wait_s) < 1 - ALLOWED)]
    assert limit_by(law, 1.0, 600_000, 0) == pytest.approx(exact, rel=0.01)


def test_a_batch_serves_an_open_loop_as_a_closed_one_of_as_many() -> None:
    """Little's law: n streams are served n / time, and at that rate n are under way."""
    law = Batch(1000, 0.02, 1e-4, 100, 3.5)
    rate, broken = law.closed(100)
    assert (rate, broken) == (pytest.approx(100 / (100 * 0.03)), 0.0)
    due = np.arange(6000) / rate
    _, ends = law.shows(due)
    assert (ends - due)[3000:].mean() == pytest.approx(100 / rate, rel=0.03)
    full, _ = Batch(50, 0.02, 1e-4, 100, 3.5).shows(due)
    assert full[-1] == 1.0, "a full batch lets others wait"
