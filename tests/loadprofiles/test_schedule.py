"""Schedules against the mathematics they claim: counts, gaps, residuals, shapes."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from loadprofiles.arrivals import AnyArrival
from loadprofiles.arrivals.bursty import Bursty
from loadprofiles.arrivals.constant import Constant
from loadprofiles.arrivals.diurnal import Diurnal
from loadprofiles.arrivals.gamma import Gamma
from loadprofiles.arrivals.poisson import Poisson
from loadprofiles.arrivals.ramp import Ramp
from loadprofiles.arrivals.spike import Spike
from loadprofiles.arrivals.steps import Steps
from loadprofiles.traffic.schedule import (
    NS,
    OpenArrival,
    cumulative_rate,
    schedule,
    schedule_requests,
)

DAY = (3, 2, 1, 0, 1, 2, 4, 7, 9, 11, 12, 12, 11, 12, 12, 11, 10, 9, 8, 8, 7, 6, 5, 4)

CONSTANT = Constant(kind="constant")
POISSON = Poisson(kind="poisson")
CLUMPS = Gamma(kind="gamma", burstiness=0.25)
EVENLY = Gamma(kind="gamma", burstiness=4)
BURSTY = Bursty(kind="bursty", burst_factor=6, burst_s=2, burst_every_s=10)
SPIKE = Spike(kind="spike", spike_factor=8, spike_s=3, spike_at_s=1)
STEPS = Steps(kind="steps", factors=(0.4, 0, 2), lengths=(2, 1, 2.2))
RAMP = Ramp(kind="ramp", from_factor=0.2, to_factor=1.8)
SINUSOID = Diurnal(kind="diurnal", peak_to_trough=5)
HOURLY = Diurnal(kind="diurnal", hourly=DAY, days=2)
POISSONIAN: dict[str, OpenArrival] = {
    "poisson": POISSON, "bursty": BURSTY, "spike": SPIKE, "steps": STEPS, "ramp": RAMP,
    "sinusoid": SINUSOID, "hourly": HOURLY,
}  # fmt: skip
"""Poisson processes with a rate that changes, or not."""
EVERY: dict[str, OpenArrival] = {
    "constant": CONSTANT, "clumps": CLUMPS, "evenly": EVENLY, **POISSONIAN,
}  # fmt: skip
SEEDS = range(200)

random_kinds = pytest.mark.parametrize("arrival", POISSONIAN.values(), ids=POISSONIAN)
every_kind = pytest.mark.parametrize("arrival", EVERY.values(), ids=EVERY)
gammas = pytest.mark.parametrize("arrival", [CLUMPS, EVENLY], ids=["clumps", "evenly"])


def rate_at(arrival: OpenArrival, rate: float, t_s: np.ndarray, duration_s: float) -> np.ndarray:
    """The offered rate λ(t) in requests/s; its mean is `rate`."""
    return rate * arrival.relative_rate(t_s, duration_s)


@st.composite
def arrivals(draw: st.DrawFn) -> OpenArrival:
    kind = draw(st.sampled_from([*EVERY, "any bursty", "any ramp", "any steps", "any diurnal"]))
    if kind == "any bursty":
        every_s = draw(st.floats(0.1, 100))
        burst_s = every_s * draw(st.floats(0.001, 0.999))
        factor = draw(st.floats(1.01, 1000))
        return Bursty(kind="bursty", burst_factor=factor, burst_s=burst_s, burst_every_s=every_s)
    if kind == "any ramp":
        factor = draw(st.floats(0, 2))
        return Ramp(kind="ramp", from_factor=factor, to_factor=2 - factor)
    if kind == "any steps":
        heights = np.array(draw(st.lists(st.floats(0.1, 10), min_size=2, max_size=8)))
        return Steps(kind="steps", factors=tuple((heights / heights.mean()).tolist()))
    if kind == "any diurnal":
        ratio, days = draw(st.floats(1, 1000)), draw(st.integers(1, 20))
        return Diurnal(kind="diurnal", peak_to_trough=ratio, days=days)
    return EVERY[kind]


rates = st.floats(0.01, 500)
windows_s = st.floats(0.05, 60)
seeds = st.integers(0, 2**63)


@settings(deadline=None)
@given(arrivals(), rates, windows_s, seeds)
def test_any_schedule_ascends_within_its_window(
    arrival: OpenArrival, rate: float, duration_s: float, seed: int
) -> None:
    due = schedule(arrival, rate, duration_s, seed)
    assert due.dtype == np.int64
    assert np.all(np.diff(due) >= 0)
    assert np.all(due >= 0)
    assert np.all(due < round(duration_s * NS))
    assert np.array_equal(due, schedule(arrival, rate, duration_s, seed))


@settings(deadline=None)
@given(arrivals(), rates, st.integers(1, 300), seeds)
def test_any_schedule_by_requests_has_exactly_those_within_its_window(
    arrival: OpenArrival, rate: float, requests: int, seed: int
) -> None:
    due, duration_ns = schedule_requests(arrival, rate, requests, seed)
    assert len(due) == requests
    assert np.all(np.diff(due) >= 0)
    assert due[0] >= 0
    assert due[-1] < duration_ns


@settings(deadline=None)
@given(arrivals(), windows_s)
def test_operational_time_is_monotone_from_nought_to_the_window_and_inverts(
    arrival: OpenArrival, duration_s: float
) -> None:
    t_s = np.linspace(0, duration_s, 101)
    operational_s = arrival.operational_time(t_s, duration_s)
    assert operational_s[0] == 0
    assert operational_s[-1] == pytest.approx(duration_s)
    assert np.all(np.diff(operational_s) >= 0)
    there_and_back = arrival.operational_time(
        arrival.clock_time(operational_s, duration_s), duration_s
    )
    assert there_and_back == pytest.approx(operational_s, rel=1e-6, abs=1e-6 * duration_s)


@every_kind
@pytest.mark.parametrize("duration_s", [30.0, 27.5, 5.0, 0.7])
def test_the_level_is_the_mean_of_the_offered_rate(arrival: OpenArrival, duration_s: float) -> None:
    steps = 200_000
    t_s = (np.arange(steps) + 0.5) * duration_s / steps
    assert float(rate_at(arrival, 7.0, t_s, duration_s).mean()) == pytest.approx(7.0, rel=1e-4)
    total = cumulative_rate(arrival, 7.0, np.array([duration_s]), duration_s)
    assert float(total[0]) == pytest.approx(7.0 * duration_s)


@every_kind
def test_cumulative_rate_is_the_integral_of_the_rate(arrival: OpenArrival) -> None:
    edges = np.linspace(0, 30, 30_001)
    middle = (edges[1:] + edges[:-1]) / 2
    integral = np.cumsum(rate_at(arrival, 10, middle, 30) * np.diff(edges))
    assert cumulative_rate(arrival, 10, edges[1:], 30) == pytest.approx(integral, abs=0.02)


@random_kinds
def test_counts_have_the_mean_and_the_variance_of_poisson(arrival: OpenArrival) -> None:
    expected = 10 * 30
    counts = np.array([len(schedule(arrival, 10, 30, seed)) for seed in SEEDS])
    z = (counts.mean() - expected) / math.sqrt(expected / len(counts))
    assert abs(z) < 3
    dispersion = counts.var(ddof=1) / counts.mean()  # n/rate renormalisation would give 0
    assert abs(dispersion - 1) < 4 * math.sqrt(2 / (len(counts) - 1))


@random_kinds
def test_time_rescaled_gaps_are_exponential(arrival: OpenArrival) -> None:
    """Time-rescaling theorem (Brown et al. 2002): Λ(tᵢ) − Λ(tᵢ₋₁) are exponential, mean 1."""
    due = schedule(arrival, 200, 30, 11)
    gaps = np.diff(cumulative_rate(arrival, 200, due / NS, 30))
    assert kolmogorov_smirnov(gaps) < 1.63  # the 1 % point of √n·D
    assert abs(lag_one(gaps)) < 3 / math.sqrt(len(gaps))


@random_kinds
def test_that_residual_test_would_notice_a_wrong_rate(arrival: OpenArrival) -> None:
    due = schedule(arrival, 200, 30, 11)
    assert kolmogorov_smirnov(np.diff(due / NS) * 200 * 1.1) > 1.63
    even = schedule(CONSTANT, 200, 30, 11)
    assert kolmogorov_smirnov(np.diff(even / NS) * 200) > 1.63


@gammas
def test_gamma_gaps_are_gamma_and_independent(arrival: Gamma) -> None:
    due_s = schedule(arrival, 50, 200, 3) / NS
    gaps, shape = np.diff(due_s), arrival.burstiness
    assert stats.kstest(gaps, stats.gamma(shape, scale=1 / shape / 50).cdf).pvalue > 0.01
    assert stats.kstest(gaps, stats.expon(scale=1 / 50).cdf).pvalue < 1e-6
    variation = gaps.std(ddof=1) / gaps.mean()
    assert variation == pytest.approx(1 / math.sqrt(shape), rel=0.1)
    assert abs(lag_one(gaps)) < 4 / math.sqrt(len(gaps))


@gammas
def test_gamma_counts_have_the_dispersion_of_their_burstiness(arrival: Gamma) -> None:
    """Variance ÷ mean of the counts of long windows tends to 1/burstiness (Cox 1962, § 4.5)."""
    counts = np.array([len(schedule(arrival, 20, 50, seed)) for seed in range(400)])
    assert counts.mean() == pytest.approx(1000, abs=3 * counts.std() / 20)
    dispersion = counts.var(ddof=1) / counts.mean()
    assert dispersion == pytest.approx(1 / arrival.burstiness, rel=0.3)


@gammas
def test_a_gamma_process_has_its_rate_from_the_start_on(arrival: Gamma) -> None:
    """Begun with a whole gap, one in clumps would have 1.5 requests too many, or late ones."""
    counts = [
        np.histogram(schedule(arrival, 2, 4, seed) / NS, bins=8, range=(0, 4))[0]
        for seed in range(4000)
    ]
    mean, error = np.mean(counts, axis=0), np.std(counts, axis=0) / math.sqrt(4000)
    assert np.all(np.abs(mean - 1) < 4 * error)


def test_burstiness_one_is_a_poisson_process() -> None:
    one = Gamma(kind="gamma", burstiness=1)
    due_s = schedule(one, 100, 100, 6) / NS
    assert stats.kstest(np.diff(due_s), stats.expon(scale=0.01).cdf).pvalue > 0.01
    first = [one.first_gap(np.random.default_rng(seed)) for seed in range(1000, 5000)]
    assert stats.kstest(first, stats.expon.cdf).pvalue > 0.01


def test_poisson_counts_of_one_second_are_dispersed_by_one() -> None:
    counts = np.histogram(schedule(POISSON, 30, 1000, 5) / NS, bins=1000, range=(0, 1000))[0]
    assert abs(counts.var(ddof=1) / counts.mean() - 1) < 4 * math.sqrt(2 / 999)
    assert abs(lag_one(counts.astype(float))) < 4 / math.sqrt(1000)


def test_poisson_has_no_repeated_gaps() -> None:
    gaps = np.diff(schedule(POISSON, 30, 100, 5))
    assert len(np.unique(gaps)) == len(gaps)


def test_a_longer_poisson_window_begins_the_same() -> None:
    short, long = schedule(POISSON, 10, 10, 3), schedule(POISSON, 10, 300, 3)
    assert np.array_equal(short, long[: len(short)])


def test_constant_arrivals_are_evenly_spaced_from_nought() -> None:
    due = schedule(CONSTANT, 4, 2.5, 0)
    assert due.tolist() == [i * NS // 4 for i in range(10)]
    assert schedule(CONSTANT, 10, 3, 0).tolist() == [i * NS // 10 for i in range(30)]
    counts = np.histogram(schedule(CONSTANT, 10, 30, 0) / NS, bins=30, range=(0, 30))[0]
    assert counts.var() < 0.1
    assert len(schedule(CONSTANT, 0.1, 30, 0)) == 3  # 0.1 · 30 is a little above 3 in floats
    assert np.array_equal(schedule(CONSTANT, 3, 5, 1), schedule(CONSTANT, 3, 5, 2))


def test_bursts_stand_where_they_should_at_the_factor_they_should() -> None:
    due_s = np.concatenate([schedule(BURSTY, 10, 30, seed) for seed in SEEDS]) / NS
    inside = (np.mod(due_s, 10) >= 4) & (np.mod(due_s, 10) < 6)
    burst_rate = inside.sum() / (6 * len(SEEDS))
    base_rate = (~inside).sum() / (24 * len(SEEDS))
    assert base_rate == pytest.approx(10 / (1 + 5 * 0.2), rel=0.03)
    assert burst_rate / base_rate == pytest.approx(6, rel=0.04)


def test_the_base_rate_allows_for_a_window_that_ends_within_a_stretch() -> None:
    at = np.array([1.0, 5.0, 13.0])
    base, burst, again = rate_at(BURSTY, 10, at, 14)  # one burst in 14 s
    assert (12 * base + 2 * burst) / 14 == pytest.approx(10)
    assert burst / base == pytest.approx(6)
    assert again == pytest.approx(base)
    half = rate_at(BURSTY, 10, np.array([1.0, 4.5]), 5)  # half a burst in 5 s
    assert (4 * half[0] + half[1]) / 5 == pytest.approx(10)


def test_a_spike_stands_once_where_it_should() -> None:
    due_s = np.concatenate([schedule(SPIKE, 10, 30, seed) for seed in SEEDS]) / NS
    inside = (due_s >= 1) & (due_s < 4)
    outside_rate = (~inside).sum() / (27 * len(SEEDS))
    assert outside_rate == pytest.approx(10 / (1 + 7 * 0.1), rel=0.03)
    assert inside.sum() / (3 * len(SEEDS)) / outside_rate == pytest.approx(8, rel=0.05)
    assert SPIKE.bursts(30) == [(1, 4)]
    assert SPIKE.bursts(2) == [(1, 2)]
    assert SPIKE.bursts(0.5) == []


def test_bursts_are_told_and_the_last_ends_with_the_window() -> None:
    bursty = Bursty(kind="bursty", burst_factor=5, burst_s=4, burst_every_s=10)
    assert bursty.bursts(15) == [(3, 7), (13, 15)]
    assert bursty.bursts(2) == []
    assert POISSON.bursts(15) == []


def test_steps_have_their_rates_and_lengths() -> None:
    due_s = np.concatenate([schedule(STEPS, 10, 52, seed) for seed in SEEDS]) / NS
    counts = np.histogram(due_s, bins=[0, 20, 30, 52])[0] / len(SEEDS)
    assert counts[0] / 20 == pytest.approx(4, rel=0.03)
    assert counts[1] == 0
    assert counts[2] / 22 == pytest.approx(20, rel=0.03)
    equal = Steps(kind="steps", factors=(0.5, 1.5))
    assert rate_at(equal, 10, np.array([0, 9.99, 10, 19.9]), 20).tolist() == [5, 5, 15, 15]


def test_a_day_goes_from_night_to_night() -> None:
    t_s = np.linspace(0, 60, 241)
    rate = rate_at(SINUSOID, 12, t_s, 60)
    assert (t_s[rate.argmax()], t_s[rate.argmin()]) == (30, 0)
    assert rate.max() / rate.min() == pytest.approx(5)
    assert rate.mean() == pytest.approx(12, rel=0.01)
    due_s = np.concatenate([schedule(SINUSOID, 12, 60, seed) for seed in SEEDS]) / NS
    counts = np.histogram(due_s, bins=12, range=(0, 60))[0] / len(SEEDS)
    expected = np.diff(cumulative_rate(SINUSOID, 12, np.linspace(0, 60, 13), 60))
    assert (
        stats.chisquare(counts * len(SEEDS), expected * counts.sum() * len(SEEDS) / 720).pvalue
        > 0.01
    )


def test_the_hours_of_a_day_have_their_weights_every_day() -> None:
    due_s = np.concatenate([schedule(HOURLY, 20, 48, seed) for seed in SEEDS]) / NS
    counts = np.histogram(due_s, bins=48, range=(0, 48))[0].reshape(2, 24).sum(axis=0)
    assert counts[3] == 0
    weights = np.array(DAY)
    there = weights > 0
    expected = weights[there] / weights.sum() * counts.sum()
    assert stats.chisquare(counts[there], expected).pvalue > 0.01


@pytest.mark.parametrize("ratio", [1, 2, 1000])
def test_a_sinusoid_is_inverted_to_the_last_bits(ratio: float) -> None:
    day = Diurnal(kind="diurnal", peak_to_trough=ratio, days=3)
    t_s = np.linspace(0, 90, 10_001)
    back = day.clock_time(day.operational_time(t_s, 90), 90)
    forth = day.operational_time(back, 90)
    assert np.abs(forth - day.operational_time(t_s, 90)).max() < 1e-12


def test_a_ramp_grows_linearly_between_its_factors() -> None:
    due_s = np.concatenate([schedule(RAMP, 10, 30, seed) for seed in SEEDS]) / NS
    counts = np.histogram(due_s, bins=30, range=(0, 30))[0] / len(SEEDS)
    middle = np.arange(30) + 0.5
    slope, start = np.polyfit(middle, counts, 1)
    assert start == pytest.approx(2, abs=0.3)
    assert start + 30 * slope == pytest.approx(18, abs=0.5)
    residuals = (counts - (start + slope * middle)) / np.sqrt(counts / len(SEEDS))
    assert abs(float(np.mean(residuals**2)) - 1) < 1  # nothing but noise is left


def test_a_ramp_may_fall_and_may_start_from_nought() -> None:
    falling = schedule(Ramp(kind="ramp", from_factor=2, to_factor=0), 100, 30, 1) / NS
    rising = schedule(Ramp(kind="ramp", from_factor=0, to_factor=2), 100, 30, 1) / NS
    assert falling.mean() == pytest.approx(10, abs=0.5)
    assert rising.mean() == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize("arrival", [CONSTANT, *POISSONIAN.values()], ids=["constant", *POISSONIAN])
def test_requests_per_window_estimate_the_rate_without_bias(arrival: OpenArrival) -> None:
    windows = [schedule_requests(arrival, 10, 50, seed)[1] / NS for seed in SEEDS]
    estimates = 50 / np.array(windows)
    error = estimates.std(ddof=1) / math.sqrt(len(estimates))
    assert abs(estimates.mean() - 10) <= 3.5 * error + 1e-6


def test_bursts_and_ramps_fill_a_window_given_by_requests() -> None:
    due, duration_ns = schedule_requests(RAMP, 10, 3000, 4)
    first_half = int((due < duration_ns / 2).sum())
    assert first_half / 3000 == pytest.approx((0.2 + 1) / 4, abs=0.03)


def test_seeds_differ() -> None:
    first, second = (schedule(POISSON, 10, 30, seed) / NS for seed in (1, 2))
    assert not np.intersect1d(first, second).size
    counts = [
        np.histogram(schedule(POISSON, 20, 400, seed) / NS, bins=400, range=(0, 400))[0]
        for seed in (1, 2)
    ]
    assert abs(np.corrcoef(counts[0], counts[1])[0, 1]) < 4 / math.sqrt(400)


@pytest.mark.parametrize(
    ("arrival", "digest"),
    [
        pytest.param(CONSTANT, "3cd7cd9a7451f6d2", id="constant"),
        pytest.param(POISSON, "668a085a9d5b8de4", id="poisson"),
        pytest.param(BURSTY, "8bf3442d1de7225f", id="bursty"),
        pytest.param(RAMP, "a34880b48aaada03", id="ramp"),
        pytest.param(CLUMPS, "96bd618b810d0549", id="gamma"),
        pytest.param(SPIKE, "90d7052ba7b52b94", id="spike"),
        pytest.param(STEPS, "9091af04c8b53c66", id="steps"),
        pytest.param(SINUSOID, "f956ce20ced9f949", id="sinusoid"),
        pytest.param(HOURLY, "a68fcf573f02807a", id="hourly"),
    ],
)
def test_a_seed_means_the_same_schedule_for_ever(arrival: OpenArrival, digest: str) -> None:
    """In µs, so that no other machine's logarithm matters. A change breaks paired comparisons."""
    due_us = schedule(arrival, 10, 30, 20_261_121) // 1000
    assert hashlib.sha256(due_us.astype("<i8").tobytes()).hexdigest()[:16] == digest


