"""The facts that the IETF drafts ask for, and what of them is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.reports import load_report
from harness.reports.ietf import Fact, ietf_facts, summary

if TYPE_CHECKING:
    from harness.rundir import RunFolder

REPORTED = {"dtype": "float16", "quantization": None, "enable_prefix_caching": True}
LAUNCHED = {
    "argv": ["vllm"], "model": "/models/of/mine", "engine": "vllm", "reported": REPORTED,
}  # fmt: skip


def facts(run: RunFolder, **changes: Any) -> dict[str, Fact]:  # noqa: ANN401 - manifest's values
    found = ietf_facts(run.read_measurements(), {**run.read_manifest(), **changes})
    assert len({fact.name for fact in found}) == len(found)
    assert all((fact.value is None) == bool(fact.missing) for fact in found)
    return {fact.name: fact for fact in found}


def test_a_launched_engine_says_what_it_is(runs: dict[str, RunFolder]) -> None:
    found = facts(runs["closed-4x4"], servers={"awq": LAUNCHED, "fp16": LAUNCHED})
    values = {name: fact.value for name, fact in found.items()}
    assert values["model precision"] == "float16"
    assert values["quantization method"] == "none", "it was asked, and said so"
    assert values["tokenizer"] == "mine; counted by the server", "no folder of this machine"
    assert values["load model"] == "closed loop"
    assert values["prefix caching"] == "on; prompts share no prefix"
    assert str(values["boundary of the system under test"]).startswith("model engine")


def test_what_is_missing_is_named_with_how_to_have_it(runs: dict[str, RunFolder]) -> None:
    unknown = {"url": {"url": "http://h", "engine": "unknown", "reported": {}}}
    found = facts(runs["one-build"], servers=unknown)
    for name, key in (
        ("boundary of the system under test", "sut_boundary"),
        ("model precision", "precision"),
        ("quantization method", "quantization"),
        ("tokenizer", "tokenizer"),
    ):
        assert found[name].value is None
        assert f"--metadata {key}=" in found[name].missing
    told = {"sut_boundary": "AI gateway", "precision": "bf16", "quantization": "awq"}
    found = facts(runs["one-build"], servers=unknown, request={"metadata": told})
    assert found["boundary of the system under test"].value == "AI gateway"
    assert (found["model precision"].value, found["quantization method"].value) == ("bf16", "awq")


def test_builds_that_differ_are_told_apart(runs: dict[str, RunFolder]) -> None:
    other = {**LAUNCHED, "quantization": "awq"}
    found = facts(runs["closed-4x4"], servers={"fp16": LAUNCHED, "awq": other})
    assert found["quantization method"].value == "fp16: none, awq: awq"


def test_too_few_samples_and_no_repeat_are_said(runs: dict[str, RunFolder]) -> None:
    found = facts(runs["one-build"])
    assert "1,000 are asked for" in found["samples for p99"].missing
    assert "--repeats" in found["repeated runs with intervals"].missing
    assert facts(runs["repeats"])["repeated runs with intervals"].value is not None


def test_a_run_of_nothing_has_the_block_too(runs: dict[str, RunFolder]) -> None:
    found = list(facts(runs["no-cells"]).values())
    assert "missing" in summary(found)


def test_markdown_carries_it(runs: dict[str, RunFolder]) -> None:
    run = runs["closed-4x4"]
    assert "ask for" in load_report("markdown").render(run)
