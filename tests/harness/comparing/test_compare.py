"""From evidence to a comparison."""

from __future__ import annotations

import dataclasses
import math
from itertools import product
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.comparing.compare import compare
from harness.comparing.comparison import Comparison
from harness.errors import BadInputError
from tests.harness.comparing.made import (
    LEVELS,
    cell,
    evidence,
    graded,
    load,
    part,
    perplexity,
    server,
    suite,
)

if TYPE_CHECKING:
    from harness.comparing.rows import LevelRow

FACTORS = {"fp16": 1.0, "awq": 0.7}
WOBBLE = (1.0, 1.02, 0.99)


def slowness(build: str, level: float, repeat: int) -> float:
    """AWQ is faster at each level; what a repeat does, it does to all."""
    own = 1 + 0.004 * ((len(build) + round(level) * repeat) % 3 - 1)
    return FACTORS.get(build, 1.0) * WOBBLE[(repeat - 1) % 3] * own


def cells(builds: tuple[str, ...] = ("fp16", "awq"), repeats: int = 3) -> list:
    return [
        cell(build, level, repeat, slowness(build, level, repeat))
        for repeat, build, level in product(range(1, repeats + 1), builds, LEVELS)
    ]


def row(found: Comparison, build: str, level: float) -> LevelRow:
    return next(
        one for one in found.load if one.build == build and one.level == {"concurrency": level}
    )


def test_the_baseline_is_first_and_each_level_has_its_ratio_with_an_interval() -> None:
    found = compare(evidence(load(cells(("awq", "fp16")))), baseline="fp16")
    assert found.builds == ["fp16", "awq"]
    assert [(one.build, one.level["concurrency"]) for one in found.load] == [
        (build, level) for build in ("fp16", "awq") for level in LEVELS
    ]
    against = row(found, "awq", 8).against
    assert row(found, "fp16", 8).against == {}
    assert against["e2e_p50_ms"].ratio == pytest.approx(0.7, rel=0.01)
    assert against["aggregate_tps"].ratio == pytest.approx(1 / 0.7, rel=0.01)
    for metric in ("e2e_p50_ms", "ttft_p95_ms", "aggregate_tps", "sequence_p50_tps"):
        low, high = against[metric].ratio_ci95 or (0.0, 0.0)
        assert low < against[metric].ratio < high
        assert high / low < 1.05, metric
        assert against[metric].side == "better", metric
    assert against["memory_peak_gib"].side == "unlike"
    assert against["error_rate"].side == "unlike"
    value = row(found, "awq", 8).metrics["e2e_p50_ms"]
    assert len(value.repeats) == 3
    assert value.ci95 is not None
    # What a repeat does to all is in a value's interval and not in that of a ratio.
    low, high = against["e2e_p50_ms"].ratio_ci95 or (1.0, 1.0)
    assert math.log(value.ci95[1] / value.ci95[0]) > 1.5 * math.log(high / low)


def test_the_same_evidence_gives_the_same_bytes() -> None:
    first, second = (
        msgspec.json.encode(compare(evidence(load(cells())), baseline="fp16")) for _ in range(2)
    )
    assert first == second
    assert msgspec.json.decode(first, type=Comparison).baseline == "fp16"


def test_one_repeat_has_intervals_of_its_requests_and_says_what_they_hide() -> None:
    found = compare(evidence(load(cells(repeats=1))), baseline="fp16")
    against = row(found, "awq", 8).against
    assert against["e2e_p50_ms"].side == "better"
    assert against["aggregate_tps"].ratio_ci95 is None
    assert against["aggregate_tps"].side == "unlike"
    assert "one_run" in [caveat.code for caveat in found.caveats]
    assert any("one repeat" in text for text in found.recommendation.unknown)


def test_builds_of_two_runs_are_paired_by_the_order_of_their_repeats() -> None:
    apart = evidence(load(cells(("fp16",)), "one"), load(cells(("awq",)), "two"))
    found = compare(apart, baseline="fp16")
    ratio = row(found, "awq", 8).against["e2e_p50_ms"].ratio
    assert ratio == pytest.approx(0.7, rel=0.01)
    assert "fp16: 2026-11-25T00:00:00+00:00; awq: 2026" in next(
        caveat.text for caveat in found.caveats if caveat.code == "apart"
    )


