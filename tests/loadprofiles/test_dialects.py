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


TGI_TOKEN = {"index": 2, "token": {"id": 29889, "text": ".", "logprob": -0.1, "special": False}}
TGI_LAST = TGI_TOKEN | {
    "token": {"id": 2, "text": "</s>", "logprob": -0.2, "special": True},
    "generated_text": " Deep.",
    "details": {
        "finish_reason": "eos_token", "generated_tokens": 3, "seed": None, "input_length": 7,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TGI_TOKEN | {"generated_text": None, "details": None}, Event(".", choice=True)),
        (TGI_TOKEN | {"top_tokens": [{"id": 1, "text": "a"}]}, Event(".", choice=True)),
        (TGI_LAST, Event("", "", "stop", 7, 3, choice=True, end=True)),
        (TGI_LAST | {"details": None}, Event(choice=True, end=True)),
        (TGI_TOKEN | {"generated_text": "a", "details": {"finish_reason": "length",
                      "generated_tokens": 2, "seed": 4}},
         Event(".", "", "length", None, 2, choice=True, end=True)),
        ({"error": "Model is overloaded", "error_type": "overloaded"},
         Event(error="Model is overloaded")),
    ],
)  # fmt: skip
def test_tgi(content: object, expected: Event) -> None:
    """Shapes of TGI 3's `router/src/lib.rs`; those without `input_length` are TGI 1's and 2's."""
    assert read("tgi", content) == expected


def test_tgi_whole() -> None:
    """GenerateResponse of `router/src/lib.rs`: the tokens' texts hold special ones, too."""
    whole = {
        "generated_text": " Deep.",
        "details": {"finish_reason": "length", "generated_tokens": 2, "seed": None, "prefill": [],
                    "tokens": [{"id": 21784, "text": " Deep", "logprob": -1.2, "special": False}]},
    }  # fmt: skip
    dialect = load_dialect("tgi")
    expected = Event(" Deep.", "", "length", None, 2, end=True)
    assert dialect.decode_whole(json.dumps(whole).encode()) == expected
    assert dialect.decode_whole(b'{"error":"no","error_type":"x"}').error == "no"
    assert dialect.decode_whole(b'{"object":"list"}') == Event()


def test_what_tgi_is_asked() -> None:
    body = json.loads(load_dialect("tgi").encode("m", TALK, 7, (), stream=True))
    assert body == {
        "inputs": "Be brief.\nOne? Two.\nThree?",
        "parameters": {"max_new_tokens": 7, "do_sample": False, "details": True},
    }


LLAMA_LAST = {
    "index": 0, "content": "", "tokens": [], "id_slot": 0, "stop": True, "model": "m.gguf",
    "tokens_predicted": 8, "tokens_evaluated": 5, "generation_settings": {"n_predict": 8},
    "prompt": "<s> hi", "has_new_line": False, "truncated": False, "stop_type": "limit",
    "stopping_word": "", "tokens_cached": 12,
    "timings": {"prompt_n": 5, "prompt_ms": 12.5, "predicted_n": 8, "predicted_ms": 81.25},
}  # fmt: skip
LLAMA_2023 = {
    "content": "", "generation_settings": {"n_predict": 8}, "model": "m.gguf", "prompt": "hi",
    "slot_id": 0, "stop": True, "stopped_eos": True, "stopped_limit": False, "stopped_word": False,
    "stopping_word": "", "timings": {"predicted_n": 8}, "tokens_cached": 12,
    "tokens_evaluated": 5, "tokens_predicted": 8, "truncated": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"index": 0, "content": " a", "tokens": [263], "stop": False, "id_slot": 0,
          "tokens_predicted": 3, "tokens_evaluated": 5}, Event(" a", choice=True)),
        ({"content": " a", "multimodal": False, "slot_id": 0, "stop": False},
         Event(" a", choice=True)),
        ({"content": "", "tokens": [1], "stop": False}, Event(choice=True)),
        (LLAMA_LAST, Event("", "", "length", 5, 8, end=True)),
        (LLAMA_LAST | {"stop_type": "eos"}, Event("", "", "stop", 5, 8, end=True)),
        (LLAMA_LAST | {"stop_type": "word"}, Event("", "", "stop", 5, 8, end=True)),
        (LLAMA_LAST | {"stop_type": "none"}, Event("", "", None, 5, 8, end=True)),
        (LLAMA_LAST | {"content": " all"}, Event(" all", "", "length", 5, 8, True, None, True)),
        (LLAMA_2023, Event("", "", "stop", 5, 8, end=True)),
        (LLAMA_2023 | {"stopped_eos": False, "stopped_limit": True},
         Event("", "", "length", 5, 8, end=True)),
        ({"error": {"code": 500, "message": "no slot", "type": "server_error"}},
         Event(error="no slot")),
    ],
)  # fmt: skip
def test_llamacpp(content: object, expected: Event) -> None:
    """Shapes of llama.cpp's `to_json_non_oaicompat` (2025/26) and of its server of 2023/24."""
    assert read("llamacpp", content) == expected
    data = json.dumps(content).encode()
    assert load_dialect("llamacpp").decode_whole(data) == expected


