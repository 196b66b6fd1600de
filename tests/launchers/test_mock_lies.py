"""Each lie of the mock is the lie that it says, and no other; native pages say what echo says."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from harness.cli.mock import mock as command
from launchers.mock.engines import ENGINES
from launchers.mock.lies import LIES
from tests.launchers.test_mock_scores import DEMO, FAST, PLAIN, post, score, send

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartMock

BATCH = [[65, 66, 67, 68, 69, 70], [70, 69, 68, 67, 66, 65]]


def values(url: str, prompts: list[list[int]] = BATCH) -> list[list[float | None]]:
    return [choice["logprobs"]["token_logprobs"] for choice in score(url, prompts)]


def test_help_names_every_lie() -> None:
    assert command.__doc__ is not None
    words = {word.strip(",.:") for word in command.__doc__.split()}
    assert LIES.keys() | ENGINES.keys() <= words


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_changes_what_an_honest_server_says(
    mock: StartMock, shared_mock: StartMock, lie: str
) -> None:
    """Ask one set of questions of both; only the lies that need load or many requests may agree."""
    options = ("--tokenizer", str(DEMO), "--max-model-len", "2048", *FAST)
    honest, lying = shared_mock(*options), mock(*options, "--lie", lie)
    long = [n % 700 + 30 for n in range(300)]
    asked: list[dict[str, Any]] = [
        {"prompt": BATCH, "echo": True, "logprobs": 1, "max_tokens": 1},
        {"prompt": BATCH[0], "echo": True, "logprobs": 1, "max_tokens": 1},
        {"prompt": [[1, *BATCH[0]]], "echo": True, "logprobs": 1, "max_tokens": 1},
        {"prompt": long, "echo": True, "logprobs": 1, "max_tokens": 1},
        {"prompt": "a card", "max_tokens": 40},
        {"prompt": "a card", "max_tokens": 40, "repetition_penalty": 1.0},
        {"prompt": "a card", "max_tokens": 40, "stop": ["a", "e", "i", "o", "u", "t"]},
        {"prompt": BATCH, "max_tokens": 2, "return_token_ids": True},
        {"prompt": BATCH, "max_tokens": 1, "logprobs": 0, "logprob_token_ids": [65, 66, 67]},
    ]

    def answers(url: str) -> list[dict[str, Any]]:
        fields = {"temperature": 0}
        return [post(url, "/completions", fields | body) for body in asked]

    differs = [a != b for a, b in zip(answers(honest), answers(lying), strict=True)]
    if lie in {"drift", "concurrency_dependent"}:
        assert not any(differs)
    else:
        assert any(differs)
    everywhere = {"other_model", "wrong_usage", "no_usage", "empty_text", "none_content"}
    assert not all(differs) or lie in everywhere


def test_an_ignored_echo_makes_a_careless_scorer_see_perfect_answers(mock: StartMock) -> None:
    """Sum as lm-eval does: an empty slice is 0 for every choice, and perplexity is 1."""
    (lists,) = values(mock("--lie", "no_echo", *FAST), BATCH[:1])
    assert len(lists) == 1
    assert sum(lists[3:-1]) == 0


def test_shifts_and_clamps_keep_the_length_and_the_null(mock: StartMock) -> None:
    honest = values(mock(*FAST))[0]
    shifted = values(mock("--lie", "shift", *FAST))[0]
    assert shifted[0] is None
    assert shifted[1:5] == honest[2:6]
    clamped = values(mock("--lie", "clamp", *FAST))[0]
    assert [b if a == -9999 else a for a, b in zip(clamped, honest, strict=True)] == honest
    assert -9999 in clamped


def test_bos_lies(mock: StartMock) -> None:
    bos = [256, 65, 66]
    asked = {"max_tokens": 1, "return_token_ids": True, "temperature": 0}

    def ids(lie: str, prompt: object) -> object:
        url = mock("--lie", lie, *FAST)
        return post(url, "/completions", {"prompt": prompt} | asked)["choices"][0][
            "prompt_token_ids"
        ]

    assert ids("add_bos", [65, 66]) == bos
    assert ids("double_bos", bos) == [256, *bos]
    assert ids("double_bos", [65, 66]) == [65, 66]
    assert ids("text_bos", "AB") == [256, *bos]
    assert ids("no_text_bos", "AB") == [65, 66]


def test_batches_in_disorder(mock: StartMock) -> None:
    honest = values(mock(*FAST))
    assert values(mock("--lie", "reorder", *FAST)) == honest[::-1]
    choices = score(mock("--lie", "duplicate_index", *FAST), BATCH)
    assert [choice["index"] for choice in choices] == [0, 0]
    assert len(score(mock("--lie", "drop_choice", *FAST), BATCH)) == 1


def test_it_drifts_after_as_many_requests_as_told(mock: StartMock) -> None:
    url = mock("--lie", "drift:3", *FAST)
    seen = [values(url) for _ in range(5)]
    assert seen[0] == seen[1] == seen[2] != seen[3] == seen[4]


def test_scores_that_depend_on_what_they_must_not(mock: StartMock) -> None:
    honest = values(mock(*FAST))
    url = mock("--lie", "order_dependent", *FAST)
    assert values(url)[0] == honest[0]
    assert values(url)[1] != honest[1]
    url = mock("--lie", "batch_dependent", *FAST)
    assert values(url)[0] != honest[0]
    assert values(url, BATCH[:1])[0] == honest[0]
    url = mock("--lie", "cache_dependent", *FAST)
    assert values(url) == honest
    assert values(url) != honest
    url = mock("--lie", "concurrency_dependent", "--ttft-ms", "100", "--itl-ms", "0")
    assert values(url) == honest
    with ThreadPoolExecutor(4) as pool:
        assert any(found != honest for found in pool.map(lambda _: values(url), range(4)))


def test_a_race_makes_right_answers_wrong_under_load_alone(mock: StartMock, tmp_path: Path) -> None:
    facts = tmp_path / "facts.jsonl"
    rows = [{"prompt": f"Item {n}: ", "answer": "yes", "wrong": "no"} for n in range(60)]
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    url = mock("--knows", str(facts), "--race", "2:0.5", "--ttft-ms", "100", "--itl-ms", "0")

    def say(row: dict[str, str]) -> str:
        asked = {"prompt": row["prompt"], "max_tokens": 4, "temperature": 0}
        text: str = post(url, "/completions", asked)["choices"][0]["text"]
        return text

    assert [say(row) for row in rows[:10]] == ["yes"] * 10
    with ThreadPoolExecutor(6) as pool:
        said = list(pool.map(say, rows))
    assert 5 <= said.count("no") <= 45


def test_native_pages_score_as_echo_does(mock: StartMock) -> None:
    url = mock("--tokenizer", str(DEMO), *FAST)
    root = url.removesuffix("/v1")

    def native(path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        answer = send(root + path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    ids = [1, 67, 330, 40]
    (echo,) = score(url, [ids], logprobs=3, return_tokens_as_token_ids=True)
    truth = echo["logprobs"]["token_logprobs"]
    tops = [
        {int(name.removeprefix("token_id:")): p for name, p in (top or {}).items()}
        for top in echo["logprobs"]["top_logprobs"]
    ]
    asked = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 3}
    settings = {"max_new_tokens": 1, "temperature": 0}
    sglang = native("/generate", {"input_ids": [ids], "sampling_params": settings, **asked})
    meta = sglang[0]["meta_info"]
    assert [row[0] for row in meta["input_token_logprobs"]] == truth[:-1]
    assert [row[1] for row in meta["input_token_logprobs"]] == ids
    assert meta["input_top_logprobs"][0] is None
    assert {row[1]: row[0] for row in meta["input_top_logprobs"][1]}.items() <= tops[1].items()
    assert meta["output_token_logprobs"][0][0] == truth[-1]
    assert meta["finish_reason"] == {"type": "length", "length": 1}

    text = post(url, "/detokenize", {"tokens": ids[1:]})["prompt"]
    parameters = {"decoder_input_details": True, "max_new_tokens": 1, "top_n_tokens": 2}
    tgi = native("/generate", {"inputs": text, "parameters": parameters})["details"]
    assert [token["id"] for token in tgi["prefill"]] == ids
    assert [token["logprob"] for token in tgi["prefill"]] == truth[:-1]
    assert tgi["tokens"][0]["logprob"] == truth[-1]

    body = {"prompt": ids, "n_predict": 1, "n_probs": 3, "temperature": 0}
    llama = native("/completion", body)["completion_probabilities"]
    assert llama[0]["logprob"] == truth[-1]
    assert {top["id"]: top["logprob"] for top in llama[0]["top_logprobs"]} == tops[-1]


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_have_their_own_pages_and_limits(mock: StartMock, engine: str) -> None:
    url = mock("--engine", engine, *FAST)
    root = url.removesuffix("/v1")
    asked = {"prompt": "AB", "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    answer = send(f"{url}/completions", json=asked)
    scores = engine in {"any", "vllm", "sglang", "openai"}
    if engine == "llama.cpp":
        [choice] = answer.json()["choices"]
        assert not choice["text"].startswith("AB"), "echo is ignored, without a word"
        assert choice["logprobs"]["content"][0]["logprob"] < 0
    else:
        assert (answer.json()["choices"][0]["logprobs"] is not None) == scores
    native = send(f"{root}/generate", json={"text": "AB"})
    assert (native.status_code == 200) == (engine in {"any", "sglang"})
    props = httpx.get(f"{root}/props", trust_env=False, verify=PLAIN)
    assert (props.status_code == 200) == (engine in {"any", "llama.cpp"})
