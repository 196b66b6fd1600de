"""A limit held to what was measured."""

from __future__ import annotations

import re
from itertools import product

import msgspec
import pytest

from harness.comparing.compare import compare
from harness.comparing.comparison import Comparison, LimitResult, Value
from harness.comparing.held import verdict
from harness.comparing.recommend import recommend
from harness.evidence.limits import parse_limit
from tests.harness.comparing.made import cell, evidence, graded, load, part, perplexity, suite


def made(limit: str, repeats: int = 3, wobble: float = 0.01) -> Comparison:
    """AWQ takes 0.8 of FP16's time; fp16's e2e p50 at 8 streams is 150 ms."""
    cells = [
        cell(build, level, n, slow * (1 + wobble * ((n + len(build) * level) % 3 - 1)))
        for n, (build, slow), level in product(
            range(1, repeats + 1), (("fp16", 1.0), ("awq", 0.8)), (1, 8)
        )
    ]
    quality = graded(
        {
            "fp16": [suite(None), perplexity(None)],
            "awq": [suite(-0.01, 0.005, categories={"velocity": part(-0.03)}), perplexity(0.03)],
        }
    )
    return compare(evidence(load(cells), quality), baseline="fp16", limits=limit)


def held(limit: str, build: str = "awq", **how: float) -> LimitResult:
    return verdict(parse_limit(limit), build, made(limit, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("e2e_p50_ms@c8<=130", "PASS"),
        ("e2e_p50_ms@c8<=110", "FAIL"),
        ("e2e_p50_ms@c8<=120", "INCONCLUSIVE"),
        ("e2e_p50_ms<=130", "PASS"),
        ("e2e_p50_ms<=100", "FAIL"),
        ("ratio(e2e_p50_ms@c8)<=0.9", "PASS"),
        ("ratio(e2e_p50_ms@c8)<=0.7", "FAIL"),
        ("ratio(aggregate_tps)>=1.1", "PASS"),
        ("error_rate<=5%", "PASS"),
        ("e2e_p50_ms@c4<=500", "INCONCLUSIVE"),
        ("memory_peak_gib<=2", "PASS"),
        ("memory_peak_gib<=0.5", "FAIL"),
        ("ratio(memory_peak_gib)<=1.1", "PASS"),
        ("kv_cache_tokens>=6000", "FAIL"),
        ("first_token_s<=60", "INCONCLUSIVE"),
        ("retained(domain)>=95%", "PASS"),
        ("retained(domain)>=99.9%", "FAIL"),
        ("retained(domain)>=99%", "INCONCLUSIVE"),
        ("difference(domain)>=-2%", "PASS"),
        ("difference(domain/velocity)>=-2.5%", "INCONCLUSIVE"),
        ("difference(domain/velocity)>=-1%", "FAIL"),
        ("retained(velocity)>=50%", "INCONCLUSIVE"),
        ("score(domain)>=80%", "PASS"),
        ("perplexity_rise<=5%", "PASS"),
        ("perplexity_rise(perplexity)<=2%", "FAIL"),
        ("perplexity_rise(perplexity)<=3.2%", "INCONCLUSIVE"),
        ("score(mmlu)>=50%", "INCONCLUSIVE"),
    ],
)
def test_the_interval_decides(limit: str, expected: str) -> None:
    result = held(limit)
    assert result.verdict == expected, result
    assert (result.settle is None) == (expected != "INCONCLUSIVE")
    assert result.text


def test_what_would_settle_it_is_counted() -> None:
    assert re.fullmatch(
        r"about [\d,]+ more repeats? \([\d,]+ in all\)", held("e2e_p50_ms@c8<=121").settle or ""
    )
    assert held("e2e_p50_ms@c4<=500").settle == "measure it (levels measured: c1, c8)"
    assert "more items (" in (held("retained(domain)>=99%").settle or "")
    once = held("aggregate_tps@c8>=100", repeats=1)
    assert (once.verdict, once.settle) == (
        "INCONCLUSIVE", "at least 2 repeats: nothing is known of its noise",
    )  # fmt: skip


def test_of_several_levels_the_one_that_fails_is_told() -> None:
    found = held("e2e_p50_ms<=110")
    assert found.value == pytest.approx(120, rel=0.02)
    assert "at 8 streams" in found.text
    within = held("e2e_p50_ms<=900")
    assert within.text.endswith("(the nearest to the limit of 2)")


def test_the_baseline_holds_what_is_about_itself() -> None:
    for limit in ("retained(domain)>=99.9%", "perplexity_rise<=1%", "ratio(e2e_p50_ms)<=1"):
        assert held(limit, "fp16").verdict == "PASS", limit


def test_a_queue_that_grew_throughout_holds_no_limit() -> None:
    limit = "e2e_p50_ms<=900"
    there = made(limit)
    none = {"e2e_p50_ms": Value(value=None)}
    rows = [msgspec.structs.replace(row, stable=False, metrics=none) for row in there.load]
    found = verdict(parse_limit(limit), "awq", msgspec.structs.replace(there, load=rows))
    assert found.verdict == "FAIL"
    assert "the queue grew throughout" in found.text


def test_what_an_invalid_measurement_says_is_no_verdict() -> None:
    there = made("e2e_p50_ms<=110")
    rows = [msgspec.structs.replace(row, valid=False) for row in there.load]
    there = msgspec.structs.replace(there, load=rows)
    found = verdict(parse_limit("e2e_p50_ms@c8<=110"), "awq", there)
    assert (found.verdict, found.settle) == ("INCONCLUSIVE", "a valid measurement")
    assert found.text.endswith("; that measurement is invalid")
    advice = recommend(there, ())
    assert (advice.build, advice.verdict) == (None, "INCONCLUSIVE")
    assert "awq: what was measured at c1 and c8 is invalid" in advice.unknown[1]
