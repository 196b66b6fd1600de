from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from scipy import stats

from harness.errors import ExitCode
from harness.gating.judge import Tried, decide
from harness.gating.record import GateManifest, Side, StageRecord
from harness.gating.result import GateResult
from harness.gating.run import exit_code
from harness.gating.trial import Trial, holm
from harness.measuring.measurement import RunInfo

if TYPE_CHECKING:
    from evals.compare.records import Verdict


def manifest(*stages: StageRecord) -> GateManifest:
    return GateManifest(
        run=RunInfo(id="r", path="r", started="", command="", seed=0, harness_version=""),
        candidate=Side(build="awq"),
        baseline=Side(build="fp16"),
        rules_file="default",
        rules={},
        stages=list(stages),
        elapsed_s=60,
    )


def stage(name: str = "domain", **more: object) -> StageRecord:
    fields = {"name": name, "ended": "done", "tests": 1} | more
    return StageRecord(**fields)  # type: ignore[arg-type]


def tried(stage: str = "domain", *trials: Trial, **more: object) -> Tried:
    fields = {"stage": stage, "rule": f"rule of {stage}", "trials": trials} | more
    return Tried(**fields)  # type: ignore[arg-type]


def trial(p_pass: float | None = 0.5, p_fail: float | None = 0.5, **more: object) -> Trial:
    fields = {"value": 0.9, "text": "found", "p_pass": p_pass, "p_fail": p_fail} | more
    return Trial(**fields)  # type: ignore[arg-type]


def test_kept_rules_pass() -> None:
    result = decide(manifest(stage()), [tried("domain", trial(0.01, 0.99))])
    assert result.verdict == "PASS"
    assert result.reason == "All 1 rules are kept."
    assert [one.verdict for one in result.stages] == ["PASS"]


def test_one_rule_that_cannot_be_told_is_no_pass() -> None:
    result = decide(
        manifest(stage(), stage("load")),
        [tried("domain", trial(0.01, 0.99)), tried("load", trial(settle="2 more repeats"))],
    )
    assert result.verdict == "INCONCLUSIVE"
    assert result.reason == "rule of load cannot be told: found; 2 more repeats would settle it."
    assert result.rules[1].settle == "2 more repeats"


def test_a_broken_rule_names_its_category() -> None:
    parts = [trial(0.9, 0.001, name="red", excess=3), trial(0.01, 0.9, name="blue")]
    result = decide(manifest(stage(tests=2)), [tried("domain", *parts)])
    assert result.verdict == "FAIL"
    assert result.rules[0].category == "red"
    assert result.rules[0].text == "red: found"
    assert result.rules[0].p_fail == pytest.approx(0.002)
    assert result.reason.startswith("rule of domain is broken: red: found")


def test_failing_is_corrected_for_all_tests_that_were_planned() -> None:
    one = [tried("domain", trial(0.99, 0.02))]
    assert decide(manifest(stage()), one).verdict == "FAIL"
    later = stage("load", ended="not_begun", tests=4)
    assert decide(manifest(stage(), later), one).verdict == "INCONCLUSIVE"


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 4) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.5], 5) == pytest.approx([0.05, 1])
    assert holm([], 3) == []


def test_false_alarms_of_many_rules_stay_within_five_in_a_hundred() -> None:
    rng = stats.uniform.rvs(size=(4000, 13), random_state=1)
    alarms = sum(min(holm(list(row), 13)) < 0.05 for row in rng)
    assert alarms / 4000 == pytest.approx(0.05, abs=0.012)


def test_after_a_failure_what_was_not_begun_is_skipped() -> None:
    result = decide(
        manifest(stage(), stage("load", ended="not_begun", text="a rule before it is broken")),
        [
            tried("domain", trial(1, 0.0001)),
            tried("load", unknown="a rule before it is broken"),
        ],
    )
    assert [rule.verdict for rule in result.rules] == ["FAIL", "SKIPPED"]
    assert [one.verdict for one in result.stages] == ["FAIL", "SKIPPED"]


def test_a_stage_that_could_not_be_asked_does_not_count_but_is_told() -> None:
    result = decide(
        manifest(stage(), stage("downstream", ended="skipped", text="no data sets here")),
        [
            tried("domain", trial(0.01, 0.99)),
            tried("downstream", unknown="no data sets here", skipped=True),
        ],
    )
    assert result.verdict == "PASS"
    assert result.reason == "All 1 rules are kept; 1 were not judged."
    assert [caveat.code for caveat in result.caveats] == ["stage_skipped"]
    nothing = decide(
        manifest(stage("downstream", ended="skipped")),
        [tried("downstream", unknown="no data sets here", skipped=True)],
    )
    assert nothing.verdict == "INCONCLUSIVE"


def test_time_that_ran_out_is_no_verdict() -> None:
    result = decide(
        manifest(stage(ended="out_of_time")), [tried(unknown="out of time", settle="about 40 s")]
    )
    assert result.verdict == "INCONCLUSIVE"
    assert "about 40 s would settle it" in result.reason


def test_a_broken_contract_fails() -> None:
    result = decide(
        manifest(stage("contract", ended="failed", text="no route"), stage(ended="not_begun")),
        [tried(unknown="not begun")],
    )
    assert result.verdict == "FAIL"
    assert result.reason == "contract is broken: no route."
    assert [rule.verdict for rule in result.rules] == ["FAIL", "SKIPPED"]


def test_what_must_not_be_believed_is_told() -> None:
    result = decide(
        manifest(stage("load")), [tried("load", unknown="too busy", invalid=("too busy",))]
    )
    assert (result.verdict, result.valid) == ("INCONCLUSIVE", False)
    assert [(caveat.text, caveat.invalidates) for caveat in result.caveats] == [("too busy", True)]


def test_a_value_as_seen_decides_without_a_test() -> None:
    for verdict in ("PASS", "FAIL"):
        one = tried("load", trial(None, None, as_seen=verdict))
        assert decide(manifest(stage("load")), [one]).verdict == verdict


def test_the_result_is_written_and_read() -> None:
    result = decide(manifest(stage()), [tried("domain", trial(0.01, 0.99, ci95=(0.8, 0.95)))])
    assert msgspec.json.decode(msgspec.json.encode(result), type=GateResult) == result


@pytest.mark.parametrize(
    ("verdict", "valid", "so_far", "code"),
    [
        ("PASS", True, ExitCode.OK, 0),
        ("FAIL", True, ExitCode.OK, 1),
        ("FAIL", False, ExitCode.OK, 1),
        ("INCONCLUSIVE", True, ExitCode.OK, 5),
        ("INCONCLUSIVE", False, ExitCode.OK, 4),
        ("PASS", False, ExitCode.OK, 4),
        ("PASS", True, ExitCode.SERVER, 3),
        ("FAIL", True, ExitCode.INTERRUPTED, 130),
    ],
)
def test_exit_codes(verdict: Verdict, so_far: ExitCode, code: int, *, valid: bool) -> None:
    result = GateResult(
        candidate="awq", baseline="fp16", rules_file="default", verdict=verdict,
        rules=[], stages=[], elapsed_s=1, valid=valid,
    )  # fmt: skip
    assert exit_code(result, so_far) == code
