from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.errors import BadInputError
from harness.reports.sizing import markdown_of, print_sizing
from harness.sizing.demand import demand_of
from harness.sizing.record import Demand, Sizing, Terms
from harness.sizing.sizing import check_builds, size
from tests.harness.sizing.made import supply, trace

PEAK = Demand(source="50", peak_rate=50.0)
PRICED = Terms(price_per_gpu_hour={"": 2.0})


def terms(**changes: Any) -> Terms:  # noqa: ANN401
    return msgspec.structs.replace(PRICED, **changes)


def shown(sizing: Sizing) -> tuple[str, str]:
    out = io.StringIO()
    print_sizing(sizing, Console(file=out, width=200, highlight=False))
    return out.getvalue(), markdown_of(sizing)


def test_builds_sized_by_unlike_measurements_are_not_taken_to_compare() -> None:
    def codes(**basis: str) -> list[str]:
        known = [supply(build, basis=kind) for build, kind in basis.items()]
        return [one.code for one in size(known, "slo", PEAK, PRICED).caveats]

    assert codes(a="search", b="open levels") == ["bases_differ"]
    assert codes(a="closed levels", b="open levels") == ["bases_differ"]
    assert codes(a="search", b="search") == []
    nothing = [supply("a"), supply("b", rate=None, basis="nothing held")]
    assert not size(nothing, "slo", PEAK, PRICED).caveats, "a build that holds nothing has no rate"


def test_an_answer_by_hand() -> None:
    # 10/s (8 to 12.5), 20 % free: 8/s each, so 50/s take 7 (5 to 8), and one to spare
    found = size([supply(rate_ci95=(8.0, 12.5))], "slo", PEAK, PRICED)
    assert (found.max_rate, found.replicas, found.replicas_range) == (10.0, 8, (6, 9))
    [one] = found.builds
    assert one.fleets[0].serving == 7
    assert one.fleets[0].usd_per_month == pytest.approx(8 * 2 * 730)
    assert one.fleets[0].usd_per_month_range == (pytest.approx(6 * 1460), pytest.approx(9 * 1460))
    assert [(f.failed, f.holds) for f in one.fleets[0].failing] == [(0, True), (1, True), (2, True)]
    # USD 16 an hour over 50 requests/s of 150 tokens
    assert found.cost_per_million_tokens is not None
    assert found.cost_per_million_tokens.at == "demand"
    assert found.cost_per_million_tokens.blended == pytest.approx(16 / (50 * 3600 * 150) * 1e6)
    assert one.cost_at_capacity is not None
    assert one.cost_at_capacity.per_request.value == pytest.approx(2 / 36_000)
    assert one.cost_at_capacity.per_request.range == (
        pytest.approx(2 / 45_000), pytest.approx(2 / 28_800),
    )  # fmt: skip
    assert one.text == (
        "8 (6–9) replicas: 7 for a peak of 50.0/s, each holding 10.0/s (8.00–12.5) with 20.0 % of "
        "it left free, and 1 to spare; USD 11,680 (8,760–13,140) a month, USD 0.593 (0.444–0.667) "
        "a million tokens."
    )


def test_quiet_hours_are_paid_for_and_where_unknown_it_is_told() -> None:
    day = msgspec.structs.replace(PEAK, mean_rate=10.0)
    known, unknown = (size([supply()], "slo", d, PRICED).builds[0] for d in (day, PEAK))
    assert known.cost is not None
    assert unknown.cost is not None
    assert known.cost.per_request.value == pytest.approx(5 * unknown.cost.per_request.value)
    assert any("quiet hours" in text for text in unknown.unknown)
    assert not any("quiet hours" in text for text in known.unknown)


def test_growth_month_by_month() -> None:
    found = size([supply()], "slo", PEAK, terms(growth_per_month=0.1, months=12, spare=0))
    fleets = found.builds[0].fleets
    assert [fleet.month for fleet in fleets] == list(range(13))
    assert fleets[12].peak_rate == pytest.approx(50 * 1.1**12)
    assert fleets[0].replicas == 7
    assert found.replicas == fleets[12].replicas == 20  # 156.9 / 8 = 19.6
    terminal, markdown = shown(found)
    assert "Replicas month by month" in terminal
    assert "| 12 | 157 |" in markdown