def test_one_build_is_no_comparison() -> None:
    found = compare(evidence(load(cells(("fp16",)))), baseline="fp16")
    assert found.caveats[0].code == "one_build"
    assert found.crossovers == []
    assert found.front is None


def test_a_cell_that_is_missing_is_named_and_the_rest_is_compared() -> None:
    some = [one for one in cells() if not (one.build == "awq" and one.level["concurrency"] == 64)]
    found = compare(evidence(load(some)), baseline="fp16")
    assert row(found, "awq", 32).against["e2e_p50_ms"].side == "better"
    assert [c.text for c in found.caveats if c.code == "missing_cells"] == [
        "closed: not measured: awq at c64."
    ]


def test_what_an_interrupted_repeat_lacks_costs_only_itself() -> None:
    some = [one for one in cells(repeats=2) if (one.repeat, one.build) != (2, "awq")]
    some += [one for one in cells(repeats=2) if one.id in {"awq-1-2", "awq-32-2"}]
    found = compare(evidence(load(some)), baseline="fp16")
    against = {level: row(found, "awq", level).against["aggregate_tps"] for level in LEVELS}
    assert [one.side for one in against.values()] == ["better"] * 4
    wide = {level: (one.ratio_ci95 or (1, 1)) for level, one in against.items()}
    assert math.log(wide[8][1] / wide[8][0]) > 1.3 * math.log(wide[1][1] / wide[1][0])
    # A build with one repeat does not take the others' noise away.
    alone = [
        one for one in cells(("fp16", "awq", "nf4"), 2) if (one.repeat, one.build) != (2, "nf4")
    ]
    assert (
        row(compare(evidence(load(alone)), baseline="fp16"), "awq", 8)
        .against["aggregate_tps"]
        .ratio_ci95
    )


def test_two_repeats_of_noisy_visits_ask_for_a_third() -> None:
    noisy = [
        cell(build, level, n, 1 + 0.2 * ((n + len(build)) % 2))
        for n, build, level in product((1, 2), ("fp16", "awq"), LEVELS)
    ]
    told = {c.code: c.text for c in compare(evidence(load(noisy)), baseline="fp16").caveats}
    assert "about 1.0 degrees of freedom for e2e p50" in told["few_repeats"]
    assert "about 3.6 times as narrow" in told["few_repeats"]  # t(1) / √2 to t(2) / √3


def test_a_margin_counts_on_suites_that_no_limit_speaks_of() -> None:
    quality = graded(
        {"fp16": [suite(None), perplexity(None)], "awq": [suite(-0.002), perplexity(0.08)]}
    )
    found = compare(evidence(quality), baseline="fp16", limits="score(domain)>=50%")
    assert [(o.limit, o.verdict) for o in found.recommendation.limits["awq"]] == [
        ("score(domain)>=50%", "PASS"), ("perplexity_rise(perplexity)<=5%", "FAIL"),
    ]  # fmt: skip


def test_few_answers_are_told() -> None:
    made = [
        cell(build, level, n, 1 + 0.1 * n, answers=79 if level == 1 else 80)
        for n, build, level in product((1, 2), ("fp16", "awq"), LEVELS)
    ]
    found = compare(evidence(load(made)), baseline="fp16", limits="ttft_p95_ms@c1<=900")
    [one] = [caveat for caveat in found.caveats if caveat.code == "few_requests"]
    assert "answers in a cell at c1. A p95" in one.text
    low, high = row(found, "awq", 1), row(found, "awq", 8)
    assert (low.answers, high.answers) == (79, 80)
    assert low.metrics["e2e_p95_ms"].few
    assert low.metrics["e2e_p95_ms"].ci95 is low.against["e2e_p95_ms"].ratio_ci95 is None
    assert not high.metrics["e2e_p95_ms"].few
    assert high.metrics["e2e_p95_ms"].ci95 is not None
    assert low.metrics["e2e_p50_ms"].ci95 is not None
    [limit] = found.recommendation.limits["awq"]
    assert limit.verdict == "INCONCLUSIVE"
    assert limit.settle is not None
    assert "79 are there, 80 needed: a --duration about 1.1 times as long" in limit.settle