def test_how_transformers_is_told_to_write_on() -> None:
    """Its `generation_config` is a JSON text; min_new_tokens or no end token keeps it writing."""
    for name in ("openai-completions", "openai-chat"):
        dialect = load_dialect(name)
        for field, told in (("min_new_tokens", 7), ("eos_token_id", -1)):
            pin = (f"generation_config.{field}",)
            assert set(pin) <= set(dialect.pins)
            body = json.loads(dialect.encode("m", "hi", 7, pin, stream=True))
            assert json.loads(body["generation_config"])[field] == told
            assert not body.keys() & {"ignore_eos", "min_tokens", *pin}, "answered by 422"


def test_what_llamacpp_is_asked() -> None:
    dialect = load_dialect("llamacpp")
    body = json.loads(dialect.encode("m", "hi", 7, dialect.pins, stream=True))
    assert body == {
        "model": "m", "prompt": "hi", "n_predict": 7, "temperature": 0.0, "stream": True,
        "ignore_eos": True,
    }  # fmt: skip
    assert "ignore_eos" not in json.loads(dialect.encode("m", "hi", 7, (), stream=False))


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"refusal": "I cannot"}, Event("I cannot", choice=True)),  # OpenAI's own
        ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
         Event('f{"a":1}', choice=True)),  # SGLang: an object
        ({"function_call": {"name": "f", "arguments": "{}"}}, Event("f{}", choice=True)),
        ({"role": "assistant", "tool_calls": {"index": 0, "function": {"arguments": "{"}}},
         Event("{", choice=True)),  # TGI: one, and no list
        ({"role": "assistant", "content": None, "tool_calls": [
            {"id": "c-1", "type": "function", "index": 0, "function": {"name": "f"}}]},
         Event("f", choice=True)),  # vLLM's first chunk of a call
    ],
)  # fmt: skip
def test_text_of_every_channel(delta: dict[str, Any], expected: Event) -> None:
    assert read("openai-chat", chat(delta)) == expected
    lines = json.dumps(chat(delta)).encode()
    assert load_dialect("openai-chat").decode_lines(lines + b"\n" + lines) == [expected] * 2


def test_whole_answers_of_openai() -> None:
    """As vLLM's ChatCompletionResponse and CompletionResponse have them."""
    usage = {"prompt_tokens": 5, "total_tokens": 8, "completion_tokens": 3}
    message = {"role": "assistant", "content": "a", "refusal": None, "annotations": None,
               "audio": None, "function_call": None, "tool_calls": [], "reasoning": "hm",
               "reasoning_content": "hm"}  # fmt: skip
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole = {"object": "chat.completion", "choices": [choice], "usage": usage, "error": None}
    decode = load_dialect("openai-chat").decode_whole
    assert decode(json.dumps(whole).encode()) == Event("a", "hm", "stop", 5, 3, choice=True)
    choice = {"index": 0, "text": "a", "finish_reason": "length", "stop_reason": None}
    whole = {"object": "text_completion", "choices": [choice], "usage": usage}
    decode = load_dialect("openai-completions").decode_whole
    assert decode(json.dumps(whole).encode()) == Event("a", "", "length", 5, 3, choice=True)


@pytest.mark.parametrize(
    ("dialect", "content"),
    [
        ("tgi", {"token": {"text": "a"}, "details": {"finish_reason": "length"}}),
        ("openai-chat", chat({"content": "a"}) | {"object": "error", "message": "no"}),
        ("openai-completions", completion("a") | {"object": "error", "message": "no"}),
    ],
)
def test_what_holds_more_than_text_is_no_plain_text(dialect: str, content: object) -> None:
    line = json.dumps(content).encode()
    assert load_dialect(dialect).decode_lines(line) == [read(dialect, content)]
    assert (read(dialect, content).finish_reason or read(dialect, content).error) is not None
