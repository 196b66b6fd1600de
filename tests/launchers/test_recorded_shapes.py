"""The mock's TGI and SGLang against shapes written down from those engines' sources.

Neither has ever run here: `golden/tgi-3.json` and `golden/sglang-0.5.json` say which files they
come from. `tests/loadprofiles/test_recorded_streams.py` reads the streams with the dialects.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.launchers.test_mock_scores import FAST, PLAIN, send

if TYPE_CHECKING:
    from tests.conftest import StartMock

GOLDEN = Path(__file__).parent / "golden"
RECORDED: dict[str, dict[str, Any]] = {
    engine: json.loads((GOLDEN / name).read_text())
    for engine, name in (("tgi", "tgi-3.json"), ("sglang", "sglang-0.5.json"))
}


def cases(part: str) -> list[tuple[str, str]]:
    return [(engine, name) for engine, told in RECORDED.items() for name in told[part]]


def misfits(found: object, recorded: object, place: str = "", *, part: bool = False) -> list[str]:
    """Where two documents differ in keys or types; a null may stand for anything.

    `part`: at the top `found` may leave keys out.
    """
    if found is None or recorded is None:
        return []
    if isinstance(found, dict) and isinstance(recorded, dict):
        if recorded and all(isinstance(value, float) for value in recorded.values()):
            recorded = dict.fromkeys(found, -0.5)  # its keys are names of tokens
        missing = set() if part else recorded.keys() - found.keys()
        said = [f"{place}.{key} is missing" for key in missing]
        said += [f"{place}.{key} is not there" for key in found.keys() - recorded.keys()]
        both = found.keys() & recorded.keys()
        return said + [
            each for key in both for each in misfits(found[key], recorded[key], f"{place}.{key}")
        ]
    if isinstance(found, list) and isinstance(recorded, list):
        if bool(found) != bool(recorded):
            return [f"{place} has {len(found)} items"]
        like = [one for one in recorded if one is not None]
        return (
            [each for one in found for each in misfits(one, like[0], f"{place}[]")] if like else []
        )
    kinds = [float if isinstance(one, int) else type(one) for one in (found, recorded)]
    return [] if kinds[0] is kinds[1] else [f"{place} is {found!r}"]


def test_misfits_are_seen() -> None:
    assert misfits({"a": 1, "b": None}, {"a": 2.5, "b": "x"}) == []
    assert misfits({"a": "1"}, {"a": 1}) == [".a is '1'"]
    assert misfits({"a": 1}, {"b": 1}) == [".b is missing", ".a is not there"]
    assert misfits({"a": 1}, {"a": 1, "b": 1}, part=True) == []
    assert misfits([{"a": 1}, {}], [{"a": 1}]) == ["[].a is missing"]
    assert misfits([], [1]) == [" has 0 items"]


@pytest.mark.parametrize(("engine", "path"), cases("pages"))
def test_a_page(shared_mock: StartMock, engine: str, path: str) -> None:
    root = shared_mock("--engine", engine, *FAST).removesuffix("/v1")
    page = httpx.get(root + path, trust_env=False, verify=PLAIN).json()
    recorded = RECORDED[engine]["pages"][path]
    assert page, "a page that says nothing is like all"
    assert misfits(page, recorded, part=engine == "sglang") == []


@pytest.mark.parametrize(("engine", "name"), cases("answers"))
def test_an_answer(shared_mock: StartMock, engine: str, name: str) -> None:
    root = shared_mock("--engine", engine, *FAST).removesuffix("/v1")
    recorded = RECORDED[engine]["answers"][name]
    answer = send(root + recorded["path"], json=recorded["body"])
    assert answer.status_code == recorded["status"], answer.text
    assert misfits(answer.json(), recorded["answer"]) == []


@pytest.mark.parametrize(("engine", "name"), cases("streams"))
def test_a_stream(shared_mock: StartMock, engine: str, name: str) -> None:
    root = shared_mock("--engine", engine, *FAST).removesuffix("/v1")
    recorded = RECORDED[engine]["streams"][name]
    answer = send(root + recorded["path"], json=recorded["body"])
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data:").strip() for line in answer.text.split("\n\n") if line]
    events = [line if line == "[DONE]" else json.loads(line) for line in lines]
    expected = recorded["events"]
    assert len(events) == len(expected)
    for event, like in zip(events, expected, strict=True):
        assert misfits(event, like) == []
    finished = [str(event).count("'finish_reason': 'length'") for event in events]
    assert finished == [str(like).count("'finish_reason': 'length'") for like in expected]


def test_what_tgi_makes_of_penalties(shared_mock: StartMock) -> None:
    """Chat's `presence_penalty: 0` is a repetition penalty of 2 there, which must be seen."""
    url = shared_mock("--engine", "tgi", *FAST)
    body = {"model": "tgi", "messages": [{"role": "user", "content": "ABAB"}], "max_tokens": 30}
    texts = [
        send(f"{url}/chat/completions", json=body | {"temperature": 0} | more).json()["choices"][0]
        for more in ({}, {"presence_penalty": -1.0}, {"presence_penalty": 0.0})
    ]
    plain, undone, punished = (text["message"]["content"] for text in texts)
    assert plain == undone != punished


def test_tgi_leaves_the_stop_string_where_it_is(shared_mock: StartMock) -> None:
    url = shared_mock("--engine", "tgi", *FAST)
    body = {"model": "tgi", "prompt": "AB", "max_tokens": 9, "temperature": 0}
    whole = send(f"{url}/completions", json=body).json()["choices"][0]["text"]
    stopped = send(f"{url}/completions", json=body | {"stop": [whole[4]]}).json()["choices"][0]
    assert stopped["text"] == whole[: whole.index(whole[4]) + 1]
    assert stopped["finish_reason"] == "stop_sequence"
    refused = send(f"{url}/completions", json=body | {"stop": list("abcdefghi")})
    assert (refused.status_code, refused.json()["error_type"]) == (422, "validation")


@pytest.mark.parametrize("stream", [True, False])
def test_nothing_pins_the_length_at_tgi(mock: StartMock, *, stream: bool) -> None:
    url = mock("--engine", "tgi", *FAST, "--natural-tokens", "3", "--seed", "4")
    body = {"model": "tgi", "prompt": "AB", "max_tokens": 60, "ignore_eos": True, "stream": stream}
    answer = send(f"{url}/completions", json=body)
    assert '"length"' not in answer.text
    chat = {"model": "tgi", "messages": [{"role": "user", "content": "AB"}], "max_tokens": 60}
    answer = send(f"{url}/chat/completions", json=chat | {"ignore_eos": True, "stream": stream})
    assert '"length"' not in answer.text