def test_nothing_is_shown_by_what_must_not_be_believed() -> None:
    some = [
        msgspec.structs.replace(one, client=msgspec.structs.replace(one.client, valid=False))
        if one.id == "awq-64-1"
        else one
        for one in cells()
    ]
    found = compare(evidence(load(some)), baseline="fp16", prices={"": 1.0})
    assert row(found, "awq", 64).against["aggregate_tps"].side == "unlike"
    assert row(found, "awq", 32).against["aggregate_tps"].side == "better"
    assert not found.valid
    assert found.recommendation.verdict == "INCONCLUSIVE"
    assert found.recommendation.headline.startswith("no recommendation yet; ")
    assert found.cost_levels["awq"] == "c32"


def test_a_part_that_is_gone_is_missed() -> None:
    found = compare(
        dataclasses.replace(evidence(load(cells())), missing=("quality",)), baseline="fp16"
    )
    assert not found.valid
    assert found.recommendation.verdict == "INCONCLUSIVE"
    assert "The part quality is not there." in [one.text for one in found.caveats]


def test_unlike_builds_are_refused_and_told_of_where_that_is_allowed() -> None:
    servers = {"fp16": server(), "awq": server(max_model_len=4096)}
    there = evidence(load(cells(), servers=servers))
    with pytest.raises(BadInputError) as caught:
        compare(there, baseline="fp16")
    assert "max_model_len: fp16 2048, awq 4096" in caught.value.text
    assert "--allow-different" in (caught.value.hint or "")
    found = compare(there, baseline="fp16", allow_different=True)
    assert "max_model_len: fp16 2048, awq 4096" in found.caveats[0].text


def test_another_seed_machine_or_profile_is_refused() -> None:
    one, two = load(cells(("fp16",)), "one"), load(cells(("awq",)), "two")
    profile = {"name": "closed", "prompt_tokens": 512}
    other = load(cells(("awq",)), "two", profile=profile, host={"cpu": "Ryzen", "cores_usable": 2})
    compare(evidence(one, two), baseline="fp16")
    with pytest.raises(
        BadInputError, match=r"profile closed prompt_tokens: fp16 64, awq 512.*machine"
    ):
        compare(evidence(one, other), baseline="fp16")


def test_other_routes_of_one_suite_are_refused() -> None:
    other = msgspec.structs.replace(suite(None), route="loglikelihood")
    there = evidence(graded({"fp16": [suite(None)], "awq": [other]}))
    with pytest.raises(BadInputError, match="route of domain: fp16 generative, awq loglikelihood"):
        compare(there, baseline="fp16")


@pytest.mark.parametrize("name", ["fp61", "none"])
def test_a_baseline_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match=f'baseline "{name}"'):
        compare(evidence(load(cells())), baseline=name)
    with pytest.raises(BadInputError, match='a price is given for "gptq"'):
        compare(evidence(load(cells())), baseline="fp16", prices={"gptq": 1.0})


def test_a_server_has_its_start_its_memory_and_what_its_cache_holds() -> None:
    visits = [
        {"build": build, **server(), "ready_s": ready, "first_token_s": ready + 1}
        for build, times in (("fp16", (20.0, 22.0)), ("awq", (30.0, 31.0)))
        for ready in times
    ]
    found = compare(evidence(load(cells(), visits=visits)), baseline="fp16")
    [_, awq] = found.servers
    assert awq.ready_s is not None
    assert awq.ready_s.repeats == [30.0, 31.0]
    assert awq.ready_s.ci95 is not None
    assert awq.first_token_s is not None
    assert awq.first_token_s.value == pytest.approx(31.5, rel=0.01)
    assert awq.scheme == "4-bit, group 128"
    assert (awq.kernel, awq.kv_cache_tokens, awq.weights_gib) == ("K", 5000, 0.5)
    assert awq.memory_peak_gib is not None
    assert awq.memory_peak_gib.repeats == [1.0, 1.0, 1.0]
    assert awq.arguments["dtype"] == "float16"


