from __future__ import annotations

import itertools
import json
from array import array
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadprofiles.answer import Answer, Reads, error_text, read_answer, shorten, trustworthy
from loadprofiles.dialects import Dialect, load_dialect
from loadprofiles.stream import Stream

MS = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
COMPLETIONS, CHAT = load_dialect("openai-completions"), load_dialect("openai-chat")


def event(text: str | None = None, newline: bytes = b"\n", **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    choices = [] if text is None else [{"text": text, "finish_reason": fields.pop("finish", None)}]
    return b"data: " + json.dumps({"choices": choices, **fields}).encode() + newline * 2


USAGE = event(usage={"prompt_tokens": 5, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"
WHOLE = event("a") + event("b") + event("c", finish="length") + USAGE + DONE


def read(body: bytes, dialect: Dialect = COMPLETIONS) -> Answer:
    """Read a body that came in one read."""
    reads = Reads(array("q", [2 * MS]), array("q", [MS]), array("q", [len(body)]))
    return read_answer(body, reads, dialect, kernel_clock=True)


def receive(response: bytes, cuts: list[int], *, must_end: bool = True) -> Answer:
    """Take a response in pieces, the n-th at n ms, through the real parser."""
    stream = Stream(b"", lambda _: None, None)
    positions = sorted({0, len(response), *(cut % len(response) for cut in cuts)})
    for number, (start, end) in enumerate(itertools.pairwise(positions), 1):
        stream.reads.user_ns.append(number * MS + 20_000)
        stream.reads.kernel_ns.append(number * MS)
        stream.feed(response[start:end])
        stream.reads.body_end.append(len(stream.body))
    assert stream.complete == must_end
    return read_answer(bytes(stream.body), stream.reads, COMPLETIONS, kernel_clock=True)


def chunked(body: bytes, sizes: list[int]) -> bytes:
    framed, rest = b"", body
    for size in [*sizes, len(body)]:
        piece, rest = rest[:size], rest[size:]
        framed += b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


texts = st.lists(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), min_size=1, max_size=8
)
noise = st.sampled_from(
    [b"", b": ping\n\n", b"event: message\n", b"data:\n\n", b"id: 7\r\n", b"retry: 3\r"]
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[str]]:
    newline = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    tokens = draw(texts)
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + draw(noise) + event("", newline)
    for token in tokens:
        body += draw(noise) + event(token, newline)
    body += event("", newline, finish="length") + draw(st.sampled_from([b"", USAGE]))
    return body + draw(st.sampled_from([b"", DONE, b"data: [DONE]"])), tokens


@given(
    streams(),
    st.lists(st.integers(0, 10_000), max_size=30),
    st.lists(st.integers(1, 300), max_size=9),
)
def test_cuts_change_nothing(
    stream: tuple[bytes, list[str]], cuts: list[int], sizes: list[int]
) -> None:
    body, tokens = stream
    response = chunked(body, sizes)
    whole, pieces = receive(response, []), receive(response, cuts)
    for answer in (whole, pieces):
        assert answer.error is None
        assert len(answer.chunk_at_ns) == len(tokens)
        assert answer.output_chars == sum(map(len, tokens))
        assert answer.finish_reason == "length"
        assert answer.chunk_at_ns == sorted(answer.chunk_at_ns)
        assert set(answer.reads_lag_us) == {20}
        assert answer.first_answer_ns == answer.chunk_at_ns[0]
    assert (whole.output_tokens, whole.prompt_tokens) == (
        pieces.output_tokens,
        pieces.prompt_tokens,
    )


@given(st.integers(1, len(WHOLE) - 1))
def test_an_event_has_the_stamp_of_its_last_byte(cut: int) -> None:
    length = HEAD + b"content-length: %d\r\n\r\n" % len(WHOLE)
    answer = receive(length + WHOLE, [len(length) + cut])
    ends = [WHOLE.index(text) + len(text) for text in (event(t)[:-2] for t in "ab")]
    expected = [MS if end <= cut else 2 * MS for end in ends]
    assert answer.chunk_at_ns[:2] == expected


@given(st.binary(max_size=300))
def test_any_body_is_classified(body: bytes) -> None:
    for dialect in (COMPLETIONS, CHAT):
        answer = read(body, dialect)
        assert answer.error in {"malformed", "truncated", "empty", "error_event"}
        assert answer.detail
        json.dumps(answer.detail).encode()


@given(st.binary(max_size=60), st.integers(0, len(WHOLE)))
def test_garbage_in_a_stream_is_classified(garbage: bytes, at: int) -> None:
    answer = read(WHOLE[:at] + garbage + WHOLE[at:])
    assert answer.error in {None, "malformed", "truncated", "empty", "error_event"}


@given(st.binary(min_size=1, max_size=80))
def test_garbage_instead_of_http_raises_one_kind(garbage: bytes) -> None:
    stream = Stream(b"", lambda _: None, None)
    try:
        stream.feed(garbage)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return
    assert not stream.complete


@pytest.mark.parametrize(
    ("body", "error", "detail"),
    [
        (b"", "empty", "no body"),
        (b"\xef\xbb\xbf\r\n", "empty", "no body"),
        (b": ping\n\n", "truncated", "before its first event"),
        (event("a"), "truncated", "without a finish reason"),
        (event("a") + event("b")[:-9], "truncated", "without a finish reason"),
        (event("", finish="stop") + DONE, "empty", "no generated text"),
        (DONE, "empty", "no generated text"),
        (event("a") + b"data: {oops\n\n" + DONE, "malformed", "oops"),
        (b"data: \xff\n\n", "malformed", "xff"),
        (b'data: {"x":' + b"[" * 99999 + b"\n\n", "malformed", "recursion"),
        (event("a") + event(error={"message": "engine died"}) + DONE, "error_event", "engine died"),
        (b'{"object":"text_completion","choices":[{"text":"hi"}]}', "malformed", "stream: true"),
        (b'{"error":{"message":"no"}}', "error_event", "with status 200: no"),
        (b"<html>Sign in</html>", "malformed", "Sign in"),
        (b"\x1f\x8b\x08", "malformed", "something else"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_said(body: bytes, error: str, detail: str) -> None:
    answer = read(body)
    assert answer.error == error
    assert detail in (answer.detail or "")


def test_a_whole_stream() -> None:
    answer = read(WHOLE)
    assert answer.error is None
    assert (answer.prompt_tokens, answer.output_tokens, answer.output_chars) == (5, 3, 3)
    assert (answer.finish_reason, answer.clock) == ("length", "kernel")
    assert answer.chunk_at_ns == [MS] * 3
    assert answer.reads_lag_us == [1000] * 3


def test_a_finish_reason_or_an_end_mark_is_enough() -> None:
    assert read(event("a", finish="stop")).error is None
    assert read(event("a") + DONE).error is None


def test_reasoning_is_text_but_no_answer() -> None:
    def delta(**fields: object) -> bytes:
        return b"data: " + json.dumps({"choices": [{"delta": fields}]}).encode() + b"\n\n"

    role, thought, word = (
        delta(role="assistant", content=""),
        delta(reasoning="hm"),
        delta(content="a"),
    )
    parts = [role, thought, word, DONE]
    ends, total = array("q"), 0
    for part in parts:
        total += len(part)
        ends.append(total)
    stamps = array("q", [MS, 2 * MS, 3 * MS, 4 * MS])
    answer = read_answer(b"".join(parts), Reads(stamps, stamps, ends), CHAT, kernel_clock=True)
    assert answer.chunk_at_ns == [2 * MS, 3 * MS]
    assert answer.first_answer_ns == 3 * MS
    thinking = read(thought + delta(finish_reason="length") + DONE, CHAT)
    assert (thinking.error, thinking.first_answer_ns) == (None, None)


def reads_at(user: list[int], kernel: list[int]) -> tuple[bytes, Reads]:
    pieces = [event(chr(97 + n)) for n in range(len(user))]
    ends = array("q", [len(b"".join(pieces[: n + 1])) for n in range(len(user))])
    return b"".join(pieces), Reads(array("q", user), array("q", kernel), ends)


@pytest.mark.parametrize(
    ("user", "kernel", "clock", "stamps"),
    [
        ([5 * MS, 9 * MS], [4 * MS, 8 * MS], "kernel", [4 * MS, 8 * MS]),
        ([5 * MS, 9 * MS], [4 * MS, 0], "user", [5 * MS, 9 * MS]),
        ([5 * MS, 9 * MS], [0, 0], "user", [5 * MS, 9 * MS]),
        ([5 * MS, 9 * MS], [4 * MS, 10 * MS], "user", [5 * MS, 9 * MS]),  # a clock step
        ([5 * MS, 9 * MS], [5 * MS + 900, 8 * MS], "kernel", [5 * MS, 8 * MS]),  # offset's error
        ([5 * MS, 9 * MS], [4 * MS, 3 * MS], "kernel", [4 * MS, 4 * MS]),  # packets overtook
    ],
)
def test_stamps(user: list[int], kernel: list[int], clock: str, stamps: list[int]) -> None:
    body, reads = reads_at(user, kernel)
    answer = read_answer(body + DONE, reads, COMPLETIONS, kernel_clock=True)
    assert (answer.clock, answer.chunk_at_ns) == (clock, stamps)
    assert bool(answer.reads_lag_us) == (clock == "kernel")
    assert all(lag >= 0 for lag in answer.reads_lag_us)
    assert trustworthy(reads) == (clock == "kernel")
    assert read_answer(body, reads, COMPLETIONS, kernel_clock=False).clock == "user"


def test_long_messages_are_cut() -> None:
    assert len(shorten("x y " * 9999)) <= 300
    assert len(error_text(b"<html>\n" + b"x" * 99_999)) <= 300
    assert error_text(b"\n upstream \n unavailable \xff") == "upstream unavailable \ufffd"
    assert error_text(b'{"error": {"message": "no"}}') == "no"
