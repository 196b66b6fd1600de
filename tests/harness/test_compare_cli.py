"""`harness compare` up to the moment at which a server would be started."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.__main__ import main
from harness.cli.compare import _DEFAULTS, _KEPT, request_of
from harness.comparing.plan import plan_comparison

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run what must be refused; return what is said of it."""
    assert main(["compare", *argv]) == 2
    return capsys.readouterr().err


def test_a_dry_run_says_the_order_and_starts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["fp16", "awq", "nf4", "--level", "1,8", "--limit", "40", "--repeats", "2"]
    argv += ["--dry-run", "--json"]
    assert main(["compare", *argv]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [one["build"] for one in plan["visits"]] == ["fp16", "awq", "nf4", "nf4", "awq", "fp16"]
    assert [one["visit"] for one in plan["visits"]] == [1, 1, 1, 2, 2, 2]
    assert [bool(one["suites"]) for one in plan["visits"]] == [True] * 3 + [False] * 3
    assert plan["cells"] == 12
    assert plan["items"] == {"domain": 40, "perplexity": 40}
    assert plan["about_s"] == pytest.approx(sum(one["about_s"] for one in plan["visits"]))
    assert list(tmp_path.iterdir()) == []


def test_four_builds_as_they_come_take_less_than_twenty_minutes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", "fp16", "gptq", "awq", "nf4", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["visits"]) == 8
    assert plan["cells"] == 32
    assert plan["about_s"] < 20 * 60


def test_two_builds_are_measured_six_times(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "fp16", "awq", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "12 server starts: fp16 awq awq fp16 fp16 awq" in told
    assert "6 repeats (as usual for 2 builds" in told.replace("\n", " ")


def test_the_baseline_comes_first_wherever_it_is_named() -> None:
    given = {name: _DEFAULTS.get(name) for name in _KEPT} | {
        "names": ("awq", "nf4"), "baseline": "fp16", "limit": 10,
        "slo": "ttft_p95_ms<=500,retained(domain)>=95%", "price_per_hour": "2.5,awq=1",
    }  # fmt: skip
    request = request_of(given, ["harness", "compare"])
    assert [build.name for build, _ in request.builds] == ["fp16", "awq", "nf4"]
    assert request.weighing.baseline == "fp16"
    assert request.weighing.prices == {"": 2.5, "awq": 1.0}
    assert request.quality.baseline == request.builds[0]
    assert str(request.load.slo) == "ttft_p95_ms<=500"  # what a cell alone can be held to
    plan = plan_comparison(request, {})
    once = ["fp16", "awq", "nf4", "nf4", "awq", "fp16"]
    assert [one.build for one in plan.visits] == once * 2
    assert (request.load.repeats, request.asked["repeats"]) == (4, 4)


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        ([], "one build is no comparison"),
        (["fp16"], "one build is no comparison"),
        (["fp16", "fp16"], '"fp16" is there twice'),
        (["fp16", "awk"], 'did you mean "awq"'),
        (["fp16", "awq", "--slo", "ttft_p95_ms@c7<=500"], "the level c7, which is not measured"),
        (["fp16", "awq", "--slo", "goodput>=1"], "e.g. ttft_ms<=500,itl_ms<=50,goodput>=1"),
        (["fp16", "awq", "--slo", "ttft_ms@c8<=9,error_rate<=1%,goodput@c8>=1"], "none is given"),
        (["fp16", "awq", "--slo", "ttft_p95<=500"], "ttft_p95"),
        (["fp16", "awq", "--price-per-hour", "awk=2"], '"awk" is not among the builds'),
        (["fp16", "awq", "--price-per-hour", "awq=cheap"], '"cheap" is no price'),
        (["--price-per-hour", "awq=1,awq=2", "fp16", "awq"], '"awq" is there twice'),
        (["fp16", "awq", "--rate", "3"], "keeps streams open"),
        (["fp16", "awq", "--suite", "domian"], 'did you mean "domain"'),
        (["fp16", "awq", "--repeats", "0"], "--repeats: 0"),
        (["fp16", "awq", "--resume", "runs/x"], "no run folder"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    argv: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert part in told(argv, capsys)
    assert list(tmp_path.iterdir()) == []


def test_builds_that_differ_in_more_than_their_weights_are_refused_unless_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "harness.toml").write_text(
        '[builds.short]\nmodel = "demo:awq"\nquantization = "awq"\ndtype = "float16"\n'
        'max_model_len = 1024\nenvironment = { VLLM_CPU_KVCACHE_SPACE = "1" }\n'
    )
    argv = ["fp16", "short", "--dry-run", "--limit", "20"]
    text = told(argv, capsys)
    assert "max_model_len: fp16 2048, short 1024" in text
    assert "--allow-different" in text
    capsys.readouterr()
    assert main(["compare", *argv, "--allow-different"]) == 0
    told_again = capsys.readouterr().out
    assert "differ in more than their weights: max_model_len: fp16 2048, short 1024" in told_again


def test_a_tokenizer_that_the_hub_still_has_is_told_how_to_get(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no --tokenizer at `gate`, and none would be needed once the model is here."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "harness.toml").write_text(
        "".join(f'[builds.{name}]\nmodel = "org/{name}"\n' for name in ("theirs", "others"))
    )
    text = told(["theirs", "others", "--suite", "perplexity", "--dry-run"], capsys)
    assert "is not in this machine's cache of the model hub" in text
    assert "`harness serve " in text
