"""Fleets under traffic: what they get, what is left out, and what a prediction says of itself."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BadInputError
from harness.measuring.slo import parse_slo
from harness.simulating import smallest
from harness.simulating.engine import Engine, Limits, StepCost
from harness.simulating.fit import Fitted, Seen
from harness.simulating.predict import predict
from harness.simulating.prediction import HeldOut, Prediction
from harness.simulating.smallest import smallest_fleet
from harness.simulating.spread import Spread
from harness.simulating.traffic import Fleet, Traffic, share_by_turns, share_of_some
from loadprofiles.traffic.traces import Trace

ENGINE = Engine(
    cost=StepCost(base_s=0.01, sequence_s=1e-4, prefill_token_s=2e-5, context_token_s=0.0),
    limits=Limits(max_num_seqs=16, kv_tokens=100_000),
    overhead_s=0.002,
)
HELD_OUT = [
    HeldOut(cells=["c"], mode="open", level=2.0, metric=metric, predicted=1.1, measured=1.0)
    for metric in ("ttft_p95_ms", "e2e_p95_ms", "aggregate_tps")
]
FITTED = Fitted(
    engine=ENGINE, fitted_on=["a"], held_out=HELD_OUT,
    seen=Seen(batch=16.0, prompt_tokens=(10, 200), output_tokens=(1, 60), tokens_per_s=1e4),
)  # fmt: skip
ONE = Fleet(replicas=1)
LENGTHS = (np.array([50, 100, 150]), np.array([10, 20, 40]))


def steady(rate: float, duration_s: float = 120.0) -> Traffic:
    return Traffic.steady(rate, duration_s, *LENGTHS, seed=3)


def test_a_fleet_serves_what_its_replicas_serve() -> None:
    one, four = predict(FITTED, steady(10), ONE), predict(FITTED, steady(40), Fleet(replicas=4))
    assert four.request_rate == pytest.approx(4 * one.request_rate, rel=0.1)
    assert four.output_tps == pytest.approx(four.request_rate * 70 / 3, rel=0.05)
    assert four.ttft_ms.p50 == pytest.approx(one.ttft_ms.p50, rel=0.1)
    assert four.in_flight_mean == pytest.approx(one.in_flight_mean, rel=0.15), "of one replica"
    assert one.replicas_simulated == 1
    assert four.replicas_simulated == 4
    assert four.requests_simulated == four.requests


def test_a_fleet_that_cannot_keep_up_answers_no_more_than_it_can() -> None:
    """16 sequences in a step of 11.6 ms are 1,379 tokens/s, and 59 requests/s, at most."""
    slo = parse_slo("aggregate_tps>=2000,request_rate>=80")
    found = predict(FITTED, steady(120), ONE, slo=slo)
    most_tps = 16 / (0.01 + 16 * 1e-4)
    assert 0.8 * most_tps < found.output_tps < most_tps
    assert found.busy == pytest.approx(1, abs=0.01)
    tokens, requests = found.limits
    assert tokens.predicted == found.output_tps
    assert not tokens.holds
    assert requests.predicted is not None
    assert requests.predicted < most_tps / (70 / 3) < found.request_rate
    assert not requests.holds


@pytest.mark.parametrize("routing", ["round-robin", "least-loaded"])
def test_some_replicas_stand_for_all(routing: Any) -> None:  # noqa: ANN401 - a literal
    traffic, fleet = steady(250, 60.0), Fleet(replicas=20)
    whole = predict(FITTED, traffic, fleet, routing=routing)
    some = predict(FITTED, traffic, fleet, routing=routing, most_requests=4000)
    assert whole.replicas_simulated == 20
    assert some.replicas_simulated == 5
    assert any("5 of 20 replicas" in text for text in some.approximations)
    assert not any("of 20 replicas" in text for text in whole.approximations)
    assert some.request_rate == whole.request_rate
    assert some.output_tps == pytest.approx(whole.output_tps, rel=0.05)
    for name in ("ttft_ms", "e2e_ms", "itl_ms"):
        assert getattr(some, name).p50 == pytest.approx(getattr(whole, name).p50, rel=0.1), name
    assert some.busy == pytest.approx(whole.busy, rel=0.1)


def test_least_loaded_has_the_shorter_tail_and_both_slow_down_with_load() -> None:
    turns = predict(FITTED, steady(110), Fleet(replicas=3))
    loaded = predict(FITTED, steady(110), Fleet(replicas=3), routing="least-loaded")
    light = predict(FITTED, steady(30), Fleet(replicas=3))
    assert loaded.ttft_ms.p99 is not None
    assert turns.ttft_ms.p99 is not None
    assert light.ttft_ms.p99 is not None
    assert light.ttft_ms.p99 < loaded.ttft_ms.p99 < turns.ttft_ms.p99


def test_a_failure_loses_requests_and_loads_the_others() -> None:
    failing = Fleet(replicas=2, failing=1, failure_s=60.0)
    sound = predict(FITTED, steady(50), Fleet(replicas=2))
    hurt = predict(FITTED, steady(50), failing)
    assert sound.lost == 0
    assert 0 < hurt.lost < 60
    assert hurt.windows[10].ttft_p95_ms == pytest.approx(sound.windows[10].ttft_p95_ms)
    assert hurt.windows[-1].waiting > 5 * sound.windows[-1].waiting
    assert hurt.failure_s == 60.0
    assert any("dying" in text for text in hurt.approximations)


def test_of_many_a_failure_takes_its_share() -> None:
    fleet = Fleet(replicas=20, failing=5, failure_s=30.0)
    for routing in ("round-robin", "least-loaded"):
        found = predict(FITTED, steady(300, 60.0), fleet, routing=routing, most_requests=2000)
        assert found.replicas_simulated < 20
        assert found.lost == pytest.approx(5 * found.windows[20].in_flight, rel=0.6)
        assert found.windows[40].in_flight > found.windows[20].in_flight * 1.1


def test_goodput_and_limits() -> None:
    slo = parse_slo("ttft_p95_ms<=40,e2e_p95_ms<=2000,error_rate<=1%,stall_p95_ms<=9")
    found = predict(FITTED, steady(10), ONE, slo=slo)
    ttft, e2e, errors, stall = found.limits
    assert ttft.predicted == found.ttft_ms.p95
    assert (e2e.holds, e2e.decided) == (True, True)
    assert e2e.error == pytest.approx(0.1)
    assert (errors.predicted, errors.holds, errors.decided) == (0.0, True, True)
    assert (stall.predicted, stall.holds, stall.decided) == (None, None, False)
    assert found.attainment is not None
    assert found.goodput == pytest.approx(found.attainment * found.request_rate)
    assert ttft.predicted is not None
    near = parse_slo(f"ttft_p95_ms<={ttft.predicted * 1.05:.3f}")
    close = predict(FITTED, steady(10), ONE, slo=near).limits[0]
    assert (close.holds, close.decided) == (True, False), "nearer than the held-out error"
    assert predict(FITTED, steady(10), ONE).goodput is None


def test_beyond_the_fit_is_said() -> None:
    small = msgspec.structs.replace(
        FITTED,
        seen=Seen(batch=2.0, prompt_tokens=(50, 100), output_tokens=(10, 40), tokens_per_s=50.0),
    )
    texts = " ".join(predict(small, steady(30), ONE).outside)
    assert "decode at once" in texts
    assert "of the prompts" in texts
    assert "of the answers" not in texts
    assert "tokens/s are asked" in texts
    assert predict(FITTED, steady(10), ONE).outside == []


def test_what_never_fits_the_cache_is_refused() -> None:
    tight = msgspec.structs.replace(ENGINE, limits=Limits(kv_tokens=160))
    found = predict(msgspec.structs.replace(FITTED, engine=tight), steady(5), ONE)
    share = found.refused / found.requests
    assert share == pytest.approx(1 / 3, abs=0.05), "150 + 10…40 tokens, and a third of 100 + …"


def test_the_same_question_has_the_same_answer_and_goes_through_json() -> None:
    found = predict(FITTED, steady(5), Fleet(replicas=3), slo=parse_slo("ttft_p95_ms<=40"))
    assert predict(FITTED, steady(5), Fleet(replicas=3), slo=parse_slo("ttft_p95_ms<=40")) == found
    assert msgspec.json.decode(msgspec.json.encode(found), type=Prediction) == found


@given(st.integers(1, 300), st.integers(1, 9), st.sampled_from([0.5, 1.0, 2.5]), st.data())
def test_turns_share_every_request_out_once(
    count: int, replicas: int, scale: float, data: st.DataObject
) -> None:
    traffic = Traffic(np.arange(count) * 1.0, np.ones(count), np.ones(count), float(count))
    failing = data.draw(st.integers(0, replicas - 1))
    fleet = Fleet(replicas=replicas, failing=failing, failure_s=count / 2)
    parts = [share_by_turns(traffic, scale, fleet, index) for index in range(replicas - failing)]
    total = int(count * scale)
    times = np.sort(np.concatenate([part.times_s for part in parts]))
    assert np.unique(times).size == times.size
    if not failing:
        assert times == pytest.approx(np.arange(total) / scale)
    after = np.arange(total) >= int(np.searchsorted(traffic.times_s, count / 2) * scale)
    assert times[times >= count / 2].size >= after.sum() - 1


def test_some_of_many_get_their_share_at_random() -> None:
    traffic = steady(500, 100.0)
    fleet = Fleet(replicas=50, failing=25, failure_s=50.0)
    part = share_of_some(traffic, 1.0, fleet, 5, seed=1)
    before = (part.times_s < 50).sum()
    assert before == pytest.approx(2500, rel=0.1)
    assert len(part) - before == pytest.approx(5000, rel=0.1)
    assert (np.diff(part.times_s) >= 0).all()


def test_a_trace_scaled_up_keeps_its_shape() -> None:
    trace = Trace(np.array([0.0, 1.0, 5.0]), np.array([5, 0, 7]), np.array([1, 2, 3]), None, 0)
    traffic = Traffic.of(trace)
    assert traffic.prompts.tolist() == [5, 1, 7]
    assert traffic.duration_s == 7.5
    doubled = traffic.at(np.arange(6) / 2)
    assert doubled.times_s.tolist() == [0.0, 0.5, 1.0, 3.0, 5.0, 6.25]
    assert doubled.outputs.tolist() == [1, 1, 2, 2, 3, 3]


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(BadInputError, match="0 replicas"):
        predict(FITTED, steady(5), Fleet(replicas=0))
    with pytest.raises(BadInputError, match="2 of 2 replicas"):
        predict(FITTED, steady(5), Fleet(replicas=2, failing=2))
    with pytest.raises(BadInputError, match="scaled by 0"):
        predict(FITTED, steady(5), ONE, scale=0)
    with pytest.raises(BadInputError, match="the rate to predict is -1"):
        Traffic.steady(-1, 10, *LENGTHS)
    with pytest.raises(BadInputError, match="the seed is -1"):
        Traffic.steady(1, 10, *LENGTHS, seed=-1)
    with pytest.raises(BadInputError, match="0 come in 1 s"):
        Traffic.steady(1e-9, 1, *LENGTHS)
    with pytest.raises(BadInputError, match=r"each of 1 replicas would get 5\.87e\+09"):
        predict(FITTED, steady(50), ONE, scale=1e6)
    for moment in (-1.0, 120.0):
        with pytest.raises(BadInputError, match=f"the failure is at {moment:g} s"):
            predict(FITTED, steady(5), Fleet(replicas=2, failing=1, failure_s=moment))
    with pytest.raises(BadInputError, match="the trace has 1 requests"):
        Traffic.of(Trace(np.zeros(1), np.ones(1, int), np.ones(1, int), None, 0))


def test_gaps_are_counted_by_how_many_there_were() -> None:
    found = Spread.weighted(np.array([3.0, 1.0, 2.0]), np.array([1, 98, 1]))
    plain = Spread.of(np.array([1.0] * 98 + [2.0, 3.0]))
    assert (found.p50, found.p90, found.p95, found.max) == (1.0, 1.0, 1.0, 3.0)
    assert found.mean == pytest.approx(plain.mean)
    assert (
        Spread.weighted(np.array([]), np.array([], dtype=np.int64))
        == Spread()
        == Spread.of(np.array([]))
    )


def test_the_smallest_fleet_holds_and_one_less_does_not() -> None:
    slo = parse_slo("ttft_p95_ms<=30,e2e_p95_ms<=600")
    found = smallest_fleet(FITTED, steady(200, 60.0), slo)
    assert found is not None
    assert found.replicas > 2
    assert all(limit.holds and limit.decided for limit in found.limits)
    fewer = predict(FITTED, steady(200, 60.0), Fleet(replicas=found.replicas - 1), slo=slo)
    assert not all(limit.holds and limit.decided for limit in fewer.limits)
    assert found.replicas_simulated == found.replicas


def test_the_search_does_not_simulate_fleets_that_cannot_answer_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """59 requests/s are the most of a replica; one alone would have had 60 million of them."""
    tried: list[int] = []

    def look(fitted: Fitted, traffic: Traffic, fleet: Fleet, **asked: Any) -> Prediction:  # noqa: ANN401
        tried.append(fleet.replicas)
        return predict(fitted, traffic, fleet, **asked | {"most_requests": 6_000})

    monkeypatch.setattr(smallest, "predict", look)
    found = smallest_fleet(FITTED, steady(1000, 60.0), parse_slo("ttft_p95_ms<=100"), scale=1000.0)
    assert found is not None
    assert found.replicas > 1e6 / 59
    assert min(tried[1:]) > 1000, "the first is a request alone"
    assert found.replicas_simulated < found.replicas


def test_stretches_of_the_time_have_its_rates_and_lengths() -> None:
    times = np.concatenate([np.arange(0, 50, 0.01), np.arange(50, 100, 0.1)])
    lengths = np.arange(times.size)
    part = Traffic(times, lengths, lengths + 1, 100.0).sampled(0.25)
    assert part.duration_s == 25.0
    assert (np.diff(part.times_s) >= 0).all()
    assert (part.times_s < 12.5).sum() == pytest.approx(1250, rel=0.02)
    assert (part.times_s >= 12.5).sum() == pytest.approx(125, rel=0.1)
    assert (part.outputs == part.prompts + 1).all()
    whole = Traffic(times, lengths, lengths, 100.0)
    assert whole.sampled(1.5) is whole


def bursts(each_s: float, at: float, width: float, rate: float = 100) -> Traffic:
    """480 s: a request a second, and in a part of each `each_s` seconds so many a second."""
    slow, fast = np.arange(0, 480, 1.0), np.arange(0, 480, 1 / rate)
    within = fast % each_s / each_s
    times = np.sort(np.concatenate([slow, fast[(within >= at) & (within < at + width)]]))
    return Traffic(times, np.full(times.size, 100), np.full(times.size, 20), 480.0)


def test_stretches_see_what_recurs_at_the_same_place_in_each() -> None:
    """A tenth of each 48th has nearly all requests; a fifth of the time is looked at."""
    traffic = bursts(10.0, 0.9, 0.1)
    part = traffic.sampled(0.2)
    assert part.times_s.size == pytest.approx(0.2 * len(traffic), rel=0.4)


def test_a_burst_that_the_stretches_missed_is_not_missed_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One burst in all: whether stretches see it is luck, the answer holds all the same."""
    monkeypatch.setattr(smallest, "_LOOKED_AT", 60)
    monkeypatch.setattr(smallest, "_FEWEST", 60)
    slo = parse_slo("ttft_p95_ms<=300")
    for at in (0.05, 0.35, 0.65, 0.95):
        traffic = bursts(480.0, at, 0.02, 1000)
        found = smallest_fleet(FITTED, traffic, slo)
        assert all(limit.holds for limit in found.limits), at
        fewer = predict(FITTED, traffic, Fleet(replicas=found.replicas - 1), slo=slo)
        assert not all(limit.holds and limit.decided for limit in fewer.limits), at


def test_a_limit_below_an_idle_servers_latency_needs_no_search() -> None:
    assert smallest_fleet(FITTED, steady(5), parse_slo("ttft_p95_ms<=5")) is None
    with pytest.raises(BadInputError, match="cannot say whether stall_p95_ms<=5"):
        smallest_fleet(FITTED, steady(5), parse_slo("stall_p95_ms<=5"))
