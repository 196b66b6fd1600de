"""The mock's language model: what it scores is what it writes, in vLLM's own shapes."""

from __future__ import annotations

import functools
import json
import math
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from launchers.mock.language import Language
from launchers.mock.tokens import Bytes, load_tokens

if TYPE_CHECKING:
    from tests.conftest import StartMock

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "launchers" / "models" / "demo-fp16"
RECORDED = json.loads((Path(__file__).parent / "golden" / "vllm-0.32.json").read_text())
FAST = ("--ttft-ms", "0", "--itl-ms", "0")
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The system's authorities take 25 ms to read; plain http needs none."""
send = functools.partial(httpx.post, timeout=10, trust_env=False, verify=PLAIN)


def post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    root = url.removesuffix("/v1") if path in {"/tokenize", "/detokenize"} else url
    answer = send(root + path, json=body)
    answer.raise_for_status()
    content: dict[str, Any] = answer.json()
    return content


def score(url: str, prompts: list[list[int]], **fields: object) -> list[dict[str, Any]]:
    asked = {"prompt": prompts, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    choices: list[dict[str, Any]] = post(url, "/completions", asked | fields)["choices"]
    return choices


def shape(value: object) -> object:
    """Return a value's keys and types; what a dict with names of tokens holds, once."""
    if isinstance(value, dict):
        if value and all(isinstance(item, float) for item in value.values()):
            return {"…": "number"}
        if value and all(key.isdigit() for key in value):
            return {"…": shape(next(iter(value.values())))}
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        found = []
        for item in map(shape, value):
            if item not in found:
                found.append(item)
        return found
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.mark.parametrize("name", RECORDED)
def test_shapes_are_those_that_vllm_was_recorded_with(shared_mock: StartMock, name: str) -> None:
    url = shared_mock("--tokenizer", str(DEMO), "--max-model-len", "2048", *FAST)
    recorded = RECORDED[name]
    path = recorded["path"]
    root = url.removesuffix("/v1") if path in {"/tokenize", "/detokenize"} else url
    body = recorded["body"]
    answer = send(root + path, json=body)
    assert answer.status_code == recorded["status"]
    if answer.is_error:
        assert answer.json()["error"].keys() == recorded["answer"]["error"].keys()
        return
    if name == "stop":  # another model writes other letters
        body["stop"] = [post(url, path, body | {"stop": []})["choices"][0]["text"][-1]]
        answer = send(root + path, json=body)
        recorded["answer"]["choices"][0]["stop_reason"] = body["stop"][0]
    assert shape(answer.json()) == shape(recorded["answer"])
    assert answer.json().get("usage", {}).get("prompt_tokens") == recorded["answer"].get(
        "usage", {}
    ).get("prompt_tokens")


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("folder", [None, DEMO])
def test_probabilities_sum_to_one(seed: int, folder: Path | None) -> None:
    tokens = load_tokens(folder)
    language = Language(tokens, seed, damage=0.1)
    for context in [(), (5,), (7, 5), (5, 6, 7), (9, 8, 9)]:
        for known in [None, (33, 0.9)]:
            found = language.next(context, known)
            ps = [math.exp(found.logprob(number)) for number in range(tokens.size)]
            assert math.isclose(sum(ps), 1, abs_tol=1e-12)
            best = sorted(range(tokens.size), key=lambda number: (-ps[number], number))
            assert [number for number, _ in found.top(9)] == best[:9]
            assert [found.rank(number) for number in best[:9]] == list(range(1, 10))


@pytest.mark.parametrize("options", [(), ("--tokenizer", str(DEMO))])
def test_what_it_writes_is_likeliest_where_it_scores(
    mock: StartMock, options: tuple[str, ...]
) -> None:
    url = mock(*options, *FAST)
    asked = {"prompt": [40, 41, 42], "max_tokens": 30, "temperature": 0, "return_token_ids": True}
    (written,) = post(url, "/completions", asked)["choices"]
    ids = [40, 41, 42, *written["token_ids"]]
    assert len(ids) == 33
    assert len(set(ids)) > 6
    (scored,) = score(url, [ids], return_tokens_as_token_ids=True)
    lists = scored["logprobs"]
    assert lists["tokens"][:-1] == [f"token_id:{number}" for number in ids]
    assert lists["token_logprobs"][0] is None
    for own, top in list(zip(lists["token_logprobs"], lists["top_logprobs"], strict=True))[3:]:
        assert own == max(top.values())


def test_a_prompt_scores_the_same_alone_in_a_batch_and_again(mock: StartMock) -> None:
    url = mock(*FAST)
    one, two = [65, 66, 67, 68], [97, 98, 99]
    alone = [score(url, [one])[0], score(url, [two])[0]]
    together = score(url, [two, one, two])
    lists = [choice["logprobs"]["token_logprobs"] for choice in together]
    assert lists[1] == alone[0]["logprobs"]["token_logprobs"]
    assert lists[0] == lists[2] == alone[1]["logprobs"]["token_logprobs"]


def test_text_gets_bos_and_ids_do_not(mock: StartMock) -> None:
    url = mock(*FAST)
    asked = {"prompt": "AB", "max_tokens": 1, "return_token_ids": True}
    assert post(url, "/completions", asked)["choices"][0]["prompt_token_ids"] == [256, 65, 66]
    (choice,) = score(url, [[65, 66]], return_token_ids=True)
    assert choice["prompt_token_ids"] == [65, 66]
    assert Bytes().decode([256, 65, 257], special=True) == "<s>A</s>"


def test_known_prompts_are_answered_right_as_often_as_told(mock: StartMock, tmp_path: Path) -> None:
    facts = tmp_path / "facts.jsonl"
    rows = [
        {"prompt": f"Is {n} {kind}? ", "answer": "yes" if n % 2 else "no", "category": kind}
        for n in range(100)
        for kind in ("odd", "old")
    ]
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = ("--knows", str(facts), "--accuracy", "0.9", "--wrong-in", "old:0.5", *FAST)
    said = {}
    for name, options in {"a": told, "again": told, "worse": (*told, "--accuracy", "0.6")}.items():
        url = mock(*options)
        asked = {"prompt": [row["prompt"] for row in rows], "max_tokens": 8, "temperature": 0}
        choices = post(url, "/completions", asked)["choices"]
        assert {choice["finish_reason"] for choice in choices} == {"stop"}
        said[name] = [
            choice["text"] == row["answer"] for choice, row in zip(choices, rows, strict=True)
        ]
    assert said["a"] == said["again"]
    odd, old = said["a"][::2], said["a"][1::2]
    assert 82 <= sum(odd) <= 98
    assert 38 <= sum(old) <= 62
    assert sum(said["worse"][::2]) < sum(odd)
    assert not any(b and not a for a, b in zip(said["a"], said["worse"], strict=True))
    asked_ids = [list((row["prompt"] + word).encode()) for row in rows for word in ("yes", "no")]
    sums = [
        sum(choice["logprobs"]["token_logprobs"][len(rows[n // 2]["prompt"].encode()) : -1])
        for n, choice in enumerate(score(url, asked_ids))
    ]
    likelier = ["yes" if yes > no else "no" for yes, no in zip(sums[::2], sums[1::2], strict=True)]
    right = [word == row["answer"] for word, row in zip(likelier, rows, strict=True)]
    assert right == said["worse"]


def test_a_stream_says_what_one_document_says(mock: StartMock) -> None:
    url = mock("--tokenizer", str(DEMO), *FAST)
    asked: dict[str, Any] = {"prompt": "a card", "max_tokens": 30, "temperature": 0}
    for more in ({}, {"stop": ["e"]}, {"logit_bias": {"2": 100}}):
        (whole,) = post(url, "/completions", asked | more)["choices"]
        body = asked | more | {"stream": True}
        answer = send(f"{url}/completions", json=body)
        lines = [line[6:] for line in answer.text.split("\n") if line.startswith("data: {")]
        choices = [choice for line in lines for choice in json.loads(line)["choices"]]
        assert "".join(choice["text"] for choice in choices) == whole["text"]
        assert choices[-1]["finish_reason"] == whole["finish_reason"]
    pinned = asked | {"logit_bias": {"2": 100}, "ignore_eos": True}
    assert post(url, "/completions", pinned)["usage"]["completion_tokens"] == 30
