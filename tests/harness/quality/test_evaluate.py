from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest

import harness
from benchmarks.made.evaluation import MadeRun, answers
from evals.records import Answer
from evals.store import ANSWERS_FILE
from harness.errors import BadInputError, ExitCode
from harness.quality.evaluate import evaluate, exit_code
from harness.quality.evaluation import Evaluation, Evaluations
from harness.quality.record import read_evaluation, write_evaluation

N = 400


def right(wrong: range | list[int]) -> list[bool]:
    return [number not in wrong for number in range(N)]


def one(run: MadeRun) -> Evaluation:
    found = evaluate(run.folder())
    assert isinstance(found, Evaluation)
    return found


def test_a_build_by_itself(tmp_path: Path) -> None:
    found = one(MadeRun(tmp_path).add("gptq", answers(right(range(40)))))
    [suite] = found.suites
    assert (suite.suite, suite.route, suite.items, suite.errors) == ("domain", "generative", N, 0)
    assert suite.score == pytest.approx(0.9)
    assert suite.ci95 is not None
    assert 0.86 < suite.ci95[0] < 0.9 < suite.ci95[1] < 0.94
    assert {name: part.items for name, part in suite.categories.items()} == {"a": 200, "b": 200}
    assert suite.baseline is None
    assert found.valid
    assert exit_code(found, ExitCode.OK, gated=True) is ExitCode.OK


@pytest.mark.parametrize(
    ("tokenizers", "told"),
    [
        ({"gptq": "aa", "fp16": "bb"}, ["other_tokenizer"]),
        ({"gptq": "aa", "fp16": "aa"}, []),
        ({"gptq": "aa"}, []),
    ],
)
def test_other_tokenizers_are_told(
    tmp_path: Path, tokenizers: dict[str, str], told: list[str]
) -> None:
    run = MadeRun(tmp_path, baseline="fp16", tokenizers=tokenizers)
    found = one(run.add("fp16", answers([True] * 9)).add("gptq", answers([True] * 9)))
    assert [caveat.code for caveat in found.caveats] == told
    assert found.valid


def test_against_a_baseline(tmp_path: Path) -> None:
    lost, gained = list(range(1, 61, 2)), [0, 2]  # 30 of category b, 2 of category a
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers(right(gained))).add("gptq", answers(right(lost)))
    found = one(run)
    against = found.suites[0].baseline
    assert against is not None
    assert (against.build, against.pairs) == ("fp16", N)
    assert against.difference == pytest.approx(-28 / N)
    assert against.difference_ci95 is not None
    assert against.difference_ci95[1] < 0
    assert against.flips is not None
    assert (against.flips.lost, against.flips.gained) == (30, 2)
    assert against.retained == pytest.approx((N - 30) / (N - 2))
    assert against.p_value is not None
    assert against.p_value < 1e-5
    assert against.regressed == ["b"]
    assert against.verdict == "FAIL"
    assert found.quality is not None
    assert found.quality.score == pytest.approx(against.retained)
    assert found.valid
    assert exit_code(found, ExitCode.OK, gated=True) is ExitCode.FAIL
    assert exit_code(found, ExitCode.OK, gated=False) is ExitCode.OK


@pytest.mark.parametrize(
    ("lost", "verdict", "code"),
    [
        ([], "PASS", ExitCode.OK),
        (list(range(6)), "INCONCLUSIVE", ExitCode.INCONCLUSIVE),
        (list(range(60)), "FAIL", ExitCode.FAIL),
    ],
)
def test_verdicts(tmp_path: Path, lost: list[int], verdict: str, code: ExitCode) -> None:
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers(right([]))).add("gptq", answers(right(lost)))
    found = one(run)
    against = found.suites[0].baseline
    assert against is not None
    assert against.verdict == verdict
    assert exit_code(found, ExitCode.OK, gated=True) is code


