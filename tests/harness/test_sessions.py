from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.measuring.measure import measure
from harness.measuring.sessions import turn_numbers
from tests.harness.test_measure import FACTS, dropped, failed, plan, report, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.measurement import CellMeasurement
    from loadprofiles.records import Sample

AFTER = [-1, -1, -1, 0, 3, 1, 2]
"""Three sessions: of three turns, two and two."""
S = 1_000_000_000


def cell(
    samples: Sequence[Sample], *, due_ns: list[int] | None = None, **changes: object
) -> CellMeasurement:
    mode = {"mode": "closed"} if due_ns is None else {"mode": "open", "due_ns": due_ns}
    shape = plan(after=AFTER, output_tokens=[4] * 7, **mode, **changes)
    return measure(FACTS, shape, samples, report(len(samples)))


def with_ttft(seq: int, ttft_ms: int, prompt_tokens: int) -> Sample:
    one = sample(seq, seq * 300, prompt_tokens=prompt_tokens)
    assert one.sent_ns is not None
    return msgspec.structs.replace(one, first_ns=one.sent_ns + ttft_ms * 1_000_000)


def codes(measured: CellMeasurement) -> set[str]:
    return {caveat.code for caveat in measured.client.caveats}


def test_turns_and_sessions_of_a_plan() -> None:
    number, root = turn_numbers(AFTER)
    assert number.tolist() == [0, 0, 0, 1, 2, 1, 1]
    assert root.tolist() == [0, 1, 2, 0, 0, 1, 2]


def test_what_became_of_sessions() -> None:
    found = cell(
        [sample(0), sample(1), sample(2), sample(3), sample(4), failed(5, "timeout")],
        due_ns=[0, 1, 2],
    )
    assert found.sessions is not None
    assert (found.sessions.planned, found.sessions.complete) == (3, 1)
    assert (found.sessions.broken, found.sessions.cut_off) == (1, 1)
    assert (found.requests.planned, found.requests.sent, found.requests.failed) == (6, 6, 1)
    assert "sessions_broken" in codes(found)
    assert "samples_lost" not in codes(found)


def test_a_first_turn_whose_sample_is_missing_is_lost() -> None:
    found = cell([sample(0), sample(2), sample(3)], due_ns=[0, 1, 2])
    assert "samples_lost" in codes(found)


def test_what_the_cells_end_cut_off_is_not_broken() -> None:
    found = cell([sample(0), failed(3, "aborted"), dropped(1)])
    assert found.sessions is not None
    assert (found.sessions.complete, found.sessions.broken, found.sessions.cut_off) == (0, 0, 2)
    assert "sessions_broken" not in codes(found)


def test_sessions_that_start_over_are_others() -> None:
    found = cell([sample(2), sample(6), sample(2 + 7, body=2), sample(6 + 7, body=6)])
    assert found.sessions is not None
    assert (found.sessions.planned, found.sessions.complete) == (2, 2)


def test_ttft_and_prompts_turn_by_turn() -> None:
    ttfts = {0: 100, 1: 120, 2: 110, 3: 40, 5: 50, 6: 60, 4: 20}
    prompts = {0: 10, 1: 20, 2: 30, 3: 40, 5: 50, 6: 60, 4: 90}
    found = cell([with_ttft(seq, ttfts[seq], prompts[seq]) for seq in range(7)]).sessions
    assert found is not None
    assert [turn.turn for turn in found.turns] == [1, 2, 3]
    assert [turn.n for turn in found.turns] == [3, 3, 1]
    assert [turn.ttft_ms.p50 for turn in found.turns] == [110.0, 50.0, None]
    assert [turn.ttft_ms.mean for turn in found.turns] == pytest.approx([110.0, 50.0, 20.0])
    assert [turn.prompt_tokens_mean for turn in found.turns] == [20.0, 50.0, 90.0]


def test_without_sessions_there_is_nothing_to_say() -> None:
    found = measure(FACTS, plan(), [sample()], report(1))
    assert found.sessions is None
    assert found.prompts is None


# --- planned and counted prompts ---------------------------------------------------------------

PLANNED = [10, 10, 10, 15, 20, 15, 15]


def test_earlier_answers_count_within_a_planned_prompt() -> None:
    """Of seq 3 the first answer of four tokens is part, of seq 4 that and the second one."""
    counts = {0: 10, 3: 19, 4: 28}
    found = cell(
        [sample(seq, prompt_tokens=tokens) for seq, tokens in counts.items()],
        prompt_tokens=PLANNED,
        prompts_exact=True,
    )
    assert found.prompts is not None
    assert (found.prompts.requests, found.prompts.planned, found.prompts.counted) == (3, 57, 57)
    assert "prompt_tokens_differ" not in codes(found)


def test_a_prompt_with_an_answer_that_nobody_counted_is_left_out() -> None:
    blind = sample(0, prompt_tokens=10, token_source="chunks")
    found = cell([blind, sample(3, prompt_tokens=99)], prompt_tokens=PLANNED)
    assert found.prompts is not None
    assert (found.prompts.requests, found.prompts.counted) == (1, 10)


@pytest.mark.parametrize(("counted", "told"), [(1000, False), (1010, False), (1012, True)])
def test_a_server_that_counts_otherwise_is_told_of(counted: int, *, told: bool) -> None:
    shape = plan(prompt_tokens=[1000], prompts_exact=True)
    found = measure(FACTS, shape, [sample(prompt_tokens=counted)], report(1))
    assert ("prompt_tokens_differ" in codes(found)) == told
    estimated = msgspec.structs.replace(shape, prompts_exact=False)
    found = measure(FACTS, estimated, [sample(prompt_tokens=counted)], report(1))
    assert "prompt_tokens_differ" not in codes(found), "an estimate promises nothing"
    assert found.prompts is not None
    assert (found.prompts.planned, found.prompts.counted) == (1000, counted)
