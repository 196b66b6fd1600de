from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.made.evaluation import MadeRun, answers
from harness.evidence.evidence import read_evidence
from harness.evidence.figures import Figure, figures
from harness.evidence.machines import machine_word
from harness.evidence.metrics import METRICS, canonical
from harness.measuring.slo import observed, parse_slo
from harness.quality.evaluate import evaluate
from harness.quality.record import write_evaluation
from tests.harness.evidence.runs import HOST, a_cell, load_run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.rundir import RunFolder


def found(run: RunFolder, metric: str, **fields: object) -> Figure:
    """The only figure of this name and these fields."""
    there = [
        one
        for one in figures(read_evidence([run]), metrics=[metric])
        if all(getattr(one, name) == value for name, value in fields.items())
    ]
    assert len(there) == 1, there
    return there[0]


def test_a_figure_of_a_cell_has_its_number_and_all_that_decides_on_comparing(
    tmp_path: Path,
) -> None:
    run = load_run(tmp_path / "r1", [a_cell(ttft_p50_ms=51.5)])
    one = found(run, "ttft_p50_ms")
    assert (one.value, one.ci95, one.better) == (51.5, (40.0, 60.0), "less")
    assert (one.build, one.profile, one.level) == ("awq", "closed", {"concurrency": 8.0})
    assert (one.route, one.engine, one.engine_version) == ("openai-completions", "vllm", "0.32.0")
    assert (one.run, one.started, one.valid) == ("r1", "2026-11-25T00:00:00+00:00", True)
    assert one.machine.startswith("AMD-EPYC-7763-2c-")
    assert found(run, "sequence_tps_p50").better == "more"
    ready = found(run, "ready_s")
    assert (ready.value, ready.level, ready.engine_version) == (24.5, None, "0.32.0")


def test_an_interleaved_cell_is_no_like_of_one_that_was_alone(tmp_path: Path) -> None:
    run = load_run(tmp_path / "r1", [a_cell(interleaved_with=["fp16"])])
    assert found(run, "ttft_p50_ms").route == "openai-completions, interleaved"


def test_an_invalid_cell_is_not_believed(tmp_path: Path) -> None:
    run = load_run(tmp_path / "r1", [a_cell(valid=False), a_cell("fp16")])
    assert not found(run, "ttft_p50_ms", build="awq").valid
    assert found(run, "ttft_p50_ms", build="fp16").valid


def test_every_limit_of_an_slo_has_its_figure(tmp_path: Path) -> None:
    cell = a_cell()
    there = {
        one.metric: one.value for one in figures(read_evidence([load_run(tmp_path / "r", [cell])]))
    }
    slo = parse_slo(
        "ttft_p50_ms<=9 ttft_due_p95_ms<=9 itl_p95_ms<=9 stall_max_ms<=9 tpot_mean_ms<=9 "
        "e2e_p99_9_ms<=9 sequence_tps_p95>=1 decode_p90_tps>=1 aggregate_tps>=1 error_rate<=0.1%"
    )
    for limit in slo.limits:
        name = canonical(limit.text.partition("<=")[0].partition(">=")[0])
        assert there[name] == observed(limit, cell)


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("sequence_tps_p50", "sequence_p50_tps"),
        ("itl_ms_p99_9", "itl_p99_9_ms"),
        ("ttft_p95_ms", "ttft_p95_ms"),
        ("aggregate_tps", "aggregate_tps"),
        ("nonsense_p50", "nonsense_p50"),
        ("ttft_ms_p94", "ttft_ms_p94"),
    ],
)
def test_a_metric_has_one_name(spelled: str, name: str) -> None:
    assert canonical(spelled) == name


def test_other_traffic_has_other_conditions_and_another_level_has_not(tmp_path: Path) -> None:
    one = load_run(tmp_path / "a", [a_cell()])
    same = load_run(
        tmp_path / "b", [a_cell()], profile={"name": "x", "levels": [1], "prompt_tokens": 64}
    )
    other = load_run(tmp_path / "c", [a_cell()], profile={"name": "closed", "prompt_tokens": 65})
    told = [found(run, "ttft_p50_ms").conditions for run in (one, same, other)]
    assert told[0] == told[1] != told[2]