def test_another_route_is_not_compared(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers(right([]), route="echo"), route="echo")
    run.add("gptq", answers(right([])))
    found = one(run)
    assert found.suites[0].score == 1
    assert found.suites[0].baseline is None
    [caveat] = found.suites[0].caveats
    assert caveat.code == "other_route"
    assert "echo" in caveat.text
    assert "generative" in caveat.text
    assert not found.valid
    assert exit_code(found, ExitCode.OK, gated=False) is ExitCode.INVALID


def test_other_prompts_are_not_compared(tmp_path: Path) -> None:
    theirs = answers(right([]))
    theirs[7].prompt_hash = "another"
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", theirs).add("gptq", answers(right([])))
    found = one(run)
    assert found.suites[0].baseline is None
    assert [caveat.code for caveat in found.suites[0].caveats] == ["no_pairs"]
    assert not found.valid


@pytest.mark.parametrize(("errors", "valid"), [(20, True), (21, False)])
def test_errors_above_the_limit_invalidate(tmp_path: Path, errors: int, *, valid: bool) -> None:
    found_answers = answers(right([]))
    for answer in found_answers[:errors]:
        answer.outcome, answer.error, answer.score = "error", "timeout: none in 120 s", 0.0
    found = one(MadeRun(tmp_path).add("gptq", found_answers))
    [suite] = found.suites
    assert (suite.items, suite.errors, suite.score) == (N - errors, errors, 1.0)
    [caveat] = suite.caveats
    assert caveat.code == "failures"
    assert f"timeout {errors}" in caveat.text
    assert found.valid is valid


def test_what_was_not_finished_is_said_and_invalid(tmp_path: Path) -> None:
    run = MadeRun(tmp_path)
    run.add("gptq", answers(right([]))[:100], ended="failed", items=N, problem="it died")
    found = one(run)
    assert [caveat.code for caveat in found.suites[0].caveats] == ["incomplete"]
    assert "100 of 400" in found.suites[0].caveats[0].text
    assert "it died" in found.suites[0].caveats[0].text
    assert not found.valid


def test_a_suite_that_was_refused_has_no_number(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, suites=["domain", "perplexity"])
    run.add("gptq", answers(right([])))
    run.add("gptq", [], suite="perplexity", ended="refused", route=None, problem="not proved")
    found = one(run)
    assert [suite.suite for suite in found.suites] == ["domain"]
    assert not found.valid


def test_outcomes_are_counted_by_themselves(tmp_path: Path) -> None:
    found_answers = answers(right(range(3)))
    for answer, outcome in zip(found_answers, ("truncated", "unparsed", "empty"), strict=False):
        answer.outcome = outcome
    found = one(MadeRun(tmp_path).add("gptq", found_answers))
    [suite] = found.suites
    assert (suite.truncated, suite.unparsed, suite.empty) == (1, 1, 1)
    assert suite.items == N
    assert suite.score == pytest.approx(397 / 400)


def append(run: MadeRun, text: bytes) -> None:
    with (run.path / "evals" / "domain" / "gptq" / ANSWERS_FILE).open("ab") as file:
        file.write(text)


@pytest.mark.parametrize("garbage", [b"garbage\n", b"\n", b"garbage", b"{}", b"\0\0"])
def test_what_is_no_answer_is_named(tmp_path: Path, garbage: bytes) -> None:
    run = MadeRun(tmp_path).add("gptq", answers(right([])))
    append(run, garbage)
    with pytest.raises(BadInputError, match=rf"gptq/answers.jsonl, line {N + 1} is not an answer"):
        one(run)


def test_a_cut_last_line_is_no_answer_and_is_told(tmp_path: Path) -> None:
    found_answers = answers(right([]))
    line = msgspec.json.encode(found_answers[0])
    run = MadeRun(tmp_path).add("gptq", found_answers[:-1])
    append(run, line[:40])
    found = one(run)
    [suite] = found.suites
    assert suite.items == N - 1
    told = {caveat.code: caveat for caveat in suite.caveats}
    assert "ends in the first 40 bytes of an answer" in told["cut_line"].text
    assert not told["cut_line"].invalidates