def test_the_best_build_within_the_limits_is_recommended() -> None:
    quality = graded(
        {
            "fp16": [suite(None), perplexity(None)],
            "awq": [suite(-0.002), perplexity(0.03)],
            "gptq": [
                suite(-0.06, categories={"velocity": part(-0.06, 0.019)}, regressed=["velocity"]),
                perplexity(0.01),
            ],
        }
    )
    there = evidence(load(cells(("fp16", "awq", "gptq"))), quality)
    found = compare(
        there,
        baseline="fp16",
        limits="e2e_p95_ms@c8<=260,memory_peak_gib<=2",
        prices={"": 2.0},
    )
    advice = found.recommendation
    assert (advice.build, advice.verdict, advice.headline) == ("awq", "PASS", "ship awq")
    assert advice.preferred_by == "the least cost per token"
    assert {b: {one.verdict for one in held} for b, held in advice.limits.items()} == {
        "fp16": {"PASS", "FAIL"}, "awq": {"PASS"}, "gptq": {"PASS", "FAIL"},
    }  # fmt: skip
    said = "\n".join(advice.reasons)
    assert "do not ship gptq: domain: −6.0 points (95 % −7.0 to −5.0)" in said
    assert "; category velocity lost 6.0 points (95 % 4.1–7.9)" in said
    assert "do not ship fp16: e2e p95" in said
    rate = row(found, "awq", 64).metrics["aggregate_tps"].value or 0.0
    assert found.costs["awq"].value == pytest.approx(2.0 / (rate * 3600) * 1e6)
    assert found.cost_levels["awq"] == "c64"
    assert found.front is not None
    assert found.front.members[:2] == ["fp16", "awq"]
    assert set(found.front.objectives) == {
        "domain", "perplexity", "e2e_p50_ms@c1", "aggregate_tps@c64", "memory_peak_gib",
        "usd_per_million_tokens",
    }  # fmt: skip


def test_what_cannot_be_told_names_what_would_settle_it() -> None:
    quality = graded({"fp16": [suite(None)], "awq": [suite(-0.01, 0.03)]})
    found = compare(evidence(load(cells()), quality), baseline="fp16").recommendation
    assert (found.build, found.verdict) == ("fp16", "PASS")
    assert "about 2,100 more items (3,500 in all)" in "\n".join(found.unknown)
    answers = compare(evidence(quality), baseline="fp16").recommendation
    assert answers.headline == (
        "cannot tell yet whether awq can be shipped; "
        "awq takes about 2,100 more items (3,500 in all)"
    )
    assert "no limits on latency or throughput were given" in found.unknown[-1]
    alone = compare(
        evidence(load(cells()), quality),
        baseline="fp16",
        limits="difference(domain)>=-2%,weights_gib<=0.1",
    ).recommendation
    assert (alone.build, alone.verdict) == (None, "FAIL")
    assert alone.headline == "ship none of them: each breaks a limit"


def test_without_load_and_answers_nobody_takes_anybodys_place() -> None:
    found = compare(evidence(graded({"fp16": [], "awq": []})), baseline="fp16")
    assert found.builds == ["fp16", "awq"]
    advice = found.recommendation
    assert (advice.build, advice.verdict) == (None, "INCONCLUSIVE")
    assert advice.headline == "nothing was measured, so no build is told from another"


def test_without_load_it_is_about_answers_alone() -> None:
    quality = graded({"awq": [suite(-0.002)], "gptq": [suite(-0.05)]})
    found = compare(evidence(quality), baseline="fp16")
    assert next((row.build, row.score) for row in found.quality) == ("fp16", 0.9)
    assert found.load == []
    advice = found.recommendation
    assert advice.limits["gptq"][0].verdict == "FAIL"
    assert (advice.build, advice.verdict) == (None, "PASS")
    assert advice.headline.startswith("awq can take the place of fp16 by the answers")
    worse = compare(evidence(graded({"gptq": [suite(-0.05)]})), baseline="fp16").recommendation
    assert (worse.verdict, worse.headline) == ("FAIL", "ship none of them: each breaks a limit")