def test_the_scores_of_a_suite_its_categories_and_what_changed(tmp_path: Path) -> None:
    made = MadeRun(tmp_path, builds=["gptq"], baseline="fp16")
    made.add("fp16", answers([True] * 40)).add("gptq", answers([n >= 4 for n in range(40)]))
    run = made.folder()
    write_evaluation(run, evaluate(run))
    whole = found(run, "score", category=None)
    assert (whole.value, whole.suite, whole.route, whole.baseline) == (
        0.9,
        "domain",
        "generative",
        None,
    )
    assert found(run, "score", category="a").value == 0.9
    lost = found(run, "difference", category=None)
    assert (lost.value, lost.baseline, lost.better) == (pytest.approx(-0.1), "fp16", "more")
    assert lost.ci95 is not None
    assert found(run, "retained", category=None).value == pytest.approx(0.9)
    assert found(run, "flip_rate", category="b").value == pytest.approx(0.1)
    assert whole.machine == "unknown"


def test_fewer_items_are_other_conditions(tmp_path: Path) -> None:
    told = []
    for name, items in (("a", 40), ("b", 40), ("c", 20)):
        run = MadeRun(tmp_path / name).add("gptq", answers([True] * items)).folder()
        told.append(found(run, "score", category=None).conditions)
    assert told[0] == told[1] != told[2]


def test_a_machine_is_another_one_only_if_it_is_faster_or_slower() -> None:
    word = machine_word(HOST)
    assert machine_word({**HOST, "kernel": "7.0", "python": "3.14", "memory_gib": 15.9}) == word
    for name, value in (
        ("cores_usable", 4),
        ("cpu_limit", 1.5),
        ("memory_limit_gib", 8),
        ("cpu_flags", []),
    ):
        assert machine_word({**HOST, name: value}) != word
    gpu = {"name": "NVIDIA H100 80GB HBM3", "memory_gib": 79.6, "driver": "570"}
    two = machine_word({**HOST, "gpus": [gpu, gpu]})
    assert two.startswith("2x-NVIDIA-H100-80GB-HBM3-")
    assert machine_word({**HOST, "gpus": [gpu, {**gpu, "driver": "580"}]}) == two
    assert machine_word({**HOST, "gpus": [gpu, gpu]}, {"device": "cpu"}) != two


def test_a_server_elsewhere_is_in_the_word() -> None:
    word = machine_word(HOST)
    for url in ("http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:8000/v1"):
        assert machine_word(HOST, {"url": url}) == word
    assert machine_word(HOST, {"url": "https://gpu-3.example:8000/v1"}) == f"{word}->gpu-3.example"
    assert machine_word(None) == "unknown"


def test_every_metric_has_a_unit_that_its_name_agrees_with() -> None:
    for name, metric in METRICS.items():
        for ending, unit in (("_ms", "ms"), ("_tps", "tps"), ("_s", "s"), ("_gib", "GiB")):
            if name.endswith(ending):
                assert metric.unit == unit


def test_a_field_that_an_older_harness_did_not_know_is_no_other_condition(tmp_path: Path) -> None:
    old = {"name": "closed", "prompt_tokens": {"low": 1}}
    new = {"name": "closed", "prompt_tokens": {"low": 1, "high": None}, "think": None}
    told = [
        found(load_run(tmp_path / name, [a_cell()], profile=profile), "ttft_p50_ms").conditions
        for name, profile in (("a", old), ("b", new))
    ]
    assert told[0] == told[1]


def test_every_start_of_a_server_has_its_figures(tmp_path: Path) -> None:
    reported = {"model_memory_gib": 1.5, "kv_cache_gib": 2.25}
    first = {"ready_s": 20.0, "first_token_s": 21.0, "reported": reported, "weights": {"bytes": 9}}
    visits = [
        {"build": "awq", "visit": 1, **first},
        {"build": "fp16", "visit": 1, "ready_s": 30.0},
        {"build": "awq", "visit": 2, "ready_s": 22.0},
    ]
    servers = {"awq": first, "fp16": {"ready_s": 30.0}}
    cells = [a_cell(), a_cell("fp16")]
    run = load_run(tmp_path / "r", cells, servers=servers, visits=visits)
    ready = figures(read_evidence([run]), metrics=["ready_s"])
    assert [(one.build, one.repeat, one.value) for one in ready] == [
        ("awq", 1, 20.0),
        ("fp16", 1, 30.0),
        ("awq", 2, 22.0),
    ]
    assert {one.engine_version for one in ready} == {"0.32.0"}
    assert found(run, "first_token_s").value == 21.0
    assert found(run, "weights_gib").value == 1.5, "what it holds, not what lies on the disk"
    assert found(run, "kv_cache_gib").value == 2.25
