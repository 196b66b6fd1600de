"""Answers that come as one document."""

from __future__ import annotations

import itertools
import json
from array import array
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadprofiles.dialects import dialect_names, load_dialect
from loadprofiles.wire.answer import Answer, Reads, read_whole
from loadprofiles.wire.sample import Ticket, sample_of
from loadprofiles.wire.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Generator

MS, SECOND = 1_000_000, 1_000_000_000
CHOICE = {"index": 0, "text": "some text", "finish_reason": "length"}
ANSWER: dict[str, Any] = {
    "choices": [CHOICE], "usage": {"prompt_tokens": 5, "completion_tokens": 3},
}  # fmt: skip
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def run_out(steps: Generator[None, None, Any]) -> Any:  # noqa: ANN401 - what they return
    """Take all the steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def read(body: bytes, dialect: str = "openai-completions", *, keep_text: bool = False) -> Answer:
    """Read a body of two reads, at 1 and 2 ms by the kernel's clock."""
    cut = len(body) // 2
    reads = Reads(
        array("q", [MS + 9000, 2 * MS + 9000]), array("q", [1, MS, 1, 2 * MS]),
        array("q", [cut, len(body)]), SECOND,
    )  # fmt: skip
    steps = read_whole(body, reads, load_dialect(dialect), kernel_clock=True, keep_text=keep_text)
    return run_out(steps)


def test_it_ends_with_its_last_byte_and_has_no_chunks() -> None:
    answer = read(json.dumps(ANSWER).encode())
    assert (answer.error, answer.finish_reason, answer.clock) == (None, "length", "kernel")
    assert answer.end_ns == 2 * MS
    assert (answer.chunk_at_ns, answer.reads_lag_us, answer.first_answer_ns) == ([], [], None)
    assert (answer.prompt_tokens, answer.output_tokens, answer.output_chars) == (5, 3, 9)
    assert len(answer.output_hash) == 16
    assert answer.text == ""
    assert read(json.dumps(ANSWER).encode(), keep_text=True).text == "some text"


