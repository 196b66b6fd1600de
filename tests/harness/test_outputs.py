from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from harness.measuring.outputs import Answers, compare, stops_early
from harness.measuring.samples import Samples
from tests.harness.cells import answer, measured

if TYPE_CHECKING:
    from loadprofiles.records import Sample


def answers(lengths: list[int], **changes: Any) -> list[Sample]:  # noqa: ANN401 - sample's fields
    return [
        answer(n, 0.1 * n, 50, [10] * (length - 1), **changes) for n, length in enumerate(lengths)
    ]


def test_what_answers_are_like() -> None:
    samples = answers([20] * 100)
    for n in range(30):
        samples[n] = msgspec.structs.replace(samples[n], finish_reason="stop")
    for n in range(12):
        samples[n] = msgspec.structs.replace(samples[n], compression=7.0)
    for n in (50, 51, 52):
        samples[n] = msgspec.structs.replace(samples[n], output_hash="00000000000000ff")
    samples[60] = msgspec.structs.replace(samples[60], output_tokens=1, output_hash="")
    samples[61] = msgspec.structs.replace(samples[61], error="empty", compression=None)
    cell = measured(samples, 10)
    found = cell.outputs
    assert found is not None
    assert found.finish_reasons == {"length": 69, "stop": 30}
    assert (found.tokens.n, found.tokens.p50, found.planned_tokens) == (99, 20, 1980)
    assert (found.empty, found.one_token) == (1, 1)
    assert (found.compared_texts, found.repeating) == (99, 12)
    assert (found.hashed, found.identical) == (98, 3)
    [caveat] = [one for one in cell.client.caveats if one.code == "answers_repeat"]
    assert caveat.text.startswith("12 of 99 answers repeat themselves")
    assert not caveat.invalidates


def test_an_answer_to_the_same_prompt_again_is_not_identical() -> None:
    samples = answers([20] * 100)
    samples[1] = msgspec.structs.replace(samples[0], seq=1, request_id="again")
    found = measured(samples, 10).outputs
    assert found is not None
    assert found.identical == 0


def of(samples: list[Sample]) -> Answers:
    return Answers.of(Samples.of(samples).measured)


def test_a_build_that_stops_early_is_told() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(20, 60, 200)
    baseline = of(answers(lengths.tolist()))
    less = (lengths * rng.uniform(0.5, 1.1, 200)).astype(int)
    found = compare(of(answers(less.tolist())), baseline, "fp16")
    assert found.pairs == 200
    assert found.length_ratio == int(less.sum()) / int(lengths.sum())
    assert found.shorter > 100
    assert found.identical == 200  # the made-up hashes say so
    [caveat] = stops_early(found)
    assert caveat.code == "stops_early"
    assert "of fp16's" in caveat.text
    noise = lengths + rng.integers(-5, 6, 200)
    alike = compare(of(answers(noise.tolist())), baseline, "fp16")
    assert list(stops_early(alike)) == []
    longer = compare(baseline, of(answers(less.tolist())), "awq")
    assert list(stops_early(longer)) == []


def test_pairs_are_answers_to_the_same_prompt() -> None:
    baseline = of([*answers([20] * 30)[:25], *answers([9] * 40)[35:]])
    own = of(
        [
            msgspec.structs.replace(one, output_hash="f" * 16) if one.seq < 5 else one
            for one in answers([20] * 30)
        ]
    )
    found = compare(own, baseline, "a")
    assert (found.pairs, found.compared_texts, found.identical) == (25, 25, 20)
    assert (found.shorter, found.longer, found.length_ratio) == (0, 0, 1.0)
    assert found.p_shorter == 1.0
    few = compare(of(answers([5] * 4)), of(answers([20] * 4)), "a")
    assert few.p_shorter is None
    assert list(stops_early(few)) == []


def test_the_same_work_is_proven_pair_by_pair() -> None:
    theirs = answers([20] * 40)
    ours = [
        msgspec.structs.replace(
            one,
            prompt_tokens=None if one.seq == 7 else 21 if one.seq < 30 else 20,
            finish_reason="stop" if one.seq < 3 else "length",
            output_tokens=18 if one.seq < 3 else 20,
        )
        for one in theirs
    ]
    found = compare(
        Answers.of(Samples.of(ours).measured, "a"), Answers.of(Samples.of(theirs).measured, "a"),
        "fp16",
    )  # fmt: skip
    assert found.prompts == "same"
    assert found.prompt_tokens == {"0": 10, "1": 29}
    assert found.finish_reasons == {"stop, length": 3}
    assert (found.pairs, found.shorter, found.longer, found.identical) == (40, 3, 0, 40)
    assert compare(of(ours), of(theirs), "fp16").prompts is None
    others = compare(
        Answers.of(Samples.of(ours).measured, "a"), Answers.of(Samples.of(theirs).measured, "b"),
        "fp16",
    )  # fmt: skip
    assert others.prompts == "others"