def test_without_a_demand_there_is_a_price_but_no_number_of_replicas() -> None:
    found = size([supply()], "slo", None, PRICED)
    assert found.replicas is None
    assert found.cost_per_million_tokens is not None
    assert found.cost_per_million_tokens.at == "capacity"
    assert "How many replicas: no --demand." in found.builds[0].unknown


def test_without_a_rate_there_is_no_number_of_replicas() -> None:
    found = size([supply(rate=None, basis="nothing held")], "slo", PEAK, PRICED)
    assert (found.replicas, found.cost_per_million_tokens, found.cheapest) == (None, None, None)
    assert "No measured level held the limits" in found.builds[0].text
    assert found.text == "No build holds the limits and fits its memory."


def test_the_least_of_several_by_money() -> None:
    dear = supply("fp16", 20.0, rate_ci95=(19.0, 21.0))
    cheap = supply("awq", 10.0, rate_ci95=(9.5, 10.5))
    by = terms(price_per_gpu_hour={"fp16": 8.0, "awq": 2.0}, spare=0)
    found = size([dear, cheap], "slo", PEAK, by)
    assert found.cheapest == "awq"
    assert found.text.startswith("awq takes the least: USD 10,220 a month.")
    assert found.replicas == 4, "what lies outside builds is the first build's"
    alike = size([supply("a", rate_ci95=(8.0, 12.0)), supply("b", 9.9)], "slo", PEAK, PRICED)
    assert "That b would take more is not shown" in alike.text


def test_what_does_not_fit_its_memory_is_not_the_least() -> None:
    small = supply("awq", 40.0, max_model_len=1000.0)
    found = size([supply("fp16"), small], "slo", PEAK, terms(context_tokens=2000))
    assert found.cheapest == "fp16"
    assert [caveat.code for caveat in found.caveats] == ["memory"]
    assert "Not counted: awq" in found.text


def test_gpus_decide_where_a_price_is_missing() -> None:
    by = terms(price_per_gpu_hour={"a": 1.0}, gpus_per_replica={"b": 4}, spare=0)
    found = size([supply("a", 10.0), supply("b", 20.0)], "slo", PEAK, by)
    assert found.text.startswith("a takes the least: 7.00 GPUs")
    assert [one.fleets[0].gpus for one in found.builds] == [7, 16]


def test_gpus_are_those_that_were_seen_unless_it_is_said() -> None:
    seen = size([supply(gpus=2)], "slo", PEAK, PRICED)
    assert (seen.builds[0].gpus_per_replica, seen.builds[0].fleets[0].gpus) == (2, 16)
    assert seen.builds[0].cost_at_capacity is not None
    assert seen.builds[0].cost_at_capacity.usd_per_hour == 4.0
    said = size([supply(gpus=2)], "slo", PEAK, terms(gpus_per_replica={"": 4}))
    assert said.builds[0].fleets[0].gpus == 32
    assert [caveat.code for caveat in said.caveats] == ["gpus_differ"]


def test_a_trace_over_the_day_and_other_lengths_than_were_measured() -> None:
    times = [n / 20 for n in range(200)] + [10 + n for n in range(60)]
    demand = demand_of(trace(times, prompt=1000), "t.csv", 10.0)
    found = size([supply()], "slo", demand, PRICED)
    day = found.builds[0].day
    assert day is not None
    cost = found.builds[0].cost
    assert cost is not None
    assert cost.per_million_tokens is not None
    assert cost.per_million_tokens.value == pytest.approx(cost.per_request.value / 1050 * 1e6)
    assert day.replicas[0] == 4  # 20/s of 8/s each, and one to spare
    assert day.replicas[1:] == [2] * 5
    assert any("its prompts have 1,000 tokens" in text for text in found.builds[0].unknown)
    assert not any("its outputs have" in text for text in found.builds[0].unknown)
    terminal, markdown = shown(found)
    for text in (terminal, markdown):
        assert "2 to 4 replicas" in text
        assert "Could not be told" in text


