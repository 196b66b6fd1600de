"""Whether builds differ in nothing but their weights."""

import pytest

from harness.comparing.alike import check_alike, of_evidence, together, unlike, unlike_builds
from harness.errors import BadInputError
from launchers.build import Build
from tests.harness.comparing.made import cell, evidence, load, server


def build(name: str, **fields: object) -> Build:
    told = {"model": f"demo:{name}", "quantization": name, "dtype": "float16"} | fields
    return Build(name=name, **told)  # type: ignore[arg-type]


def test_weights_and_their_loading_may_differ() -> None:
    fp16, nf4 = build("fp16"), build("nf4", arguments={"quantization": "bitsandbytes"})
    loaded = build("awq", arguments={"load-format": "auto"}, ready_timeout_s=5, description="x")
    assert unlike_builds([fp16, nf4, loaded], "fp16") == []
    assert check_alike([], allow_different=False) == []


def test_all_else_is_told_and_an_argument_left_out_counts() -> None:
    other = build(
        "awq", dtype="bfloat16", max_model_len=4096, arguments={"max_num_seqs": 8},
        environment={"VLLM_CPU_KVCACHE_SPACE": "2"},
    )  # fmt: skip
    assert unlike_builds([build("fp16", max_model_len=2048), other], "fp16") == [
        "dtype: fp16 float16, awq bfloat16",
        "max_model_len: fp16 2048, awq 4096",
        "max_num_seqs: fp16 (not set), awq 8",
        "environment VLLM_CPU_KVCACHE_SPACE: fp16 (not set), awq 2",
    ]


def test_values_that_may_be_secrets_differ_and_stay_hidden() -> None:
    builds = [
        build(name, environment={"SOME_TOKEN": token, "OTHER": "same"}, arguments={"hf_token": arg})
        for name, token, arg in (("fp16", "abc123", "x1"), ("awq", "def456", "x2"))
    ]
    assert unlike_builds(builds, "fp16") == [
        "hf_token: fp16 *** 1, awq *** 2",
        "environment SOME_TOKEN: fp16 *** 1, awq *** 2",
    ]


def test_what_a_server_says_stands_in_place_of_what_its_file_said() -> None:
    known = ["dtype: a auto, b half", "environment X: a 1, b (not set)"]
    assert together(known, ["dtype: a bfloat16, b float16", "cpus: a 0, b 1"]) == [
        "dtype: a bfloat16, b float16", "cpus: a 0, b 1", "environment X: a 1, b (not set)",
    ]  # fmt: skip


def test_only_those_unlike_the_baseline_are_named() -> None:
    facts = {name: {"dtype": ["float16"]} for name in ("fp16", "awq")} | {"nf4": {"dtype": ["x"]}}
    assert unlike(facts, "fp16") == ["dtype: fp16 float16, nf4 x"]
    assert unlike({"a": {"dtype": ["x"]}, "b": {}}, "a") == []
    twice = {"a": {"engine_version": ["1"]}, "b": {"engine_version": ["1", "2"]}}
    assert unlike(twice, "a") == ["engine_version: a 1, b 1 and 2"]


def test_a_name_cannot_steer_the_terminal() -> None:
    [line] = unlike({"a": {"x": ["1"]}, "b": {"x": ["\x1b[31m"]}}, "a")
    assert "\x1b" not in line


def test_refused_or_a_caveat() -> None:
    with pytest.raises(BadInputError, match="differ in more than their weights: dtype"):
        check_alike(["dtype: a x, b y"], allow_different=False)
    [caveat] = check_alike(["dtype: a x, b y"], allow_different=True)
    assert (caveat.code, caveat.invalidates) == ("unlike", False)


def test_an_argument_is_read_whichever_way_it_is_written() -> None:
    def started(*argv: str) -> dict[str, dict[str, list[str]]]:
        return {
            name: of_evidence(
                evidence(load([cell(name, 1, 1)], servers={name: server() | {"argv": words}})),
                [name],
            )[name]
            for name, words in zip(("a", "b"), (argv[0].split(), argv[1].split()), strict=True)
        }

    assert unlike(started("v --max-num-seqs 4 --eager", "v --max-num-seqs=4 --eager"), "a") == []
    assert unlike(started("v --seed -1 -q", "v --seed=-1 -q"), "a") == []
    assert unlike(started("v --max-num-seqs 4", "v --max-num-seqs 8 --port 2"), "a") == [
        "max_num_seqs: a 4, b 8"
    ]
    llama = "v --model {} --alias {} --parallel 4"
    assert unlike(started(llama.format("x", "x"), llama.format("y", "y")), "a") == []
    assert unlike(started("v --eager -p 1 --host x", "v --host y -p 2"), "a") == ["p: a 1, b 2"]