@pytest.mark.parametrize(
    ("body", "error", "detail"),
    [
        (b"", "empty", "no body"),
        (b" \n", "empty", "no body"),
        (b'data: {"choices":[]}\n\n', "malformed", "a stream of events"),
        (b"<html>Sign in</html>", "malformed", "Sign in"),
        (b"error: overloaded", "malformed", "overloaded"),
        (b'{"choices":[{"te', "malformed", "truncated"),
        (b'{"object":"list","data":[]}', "malformed", "not an answer"),
        (b'{"error":{"message":"no"}}', "error_event", "with status 200: no"),
        (json.dumps({"choices": [CHOICE | {"text": ""}]}).encode(), "empty", "no generated text"),
        (json.dumps({"choices": [CHOICE | {"finish_reason": "abort"}]}).encode(),
         "error_event", "abort"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(body: bytes, error: str, detail: str) -> None:
    answer = read(body)
    assert (answer.error, answer.end_ns) == (error, None)
    assert detail in (answer.detail or "")


def test_half_a_character_is_text() -> None:
    answer = read(b'{"choices":[{"text":"\\ud83d!"}]}', keep_text=True)
    assert (answer.error, answer.text, answer.output_tokens) == (None, "\ufffd!", None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":"no \\ud83d"}}', "error_event"),
        (b'{"id":"\\ud83d","choices":[{"text":""}]}', "empty"),
        (b'{"id":"\\ud83d"}', "malformed"),
    ],
)
def test_half_a_character_makes_no_answer_of_what_is_none(body: bytes, error: str) -> None:
    answer = read(body)
    assert (answer.error, answer.end_ns) == (error, None)


@given(st.binary(max_size=200))
def test_any_body_is_classified(body: bytes) -> None:
    for name in dialect_names():
        answer = read(body, name)
        assert answer.error in {"malformed", "empty", "error_event"}
        assert answer.detail


def sample_from(response: bytes, dialect: str) -> Any:  # noqa: ANN401 - a Sample
    stream = Stream(b"", lambda _: None, Ticket(0, 0, "r", "measured", 0))
    stream.sent_ns = 1
    stream.reads.wall_minus_monotonic_ns = SECOND
    stream.note_user(2 * MS)
    stream.note_kernel(array("q", [1, MS]).tobytes())
    stream.feed(response)
    stream.note_end(len(stream.body))
    steps = sample_of(stream, load_dialect(dialect), [7], kernel_clock=True, streamed=False)
    return run_out(steps)[0]


def test_its_sample() -> None:
    body = json.dumps(ANSWER).encode()
    length = b"content-length: %d\r\n\r\n" % len(body)
    chunked = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for rest in (length + body, chunked):
        sample = sample_from(HEAD + rest, "openai-completions")
        assert (sample.error, sample.first_ns, sample.last_ns, sample.end_ns) == (
            None,
            None,
            MS,
            MS,
        )
        assert (sample.output_tokens, sample.token_source, sample.chunk_ns) == (3, "server", [])
    uncounted = json.dumps({"choices": [CHOICE]}).encode()
    sample = sample_from(
        HEAD + b"content-length: %d\r\n\r\n" % len(uncounted) + uncounted, "openai-completions"
    )
    assert (sample.output_tokens, sample.token_source) == (None, "chunks")


@pytest.mark.parametrize(("value", "tokens"), [(b"17", 17), (b"x", None), (b"9" * 20, None)])
def test_tgi_tells_the_prompts_tokens_in_a_header(value: bytes, tokens: int | None) -> None:
    body = b'{"generated_text":"a","details":{"finish_reason":"length","generated_tokens":1}}'
    head = HEAD + b"X-Prompt-Tokens: %b\r\ncontent-length: %d\r\n\r\n" % (value, len(body))
    sample = sample_from(head + body, "tgi")
    assert (sample.error, sample.prompt_tokens, sample.output_tokens) == (None, tokens, 1)


DOCUMENTS = {
    "openai-completions": ANSWER,
    "openai-chat": ANSWER | {"choices": [{"message": {"role": "assistant", "content": "some text"},
                                          "finish_reason": "length"}]},
    "tgi": {"generated_text": "some text",
            "details": {"finish_reason": "length", "generated_tokens": 3, "input_length": 5}},
    "llamacpp": {"content": "some text", "stop": True, "stop_type": "limit",
                 "tokens_predicted": 3, "tokens_evaluated": 5},
}  # fmt: skip


@given(
    st.sampled_from(sorted(DOCUMENTS)),
    st.lists(st.integers(0, 1000), max_size=12),
    st.lists(st.integers(1, 80), max_size=5),
)
def test_cut_anywhere_it_says_the_same(dialect: str, cuts: list[int], sizes: list[int]) -> None:
    body = json.dumps(DOCUMENTS[dialect]).encode()
    if sizes:  # chunks of these sizes and one of what is left
        ends = [0, *itertools.accumulate(sizes), len(body)]
        pieces = [body[a:b] for a, b in itertools.pairwise(ends)]
        framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        response = HEAD + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    else:
        response = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    stream = Stream(b"", lambda _: None, Ticket(0, 0, "r", "measured", 0))
    stream.reads.wall_minus_monotonic_ns = SECOND
    whole_at = 0
    places = sorted({0, len(response), *(cut % len(response) for cut in cuts)})
    for number, (start, end) in enumerate(itertools.pairwise(places), 1):
        stream.note_user(number * MS + 7000)
        stream.note_kernel(array("q", [1, number * MS]).tobytes())
        stream.feed(response[start:end])
        stream.note_end(len(stream.body))
        whole_at = whole_at or (number if len(stream.body) == len(body) else 0)
    steps = sample_of(stream, load_dialect(dialect), [3], kernel_clock=True, streamed=False)
    sample = run_out(steps)[0]
    assert (sample.error, sample.finish_reason, sample.output_chars) == (None, "length", 9)
    assert (sample.prompt_tokens, sample.output_tokens) == (5, 3)
    assert sample.last_ns == whole_at * MS