def test_the_order_in_which_answers_came_changes_nothing(tmp_path: Path) -> None:
    ours, theirs = answers(right(range(9))), answers(right(range(5, 20)))
    found = []
    for name, turn in (("a", 1), ("b", -1)):
        run = MadeRun(tmp_path / name, baseline="fp16")
        (tmp_path / name).mkdir()
        run.add("fp16", theirs[::turn]).add("gptq", ours[::turn])
        found.append(evaluate(run.folder()))
    assert msgspec.json.encode(found[0]) == msgspec.json.encode(found[1])


def test_several_builds_have_one_evaluation_each(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, builds=["fp16", "gptq"], baseline="fp16")
    run.add("fp16", answers(right([]))).add("gptq", answers(right(range(3))))
    folder = run.folder()
    found = evaluate(folder)
    assert isinstance(found, Evaluations)
    assert [part.server.build for part in found.evaluations] == ["fp16", "gptq"]
    assert found.evaluations[0].suites[0].baseline is None
    assert found.evaluations[1].suites[0].baseline is not None
    write_evaluation(folder, found)
    assert read_evaluation(folder) == found


def test_numbers_survive_their_file(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers(right([]))).add("gptq", answers(right(range(3))))
    folder = run.folder()
    found = evaluate(folder)
    write_evaluation(folder, found)
    assert read_evaluation(folder) == found == evaluate(folder)


def test_perplexity_is_compared_as_a_ratio(tmp_path: Path) -> None:
    def windows(nats: float) -> list[Answer]:
        return [
            Answer(
                item=f"window-{number:05}",
                prompt_hash=f"{number}",
                route="echo",
                metric="perplexity",
                score=100 * nats + number % 5,
                weight=100.0,
            )
            for number in range(50)
        ]

    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", windows(1.0), route="echo").add("gptq", windows(1.02), route="echo")
    against = one(run).suites[0].baseline
    assert against is not None
    assert against.perplexity is not None
    assert against.perplexity.ratio == pytest.approx(2.718281828**0.02)
    assert against.verdict == "PASS"


@pytest.mark.parametrize(
    ("builds", "schema"),
    [(["gptq"], "evaluation.json"), (["fp16", "gptq"], "evaluation-of-several.json")],
)
def test_the_file_is_as_its_schema_says(tmp_path: Path, builds: list[str], schema: str) -> None:
    run = MadeRun(tmp_path, builds=builds, baseline="fp16")
    run.add("fp16", answers(right([]))).add("gptq", answers(right(range(3))))
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    written = json.loads((tmp_path / "evaluation.json").read_text())
    path = Path(harness.__file__).parents[1] / "docs/schemas" / f"{schema}.schema.json"
    jsonschema.validate(written, json.loads(path.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written | {"valid": "yes"}, json.loads(path.read_text()))


def test_the_contract_of_one_build(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers(right([]))).add("gptq", answers(right(range(3))))
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert {"schema", "run", "server", "probe", "suites", "valid", "caveats"} <= set(written)
    assert {"build", "engine", "engine_version", "model"} <= set(written["server"])
    [suite] = written["suites"]
    promised = {
        *("suite", "route", "items", "errors", "truncated", "unparsed"),
        *("score", "metric", "ci95", "categories", "baseline"),
    }
    assert promised <= set(suite)
    assert {"items", "score", "ci95"} <= set(suite["categories"]["a"])
    promised = {
        *("build", "score", "difference", "difference_ci95", "retained", "flips"),
        *("p_value", "regressed"),
    }
    assert promised <= set(suite["baseline"])
    assert {"lost", "gained"} <= set(suite["baseline"]["flips"])
    assert suite["baseline"]["score"] == 1  # the baseline's own
