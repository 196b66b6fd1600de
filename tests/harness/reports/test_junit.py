"""The JUnit writer, and a load run by it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec
import pytest

from benchmarks.made.evaluation import MadeRun, answers
from harness.measuring.slo import parse_slo
from harness.quality.evaluate import evaluate
from harness.quality.record import write_evaluation
from harness.reports import evaluation, load_report
from harness.reports.junit import hold
from harness.reports.testcases import Case, as_junit, verdict_case

if TYPE_CHECKING:
    from pathlib import Path

    from harness.rundir import RunFolder

HOSTILE = "a<b>&\"'\x00\x1b[31m\ud800￾ ünïcode 😀\nsecond ]]> line"
KEPT = "a<b>&\"'[31m ünïcode 😀\nsecond ]]> line"


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own


def test_counts_and_outcomes() -> None:
    cases = [
        verdict_case("awq", "ttft_p95_ms<=500", "PASS", "12", 2.5),
        verdict_case("awq", "itl_p95_ms<=5", "FAIL", "9 ms\nmore"),
        verdict_case("gptq", "mmlu", "INCONCLUSIVE", "400 more items"),
        verdict_case("gptq", "load", "SKIPPED", "an earlier stage failed"),
        Case(group="gptq", name="valid", outcome="error", text="the client was slow"),
    ]
    root = parsed(as_junit("run", "2026-01-01T00:00:00+00:00", cases, {"seed": "1"}))
    assert root.attrib | {"time": ""} == {
        "name": "run", "tests": "5", "failures": "1", "errors": "1", "skipped": "2", "time": "",
    }  # fmt: skip
    assert [suite.get("name") for suite in root] == ["awq", "gptq"]
    assert root[0].get("time") == "2.500"
    failed = root.find(".//failure")
    assert failed is not None
    assert (failed.get("message"), failed.text) == ("FAIL: 9 ms", "FAIL: 9 ms\nmore")
    skipped = [one.get("message") for one in root.iter("skipped")]
    assert skipped == ["INCONCLUSIVE: 400 more items", "SKIPPED: an earlier stage failed"]
    assert [one.attrib for one in root[0].iter("property")] == [{"name": "seed", "value": "1"}]


def test_untrusted_text_stays_text() -> None:
    case = Case(group=HOSTILE, name=HOSTILE, outcome="failure", text=HOSTILE)
    text = as_junit(HOSTILE, HOSTILE, [case], {HOSTILE: HOSTILE})
    root = parsed(text)
    failure = root.find(".//failure")
    assert failure is not None
    assert failure.text == KEPT
    assert root[0].get("name") == KEPT
    assert root[0][1].get("classname") == KEPT


def test_of_nothing() -> None:
    assert parsed(as_junit("run", "", [])).get("tests") == "0"


def test_an_invalid_cell_is_an_error_and_its_limits_cannot_be_told(
    runs: dict[str, RunFolder],
) -> None:
    root = parsed(load_report("junit").render(runs["invalid"]))
    assert int(root.get("errors", "0")) >= 1
    bad = {
        case.get("classname") for case in root.iter("testcase") if case.find("error") is not None
    }
    limits = [case for case in root.iter("testcase") if case.get("name") != "valid"]
    for case in limits:
        assert case.find("failure") is None or case.get("classname") not in bad


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ("ttft_p95_ms<=LOW", "FAIL"),
        ("ttft_p95_ms<=MID", "INCONCLUSIVE"),
        ("ttft_p95_ms<=HIGH", "PASS"),
        ("aggregate_tps>=1", "PASS"),
        ("aggregate_tps>=1e9", "FAIL"),
        ("error_rate<=100%", "PASS"),
        ("ttft_p99_9_ms<=100000", "INCONCLUSIVE"),
    ],
)
def test_a_limit_is_judged_by_the_interval(
    runs: dict[str, RunFolder], limit: str, verdict: str
) -> None:
    cell = runs["one-build"].read_measurements().cells[0]
    cell = msgspec.structs.replace(cell, client=msgspec.structs.replace(cell.client, valid=True))
    low, high = cell.metrics.ttft_ms.ci95["p95"]
    for name, value in (("LOW", low - 0.01), ("MID", (low + high) / 2), ("HIGH", high + 0.01)):
        limit = limit.replace(name, f"{value:.6f}")
    assert hold(parse_slo(limit).limits[0], cell)[0] == verdict


def test_an_evaluation_fails_by_verdict_and_names_the_category(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers([number != 0 for number in range(200)]))
    run.add("gptq", answers([number not in range(1, 81, 2) for number in range(200)]))
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    root = parsed(evaluation.load_report("junit").render(folder))
    assert [suite.get("name") for suite in root] == ["gptq"]
    failed = [one.get("name") for one in root.iter("testcase") if one.find("failure") is not None]
    assert failed == ["domain", "domain: b"]
    assert "domain: a" in [one.get("name") for one in root.iter("testcase")]
