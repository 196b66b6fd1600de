"""No lie gives a wrong score in silence: each lie × each kind of server that it can fool.

`benchmarks/lies.py` judges, and prints the whole table: who caught what.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from benchmarks.lies import COMBINED, ENGINES, NAMES, codes_of_honest, judge, mock
from benchmarks.lies_graded import TEXTS, TOKENIZER, score, tokens, write
from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.errors import ResumeError
from evals.probe import probe
from evals.records import Answer
from evals.store import AnswerStore
from launchers.mock.lies import LIES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CANNOT: dict[str, set[str]] = {
    "any": set(),
    "sglang": set(),
    "tgi": {"token_ids", "status", "no_greedy", "unverified_writing"},
    "llama.cpp": {"no_logprobs"},
    "transformers": {"token_ids", "status", "unverified_writing"},
}
"""What is said of an honest server: no ids, no echo, no likeliest tokens of a prompt."""
ECHO = {"no_echo", "echo_no_logprobs", "nan", "null_twice", "shift", "positive", "clamp"}
ECHO |= {"other_model_silent", "add_bos", "retokenize"}
BATCHES = {"reorder", "duplicate_index", "drop_choice", "batch_dependent", "order_dependent"}
WRITING = {"text_bos", "no_text_bos", "truncate_answers", "ignore_stop", "penalty"}
WRITING |= {"penalty_always", "empty_text", "none_content"}
NAMED = {"named_renormalised", "named_moved"}
HARMLESS: dict[str, set[str]] = {
    "sglang": WRITING | NAMED,
    "tgi": BATCHES | NAMED | {"add_bos", "retokenize"},
    "llama.cpp": BATCHES | NAMED | {"no_echo", "shift", "positive", "clamp", "other_model_silent"},
    "transformers": BATCHES | NAMED | ECHO,
}
"""Lies in what is not asked there: every answer is true, whatever is checked."""
CASES = [
    *(("any", lie) for lie in (*LIES, *COMBINED)),
    *(
        (engine, lie)
        for engine, harmless in HARMLESS.items()
        for lie in LIES
        if lie not in {*harmless, "no_ids"}
    ),
]


@pytest.mark.parametrize(("engine", "seed"), [("any", 2), *((engine, 1) for engine in ENGINES)])
def test_an_honest_server_raises_no_alarm(engine: str, seed: int) -> None:
    assert {found.verdict for found in judge("honest", engine, seed)} == {"harmless"}
    with mock("--engine", engine, "--seed", str(seed)) as url:
        endpoint = Endpoint(base_url=url, model="mock", tokenizer=str(TOKENIZER))
        card = asyncio.run(probe(endpoint))
    assert {caveat.code for caveat in card.caveats} == CANNOT[engine]


@pytest.mark.parametrize(("engine", "lie"), CASES)
def test_no_lie_gives_a_wrong_score_in_silence(engine: str, lie: str) -> None:
    found = judge(lie, engine)
    assert [case for case in found if case.verdict == "SILENT"] == []
    assert [case for case in found if case.verdict == "declared"] == [] or (
        "penalty" in lie and "unverified_writing" in codes_of_honest(engine)
    )
    if engine == "any" and lie in NAMES:  # where all routes are open, nothing is left to luck
        assert any(case.verdict == "caught" for case in found)


# --- why: what a scorer without checks makes of them --------------------------------------------


def ask(url: str, prompts: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - texts or ids
    body = {"prompt": prompts, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    answer = httpx.post(f"{url}/completions", json=body, timeout=10, trust_env=False)
    choices: list[dict[str, Any]] = answer.json()["choices"]
    return sorted(choices, key=lambda choice: choice["index"])


def careless(url: str, encode: Callable[[str], Any]) -> list[tuple[float, int]]:
    """Return each text's Σ ln p of its last ten tokens as lm-eval 0.4.13 sums it, and their number.

    lm_eval/models/openai_completions.py, `parse_logprobs`: token_logprobs[ctxlen:-1].
    """
    lengths = [len(tokens().encode(text, special=False)) - 10 for text in TEXTS]
    sums = []
    for choice, length in zip(ask(url, [encode(text) for text in TEXTS]), lengths, strict=False):
        part = choice["logprobs"]["token_logprobs"][length:-1]
        sums.append((math.fsum(part), len(part)))
    return sums


def by_ids(text: str) -> list[int]:
    return tokens().encode(text, special=False)


def test_without_checks_an_ignored_echo_is_a_perfect_perplexity() -> None:
    with mock("--lie", "no_echo") as url:
        sums = careless(url, by_ids)
    assert {total for total, _ in sums} == {0.0}
    assert math.exp(-sum(total for total, _ in sums)) == 1.0
    # Four choices of 0.0 each: the argmax is the first, and accuracy the share of gold == 0.
    assert max(range(4), key=[total for total, _ in sums[:4]].__getitem__) == 0


def test_without_checks_a_bos_in_front_of_texts_adds_a_token_to_each_sum() -> None:
    with mock() as url:
        assert {count for _, count in careless(url, by_ids)} == {10}
        assert {count for _, count in careless(url, str)} == {11}


def test_without_checks_a_missing_choice_vanishes_and_a_moved_one_scores_another() -> None:
    with mock() as honest, mock("--lie", "drop_choice") as drops, mock("--lie", "reorder") as moves:
        truth = careless(honest, by_ids)
        assert len(careless(drops, by_ids)) == len(truth) - 1
        moved = careless(moves, by_ids)
    assert len(moved) == len(truth)
    assert not any(a == b for a, b in zip(moved, truth, strict=True))


# --- what is no lie: errors, silence, and answers that are kept ---------------------------------


@pytest.mark.parametrize(
    ("fault", "timeout_s", "codes"),
    [("http_500:0.4", 5.0, {"status"}), ("silent:0.2", 0.4, {"timeout"})],
)
def test_what_fails_is_an_error_and_what_is_told_is_true(
    fault: str, timeout_s: float, codes: set[str]
) -> None:
    async def run(url: str) -> list[tuple[str, bool]]:
        endpoint = Endpoint(base_url=url, model="mock", engine="mock", timeout_s=timeout_s)
        async with Client(endpoint) as client:
            return [*await score(client, 0), *await write(client, 0)]

    with mock("--fault", fault) as url:
        outcomes = asyncio.run(run(url))
    assert {code for code, _ in outcomes} <= {"", *codes}
    assert all(good for code, good in outcomes if not code)
    assert any(good for _, good in outcomes)


def test_answers_of_one_server_are_never_reused_for_another(tmp_path: Path) -> None:
    """lm-eval's --use_cache gave a second build the first one's scores (lm-eval #4063)."""
    with AnswerStore(tmp_path, {"suite": "s", "identity": "fp16"}) as store:
        store.add([Answer(item="1", score=1.0)])
    assert AnswerStore(tmp_path, {"suite": "s", "identity": "fp16"}).done == {("", "1")}
    with pytest.raises(ResumeError, match="identity"):
        AnswerStore(tmp_path, {"suite": "s", "identity": "gptq"})
