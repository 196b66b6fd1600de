from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadprofiles.dialects import (
    Event,
    Message,
    as_text,
    dialect_names,
    error_message,
    load_dialect,
)
from loadprofiles.errors import UnknownDialectError

OPENAI = ["openai-chat", "openai-completions"]


def chat(delta: object, **choice: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, **choice}], "usage": None}


def completion(text: object, **choice: object) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, **choice}], "usage": None}


def read(dialect: str, content: object) -> Event:
    return load_dialect(dialect).decode(json.dumps(content).encode())


def test_the_folder_is_the_registry() -> None:
    assert set(OPENAI) <= set(dialect_names())
    for name in dialect_names():
        assert load_dialect(name).path.startswith("/")


def test_an_unknown_dialect_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownDialectError, match="did you mean openai-chat"):
        load_dialect("openai-chta")


@pytest.mark.parametrize("name", OPENAI)
def test_requests_stream_and_ask_for_usage(name: str) -> None:
    dialect = load_dialect(name)
    body = json.loads(dialect.encode("m", "hi", 7, ("ignore_eos", "min_tokens"), stream=True))
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert (body["max_tokens"], body["min_tokens"], body["ignore_eos"]) == (7, 7, True)
    assert "hi" in json.dumps(body)
    free = json.loads(dialect.encode("m", "hi", 7, (), stream=False))
    assert not {"ignore_eos", "min_tokens", "stream_options"} & set(free)
    assert free["stream"] is False


TALK = [
    Message("system", "Be brief."),
    Message("user", "One?"),
    Message("assistant", " Two."),
    Message("user", "Three?"),
]


def test_a_conversation_is_asked_turn_by_turn_or_as_one_text() -> None:
    chat = json.loads(load_dialect("openai-chat").encode("m", TALK, 7, (), stream=True))
    assert [(turn["role"], turn["content"]) for turn in chat["messages"]] == [
        ("system", "Be brief."), ("user", "One?"), ("assistant", " Two."), ("user", "Three?"),
    ]  # fmt: skip
    text = json.loads(load_dialect("openai-completions").encode("m", TALK, 7, (), stream=True))
    assert text["prompt"] == "Be brief.\nOne? Two.\nThree?"
    assert as_text(TALK).startswith(as_text(TALK[:2]) + TALK[2].content)  # as the cache has it
    assert as_text("\nalone") == "\nalone"


@pytest.mark.parametrize("name", OPENAI)
def test_no_body_breaks_the_lines_of_the_bodies_file(name: str) -> None:
    assert b"\n" not in load_dialect(name).encode("m", "a\nb\r\nc", 7, (), stream=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (completion(" a"), Event(" a", choice=True)),
        (completion(" two tokens"), Event(" two tokens", choice=True)),
        (completion(""), Event(choice=True)),
        (completion(None), Event(choice=True)),
        (completion("", finish_reason="stop"), Event(finish_reason="stop", choice=True)),
        ({"choices": []}, Event()),
        ({"choices": None}, Event()),
        ({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}},
         Event(prompt_tokens=3, output_tokens=9)),
        ({"usage": {"prompt_tokens": 3}}, Event(prompt_tokens=3)),
        ({"error": {"message": "died", "code": 500}}, Event(error="died")),
        ({"error": "died"}, Event(error="died")),
        ({"object": "error", "message": "died", "code": 400}, Event(error="died")),
        ({"object": "error"}, Event(error="an error event without a message")),
    ],
)  # fmt: skip
def test_completions(content: object, expected: Event) -> None:
    assert read("openai-completions", content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (chat({"role": "assistant", "content": ""}), Event()),
        (chat({"role": "assistant"}), Event()),
        (chat({"role": "assistant"}, finish_reason="stop"),
         Event(finish_reason="stop", choice=True)),
        (chat({"role": "assistant", "content": "a"}), Event("a", choice=True)),
        (chat(None), Event(choice=True)),
        (chat({}), Event(choice=True)),
        (chat({"content": None}, finish_reason="length"),
         Event(finish_reason="length", choice=True)),
        (chat({"content": "a"}), Event("a", choice=True)),
        (chat({"reasoning_content": "hm"}), Event(reasoning="hm", choice=True)),
        (chat({"reasoning": "hm"}), Event(reasoning="hm", choice=True)),
        (chat({"reasoning_content": "hm", "content": "a"}), Event("a", "hm", choice=True)),
        (chat({"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}),
         Event("f{", choice=True)),
        (chat({"tool_calls": [{"index": 0}]}), Event(choice=True)),
        ({"choices": [], "usage": {"completion_tokens": 9}}, Event(output_tokens=9)),
        ({"error": {"message": "died"}}, Event(error="died")),
    ],
)  # fmt: skip
def test_chat(content: object, expected: Event) -> None:
    assert read("openai-chat", content) == expected


@pytest.mark.parametrize("name", OPENAI)
def test_the_end_mark(name: str) -> None:
    assert load_dialect(name).decode(b"[DONE]") == Event(end=True)


@pytest.mark.parametrize("name", OPENAI)
@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"1", b"null", b'{"choices": 3}', b"\xff",
        b'{"choices":[{"finish_reason":"\xff"}]}', b'{"usage":{"completion_tokens":-1}}',
        b'{"usage":{"completion_tokens":1' + b"0" * 40 + b"}}", b'{"x":' + b"[" * 99999,
    ],
)  # fmt: skip
def test_garbage_is_told_apart(name: str, data: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        load_dialect(name).decode(data)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"error": {"message": "no such model", "code": 404}}', "no such model"),
        (b'{"error": {"code": 404}}', "{'code': 404}"),
        (b'{"error": "too long", "error_type": "validation"}', "too long"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"object": "error", "message": "too long"}', "too long"),
        (b"{}", None),
        (b"<html>", None),
        (b'"\xff', None),
    ],
)  # fmt: skip
def test_error_bodies(content: bytes, expected: str | None) -> None:
    assert error_message(content) == expected


@given(st.binary(max_size=200))
def test_error_bodies_of_any_bytes(content: bytes) -> None:
    said = error_message(content)
    assert said is None or isinstance(said, str)