def test_a_million_arrivals_are_no_matter() -> None:
    assert len(schedule(BURSTY, 20_000, 50, 1)) == pytest.approx(1_000_000, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"burst_s": 10}, "burst_s = 10 must be shorter than burst_every_s = 10"),
        ({"burst_factor": 1}, "burst_factor\n  Input should be greater than 1"),
        ({"burst_s": 0}, "burst_s\n  Input should be greater than 0"),
        ({"burst_every_s": math.inf}, "burst_every_s\n  Input should be a finite number"),
        ({"length_s": 2}, "length_s\n  Extra inputs are not permitted"),
    ],
)
def test_impossible_bursts_are_refused_by_name(fields: dict[str, float], message: str) -> None:
    good = {"kind": "bursty", "burst_factor": 6, "burst_s": 2, "burst_every_s": 10}
    with pytest.raises(ValidationError) as caught:
        Bursty.model_validate(good | fields)
    assert message in str(caught.value)


def test_a_ramp_whose_mean_is_not_the_level_is_told_which_is() -> None:
    with pytest.raises(ValidationError, match=r"from_factor = 0\.3333, to_factor = 1\.6667"):
        Ramp(kind="ramp", from_factor=1, to_factor=5)
    Ramp(kind="ramp", from_factor=0.3333, to_factor=1.6667)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Ramp(kind="ramp", from_factor=-1, to_factor=3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "gamma", "burstiness": 0}, "greater than or equal to 0.01"),
        ({"kind": "steps", "factors": [1]}, "at least 2 items"),
        ({"kind": "steps", "factors": [0, 0]}, "all 0"),
        ({"kind": "steps", "factors": [1, 3]}, r"factors = \[0\.5, 1\.5\]"),
        ({"kind": "steps", "factors": [1, 1], "lengths": [1]}, "2 factors but 1 lengths"),
        ({"kind": "diurnal"}, "give peak_to_trough, or 24 hourly weights"),
        ({"kind": "diurnal", "peak_to_trough": 2, "hourly": DAY}, "and not both"),
        ({"kind": "diurnal", "hourly": [1, 2]}, "at least 24 items"),
        ({"kind": "diurnal", "hourly": [0] * 24}, "the weights are all 0"),
        ({"kind": "spike", "spike_factor": 1, "spike_s": 1, "spike_at_s": 0}, "greater than 1"),
        ({"kind": "uniform"}, "does not match any of the expected tags: .*'poisson'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_fix(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyArrival).validate_python(fields)


# --- what would notice a bad generator ---------------------------------------------------------


def suspicious(
    due_ns: np.ndarray, arrival: OpenArrival, rate: float, duration_s: float
) -> set[str]:
    """Which properties of its process a long schedule lacks, each judged at about 4 sigma.

    In operational time (Brown et al., The time-rescaling theorem, Neural Computation 14, 2002), so
    that a changing rate does not matter.
    """
    unit = cumulative_rate(arrival, rate, due_ns / NS, duration_s)
    gaps, total = np.diff(unit), rate * duration_s
    # Gaps of a renewal process have the variance v; then the counts have v · mean.
    v = {"constant": 0.0, "gamma": 1 / getattr(arrival, "burstiness", 1)}.get(arrival.kind, 1.0)
    found = set()
    if abs(len(unit) - total) > 4 * math.sqrt(max(v, 1e-3) * total):
        found.add("rate")
    if abs(gaps.var() / gaps.mean() ** 2 - v) > 4 * v * math.sqrt((2 + 6 * v) / len(gaps)) + 1e-6:
        found.add("variation")
    if v and abs(lag_one(gaps)) > 4 / math.sqrt(len(gaps)):
        found.add("autocorrelation")
    bins = int(total / 20)
    counts = np.histogram(unit, bins=bins, range=(0, bins * 20))[0]
    if abs(counts.var(ddof=1) / 20 - v) > 4 * max(v, 0.1) * math.sqrt(2 / bins) + 0.1 * v:
        found.add("dispersion")
    wide = gaps[gaps > 1e-3]  # narrower ones fall together, since due times are whole ns
    if len(np.unique(wide)) < len(wide) * 0.99 and v:
        found.add("repeated gaps")
    return found


@every_kind
@pytest.mark.parametrize("seed", range(5))
def test_every_schedule_has_its_processes_properties(arrival: OpenArrival, seed: int) -> None:
    assert suspicious(schedule(arrival, 100, 120, seed), arrival, 100, 120) == set()


@pytest.mark.parametrize("arrival", [POISSON, CLUMPS], ids=["poisson", "clumps"])
def test_workers_with_one_seed_would_be_noticed(arrival: OpenArrival) -> None:
    """GuideLLM 0.8.1: ten workers with one seed, so that each gap comes ten times in a row."""
    gaps = np.repeat(np.diff(schedule(arrival, 100, 120, 7)), 10)
    replayed = np.cumsum(gaps)
    found = suspicious(replayed[replayed < 120 * NS], arrival, 100, 120)
    assert found >= {"autocorrelation", "dispersion", "repeated gaps"}
    at_once = np.sort(np.tile(schedule(arrival, 10, 120, 7), 10))
    assert suspicious(at_once, arrival, 100, 120) >= {"variation", "dispersion"}


def test_a_metronome_and_a_wrong_rate_would_be_noticed() -> None:
    assert suspicious(schedule(CONSTANT, 100, 120, 1), POISSON, 100, 120) >= {"variation"}
    assert suspicious(schedule(POISSON, 100, 120, 1), CLUMPS, 100, 120) >= {"variation"}
    assert suspicious(schedule(POISSON, 110, 120, 1), POISSON, 100, 120) >= {"rate"}
    assert suspicious(schedule(POISSON, 100, 120, 1), BURSTY, 100, 120)


@every_kind
@pytest.mark.parametrize("workers", [2, 7])
def test_the_workers_shares_make_up_the_schedule(arrival: OpenArrival, workers: int) -> None:
    due = schedule(arrival, 30, 20, 3)
    shares = [due[worker::workers] for worker in range(workers)]
    assert np.array_equal(np.sort(np.concatenate(shares)), due)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def kolmogorov_smirnov(gaps: np.ndarray) -> float:
    """√n times the largest distance between the gaps' distribution and 1 − e⁻ˣ."""
    expected = -np.expm1(-np.sort(gaps))
    n = len(gaps)
    above = np.arange(1, n + 1) / n - expected
    below = expected - np.arange(n) / n
    return float(math.sqrt(n) * max(above.max(), below.max()))


def lag_one(values: np.ndarray) -> float:
    return float(np.corrcoef(values[:-1], values[1:])[0, 1])