def test_scaling_that_was_measured_is_no_assumption() -> None:
    alone, pair = (size([supply(**c)], "slo", PEAK, PRICED).builds[0] for c in (
        {}, {"rate": 15.0, "servers": 2, "efficiency": 0.75},
    ))  # fmt: skip
    assert any("How replicas add up" in text for text in alone.unknown)
    assert not any("How replicas add up" in text for text in pair.unknown)
    assert any("How more than 2 replicas add up" in text for text in pair.unknown)
    assert pair.supply.efficiency == 0.75
    assert pair.fleets[0].serving == 9  # 50 / (7.5 · 0.8) = 8.3


@pytest.mark.parametrize(
    ("given_terms", "said"),
    [
        (terms(price_per_gpu_hour={"awk": 1.0}), '--price-per-gpu-hour: "awk" is not among .*awq'),
        (terms(gpus_per_replica={"awk": 1}), '--gpus-per-replica: "awk" is not among .*awq'),
    ],
)
def test_builds_that_are_not_there(given_terms: Terms, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        check_builds(["awq", "fp16"], given_terms)
    check_builds(["awk"], given_terms)


def test_a_trace_is_no_demand_of_sessions() -> None:
    demand = demand_of(trace([0, 1, 2, 3]), "t", 1.0)
    with pytest.raises(BadInputError, match="measured in sessions/s"):
        size([supply(unit="sessions/s")], "slo", demand, PRICED)


def test_what_sessions_cost_is_shared_out_over_all_their_turns() -> None:
    demand = Demand(source="50", peak_rate=50.0, mean_rate=10.0)
    sessions = supply(unit="sessions/s", turns=3.0)
    [one] = size([sessions], "slo", demand, PRICED).builds
    [alone] = size([supply()], "slo", demand, PRICED).builds
    assert one.fleets == alone.fleets, "replicas are by sessions/s"
    for cost, other in ((one.cost, alone.cost), (one.cost_at_capacity, alone.cost_at_capacity)):
        assert cost is not None
        assert other is not None
        assert cost.rate == pytest.approx(3 * other.rate)
        assert cost.per_request.value == pytest.approx(other.per_request.value / 3)
        assert cost.per_million_tokens is not None
        assert other.per_million_tokens is not None
        assert cost.per_million_tokens.value == pytest.approx(other.per_million_tokens.value / 3)


@given(
    st.floats(0.1, 1e5), st.floats(0.1, 1e3), st.floats(0, 0.9), st.integers(0, 5),
    st.floats(0, 1), st.integers(0, 24), st.floats(1.01, 5),
)  # fmt: skip
def test_more_of_anything_is_never_cheaper(
    peak: float, rate: float, headroom: float, spare: int, growth: float, months: int, more: float
) -> None:
    base = terms(headroom=headroom, spare=spare, growth_per_month=growth, months=months)

    def usd(by: Terms, demand: float, holds: float = rate) -> float:
        asked = Demand(source="", peak_rate=demand)
        found = size([supply(rate=holds)], "slo", asked, by).builds[0].fleets[-1].usd_per_month
        assert found is not None
        return found

    start = usd(base, peak)
    assert usd(base, peak * more) >= start
    assert usd(base, peak, rate / more) >= start
    wider = min(0.95, headroom * more)
    assert usd(msgspec.structs.replace(base, headroom=wider), peak) >= start
    assert usd(msgspec.structs.replace(base, spare=spare + 1), peak) > start
    assert usd(msgspec.structs.replace(base, months=months + 1), peak) >= start


def test_what_comes_from_files_cannot_steer_a_page() -> None:
    evil = supply("a|b<script>\x1b[31m")
    terminal, markdown = shown(size([evil], "slo", PEAK, PRICED))
    assert "\x1b" not in terminal
    assert "<script>" not in markdown
    assert "a|b" not in markdown.replace("a\\|b", "")


def test_it_is_json_and_back() -> None:
    found = size([supply(rate_ci95=(8.0, 12.5), power_w=300.0, gpus=1)], "slo", PEAK, PRICED)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Sizing) == found
