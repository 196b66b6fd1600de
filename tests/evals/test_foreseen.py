"""The next route's answers: what is believed, and what is not."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from evals.client.connection import Reply
from evals.client.foreseen import Next
from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.records import Failure, Foreseen, Scored

if TYPE_CHECKING:
    from tests.conftest import StartMock

PROMPTS = ([1, 2, 3], [1, 4])
TOKENS = (7, 8)
ENDPOINT = Endpoint(base_url="http://127.0.0.1:9/v1", model="mock", engine="vllm")


def answer() -> dict[str, Any]:
    """Return what vLLM 0.32 tells, cut to what is read."""
    choices = [
        {
            "index": n,
            "text": "x",
            "logprobs": {
                "token_logprobs": [-0.5],
                "tokens": ["token_id:9"],
                "top_logprobs": [{"token_id:9": -0.5, "token_id:7": -2.0, "token_id:8": -3.0 - n}],
            },
            "finish_reason": "length",
            "prompt_token_ids": list(ids),
            "token_ids": [9],
        }
        for n, ids in enumerate(PROMPTS)
    ]
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    return {"choices": choices, "model": "mock", "usage": usage}


def read(document: dict[str, Any]) -> list[Foreseen | Failure]:
    body = json.dumps(document).encode()
    reply = Reply(body=body, latency_ms=1.0, sent_ns=2, attempts=1)
    return Next(ENDPOINT, TOKENS).read(reply, PROMPTS, None)


def code(found: Foreseen | Failure) -> str:
    return found.code if isinstance(found, Failure) else ""


def test_values_are_those_of_the_ids_that_were_named() -> None:
    first, second = read(answer())
    assert isinstance(first, Foreseen)
    assert isinstance(second, Foreseen)
    assert (first.logprobs, first.likeliest) == ({7: -2.0, 8: -3.0}, -0.5)
    assert second.logprobs == {7: -2.0, 8: -4.0}


TABLE = "choices.1.logprobs.top_logprobs.0.token_id:7"


@pytest.mark.parametrize(
    ("path", "value", "codes"),
    [
        (TABLE, 0.5, ["", "positive"]),
        (TABLE, -0.1, ["", "contradiction"]),  # above the one that was written greedily
        (TABLE, None, ["", "null_position"]),
        (TABLE, -9999.0, ["", "clamped"]),
        ("choices.1.logprobs.top_logprobs.0", {"token_id:9": -0.5}, ["", "no_logprobs"]),
        ("choices.1.logprobs.top_logprobs.0.token_id:9", -0.7, ["", "contradiction"]),
        ("choices.1.logprobs.tokens.0", "x", ["", ""]),  # only the named ids need names
        ("choices.1.logprobs", None, ["", "no_logprobs"]),
        ("choices.1.logprobs.token_logprobs", [-0.5, -0.5], ["", "wrong_length"]),
        ("choices.1.prompt_token_ids", [0, 1, 4], ["", "wrong_ids"]),
        ("choices.1.index", 0, ["missing_choice", "missing_choice"]),
        ("usage.prompt_tokens", 6, ["wrong_length", "wrong_length"]),
        ("usage.completion_tokens", 3, ["wrong_length", "wrong_length"]),
        ("usage", None, ["", ""]),
        ("model", "other", ["wrong_model", "wrong_model"]),
    ],
)
def test_what_contradicts_itself_is_not_believed(
    path: str, value: object, codes: list[str]
) -> None:
    document = answer()
    *way, last = path.split(".")
    place: Any = document
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[int(last) if isinstance(place, list) else last] = value
    assert [code(one) for one in read(document)] == codes


def test_probabilities_of_tokens_that_exclude_each_other_are_not_above_one() -> None:
    document = answer()
    told = document["choices"][0]["logprobs"]
    told["top_logprobs"] = [{"token_id:9": -0.5, "token_id:7": -0.5, "token_id:8": -0.6}]
    assert [code(one) for one in read(document)] == ["contradiction", ""]


def test_they_are_the_values_that_echo_tells(mock: StartMock) -> None:
    url = mock("--ttft-ms", "0", "--itl-ms", "0")
    to = Endpoint(base_url=url, model="mock", engine="vllm", max_model_len=64)
    prompts, tokens = [[256, *b"Is it"], [256, *b"A, B or"], [256] * 64], [32, 65, 110]

    async def go() -> tuple[list[Foreseen | Failure], list[Scored | Failure]]:
        async with Client(to) as client:
            by_echo = [[*ids, token] for ids in prompts[:2] for token in tokens]
            return await client.foresee(prompts, tokens), await client.score(by_echo, top=None)

    foreseen, scored = asyncio.run(go())
    assert [code(one) for one in foreseen] == ["", "", "too_long"]
    told = [v for one in foreseen if isinstance(one, Foreseen) for v in one.logprobs.values()]
    assert told == [one.logprobs[-1] for one in scored if isinstance(one, Scored)]
    assert len(told) == 6
    assert told[:3] != told[3:]
    assert not any(any(one.greedy) for one in scored if isinstance(one, Scored))
    assert all(math.isfinite(value) for value in told)
