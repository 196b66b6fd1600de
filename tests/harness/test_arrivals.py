"""The realised arrival process: what is planned, what was sent, what the profile claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from harness.measuring.arrivals import arrivals_of, departures
from harness.measuring.samples import Samples
from loadprofiles.arrivals.bursty import Bursty
from loadprofiles.arrivals.constant import Constant
from loadprofiles.arrivals.diurnal import Diurnal
from loadprofiles.arrivals.gamma import Gamma
from loadprofiles.arrivals.poisson import Poisson
from loadprofiles.traffic.schedule import NS, OpenArrival, schedule
from tests.harness.test_measure import MS, T0, S, plan, report, sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measuring.arrival_stats import Arrivals

POISSON = Poisson(kind="poisson")
KINDS: dict[str, OpenArrival] = {
    "poisson": POISSON,
    "clumps": Gamma(kind="gamma", burstiness=0.25),
    "bursty": Bursty(kind="bursty", burst_factor=6, burst_s=2, burst_every_s=10),
    "diurnal": Diurnal(kind="diurnal", peak_to_trough=5),
}
RATE, WINDOW_S = 40.0, 60


def sent_as(
    due_ns: np.ndarray[Any, Any],
    arrival: OpenArrival,
    late_ns: Callable[[int], int] = lambda _: 100_000,
    keep: Callable[[int], bool] = lambda _: True,
    window_s: float = WINDOW_S,
) -> Arrivals:
    made = []
    for seq, due in enumerate(due_ns.tolist()):
        at = T0 + due
        sent = at + late_ns(seq) if keep(seq) else None
        made.append(msgspec.structs.replace(sample(seq), due_ns=at, sent_ns=sent))
    planned = plan(
        mode="open", streams=None, due_ns=due_ns.tolist(), duration_ns=round(window_s * NS),
        arrival=arrival.model_dump(mode="json"), rate=RATE,
    )  # fmt: skip
    drive = report(len(made), window_end_ns=T0 + round(window_s * S))
    found = arrivals_of(planned, Samples.of(made).measured, drive)
    assert found is not None
    return found


def codes(found: Arrivals) -> set[str]:
    return {caveat.code for caveat in departures(found)}


@pytest.mark.parametrize("arrival", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_an_honest_client_has_nothing_to_say(arrival: OpenArrival, seed: int) -> None:
    found = sent_as(schedule(arrival, RATE, WINDOW_S, seed), arrival)
    assert codes(found) == set()
    assert found.tests is not None
    assert found.tests.kind == arrival.kind
    assert found.realised.rate == pytest.approx(found.planned.rate, rel=1e-3)
    assert found.distance < 0.01


def test_the_numbers_are_those_of_their_definitions() -> None:
    found = sent_as(schedule(POISSON, RATE, WINDOW_S, 3), POISSON)
    due = schedule(POISSON, RATE, WINDOW_S, 3) / NS
    shift = (3 - 5**0.5) / 2 * 60 / len(due)
    counts = np.histogram((due + shift) % 60, bins=60, range=(0, 60))[0]
    gaps = np.diff(due)
    assert found.planned.n == len(due)
    assert found.planned.rate == len(due) / 60
    assert found.planned.gap_cv == pytest.approx(gaps.std() / gaps.mean())
    assert found.planned.dispersion == pytest.approx(counts.var(ddof=1) / counts.mean())
    assert found.planned.autocorrelation == pytest.approx(
        np.corrcoef(gaps[:-1], gaps[1:])[0, 1], abs=0.01
    )
    assert found.bin_s == 1
    assert found.lateness_std_ms == pytest.approx(0, abs=1e-9)


def test_clumps_and_bursts_look_like_what_they_are() -> None:
    clumps = sent_as(schedule(KINDS["clumps"], RATE, WINDOW_S, 1), KINDS["clumps"]).realised
    assert clumps.gap_cv == pytest.approx(2, rel=0.15)
    assert clumps.dispersion == pytest.approx(4, rel=0.5)
    bursts = sent_as(schedule(KINDS["bursty"], RATE, WINDOW_S, 1), KINDS["bursty"]).realised
    assert bursts.dispersion is not None
    assert bursts.dispersion > 10
    assert bursts.autocorrelation is not None
    assert bursts.autocorrelation > 0.1


def test_workers_with_one_seed_are_found_out() -> None:
    """GuideLLM 0.8.1: each gap comes ten times in a row."""
    gaps = np.repeat(np.diff(schedule(POISSON, RATE, WINDOW_S, 7)), 10)
    replayed = np.cumsum(gaps)
    found = sent_as(replayed[replayed < WINDOW_S * NS], POISSON)
    assert codes(found) == {"arrivals_unlikely"}
    assert found.tests is not None
    assert found.tests.p_autocorrelation is not None
    assert found.tests.p_autocorrelation < 1e-10
    assert found.tests.p_dispersion is not None
    assert found.tests.p_dispersion < 1e-10
    (caveat,) = departures(found)
    assert "hardly poisson arrivals" in caveat.text
    assert "autocorrelation" in caveat.text


def test_another_process_or_rate_than_asked_is_found_out() -> None:
    even = schedule(Constant(kind="constant"), RATE, WINDOW_S, 0)
    assert codes(sent_as(even, POISSON)) == {"arrivals_unlikely"}
    faster = schedule(POISSON, RATE * 1.2, WINDOW_S, 4)
    assert codes(sent_as(faster, POISSON)) == {"arrivals_unlikely"}


def test_departures_held_back_are_told() -> None:
    due = schedule(POISSON, RATE, WINDOW_S, 5)
    together = np.repeat(due[19::20], 20)  # twenty at a time, when the last of them is due
    due = due[: len(together)]
    held = sent_as(due, POISSON, late_ns=lambda seq: int(together[seq] - due[seq]))
    assert "arrivals_departed" in codes(held)
    assert held.behind_most >= 18
    assert held.realised.gap_cv is not None
    assert held.realised.gap_cv > 3


def test_departures_that_were_skipped_are_told() -> None:
    due = schedule(POISSON, RATE, WINDOW_S, 5)
    found = sent_as(due, POISSON, keep=lambda seq: seq % 3 > 0)
    assert "arrivals_departed" in codes(found)
    (caveat, *_) = departures(found)
    assert "requests/s instead of" in caveat.text
    assert found.behind_most == pytest.approx(len(due) / 3, abs=3)


@pytest.mark.parametrize("window_s", [6, 60, 7.3])
@pytest.mark.parametrize("rate", [10, 12.5, 13, 20, 62, 300, 1000])
def test_a_metronome_that_jitters_has_nothing_to_say(rate: float, window_s: float) -> None:
    rng, constant = np.random.default_rng(1), Constant(kind="constant")
    due = schedule(constant, rate, window_s, 0)
    late = rng.integers(-100_000, 100_000, len(due)).tolist()  # early, too: other clocks
    found = sent_as(due, constant, late.__getitem__, window_s=window_s)
    assert list(departures(found)) == []
    assert found.planned.autocorrelation is None
    assert found.planned.dispersion == pytest.approx(found.realised.dispersion, abs=0.02)
    late = rng.permutation(late).tolist()
    late = [5_000_000 + one for one in late]  # later by as much each time: the same load
    assert codes(sent_as(due, constant, late.__getitem__, window_s=window_s)) == set()


def test_jitter_below_the_goal_says_nothing_of_dense_arrivals_either() -> None:
    due = schedule(POISSON, 3000, 6, 0)
    late = np.random.default_rng(1).integers(0, 600_000, len(due)).tolist()
    found = sent_as(due, POISSON, late.__getitem__, window_s=6)
    assert "arrivals_departed" not in codes(found)


@pytest.mark.parametrize("rate", [20, 300, 1000])
@pytest.mark.parametrize("spread_gaps", [0.03, 1.5])
def test_a_metronome_whose_client_is_late_at_random_is_told(
    rate: float, spread_gaps: float
) -> None:
    constant = Constant(kind="constant")
    due = schedule(constant, rate, 6, 0)
    spread_ns = max(5_000_000 if spread_gaps > 1 else 0, int(spread_gaps / rate * NS))
    late = np.random.default_rng(1).integers(0, spread_ns, len(due)).tolist()
    found = sent_as(due, constant, late.__getitem__, window_s=6)
    told = [one.text for one in departures(found) if one.code == "arrivals_departed"]
    assert len(told) == (spread_gaps > 1)
    assert all("off an even gap of" in text for text in told)


def test_a_metronome_whose_client_stood_still_is_told() -> None:
    constant = Constant(kind="constant")
    due = schedule(constant, 300, 6, 0)
    late = np.maximum(0, np.where(due < 2.2 * NS, 2_200_000_000 - due, 0))
    late = np.where(due > 2 * NS, late, 0).tolist()
    assert codes(sent_as(due, constant, late.__getitem__, window_s=6)) == {"arrivals_departed"}


def test_a_metronome_and_a_trace_are_compared_but_not_tested() -> None:
    constant = Constant(kind="constant")
    found = sent_as(schedule(constant, RATE, WINDOW_S, 0), constant, lambda seq: seq % 7 * 10_000)
    assert found.tests is None
    assert codes(found) == set()
    assert found.planned.gap_cv == pytest.approx(0, abs=1e-6)
    assert found.planned.autocorrelation is None


def test_a_closed_loop_and_few_requests_say_nothing() -> None:
    drive = report(0)
    assert arrivals_of(plan(), Samples.of([]).measured, drive) is None
    few = sent_as(schedule(POISSON, 0.2, WINDOW_S, 1), POISSON, late_ns=lambda _: 900 * MS)
    assert codes(few) == set()
    assert few.tests is None
    assert list(departures(None)) == []
