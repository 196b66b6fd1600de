from __future__ import annotations

import itertools
import json
import zlib
from array import array
from typing import TYPE_CHECKING, Any

import httptools
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadprofiles.dialects import Dialect, dialect_names, load_dialect
from loadprofiles.wire.answer import Answer, Reads, is_brief, read_answer
from loadprofiles.wire.faults import error_text, shorten
from loadprofiles.wire.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable

MS = 1_000_000
WALL_NS = 10**18
"""CLOCK_REALTIME − CLOCK_MONOTONIC of these tests."""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
COMPLETIONS, CHAT = load_dialect("openai-completions"), load_dialect("openai-chat")


def event(text: str | None = None, newline: bytes = b"\n", **fields: Any) -> bytes:  # noqa: ANN401 - JSON
    choices = [] if text is None else [{"text": text, "finish_reason": fields.pop("finish", None)}]
    return b"data: " + json.dumps({"choices": choices, **fields}).encode() + newline * 2


USAGE = event(usage={"prompt_tokens": 5, "completion_tokens": 3})
DONE = b"data: [DONE]\n\n"
WHOLE = event("a") + event("b") + event("c", finish="length") + USAGE + DONE


def read_all(
    body: bytes,
    reads: Reads,
    dialect: Dialect = COMPLETIONS,
    *,
    kernel_clock: bool = True,
    keep_text: bool = False,
) -> Answer:
    """Take all the steps at once."""
    steps = read_answer(body, reads, dialect, kernel_clock=kernel_clock, keep_text=keep_text)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


def kernel_pairs(stamps_ns: Iterable[int]) -> array[int]:
    """Stamps as the kernel gives them, in s and ns of the wall clock; 0 means none."""
    pairs = (divmod(ns + WALL_NS, 10**9) if ns else (0, 0) for ns in stamps_ns)
    return array("q", itertools.chain.from_iterable(pairs))


def reads_of(user: Iterable[int], kernel: Iterable[int], ends: Iterable[int]) -> Reads:
    return Reads(array("q", user), kernel_pairs(kernel), array("q", ends), WALL_NS)


def read(body: bytes, dialect: Dialect = COMPLETIONS) -> Answer:
    """Read a body that came in one read."""
    reads = reads_of([2 * MS], [MS], [len(body)])
    return read_all(body, reads, dialect)


def read_apart(parts: list[bytes], dialect: Dialect = COMPLETIONS) -> Answer:
    """Read a body of which the n-th part came at n ms."""
    ends = array("q", itertools.accumulate(map(len, parts)))
    stamps = array("q", (n * MS for n in range(1, len(parts) + 1)))
    return read_all(b"".join(parts), reads_of(stamps, stamps, ends), dialect)


def receive(response: bytes, cuts: list[int], *, must_end: bool = True) -> Answer:
    """Take a response in pieces, the n-th at n ms, through the real parser."""
    stream = Stream(b"", lambda _: None, None)
    positions = sorted({0, len(response), *(cut % len(response) for cut in cuts)})
    for number, (start, end) in enumerate(itertools.pairwise(positions), 1):
        stream.reads.user_ns.append(number * MS + 20_000)
        stream.reads.kernel.extend(kernel_pairs([number * MS]))
        stream.feed(response[start:end])
        stream.reads.body_end.append(len(stream.body))
    assert stream.complete == must_end
    stream.reads.wall_minus_monotonic_ns = WALL_NS
    return read_all(bytes(stream.body), stream.reads)


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
        assert answer.silent_chunks == 1
        assert answer.chunk_at_ns[-1] <= (answer.end_ns or 0)
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
    answer = read_apart([role, thought, word, DONE], CHAT)
    assert answer.chunk_at_ns == [2 * MS, 3 * MS]
    assert answer.first_answer_ns == 3 * MS
    thinking = read(thought + delta(finish_reason="length") + DONE, CHAT)
    assert (thinking.error, thinking.first_answer_ns) == (None, None)


def reads_at(user: list[int], kernel: list[int]) -> tuple[bytes, Reads]:
    pieces = [event(chr(97 + n)) for n in range(len(user))]
    ends = array("q", [len(b"".join(pieces[: n + 1])) for n in range(len(user))])
    return b"".join(pieces), reads_of(user, kernel, ends)


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
    answer = read_all(body + DONE, reads)
    assert (answer.clock, answer.chunk_at_ns) == (clock, stamps)
    assert bool(answer.reads_lag_us) == (clock == "kernel")
    assert all(lag >= 0 for lag in answer.reads_lag_us)
    assert read_all(body, reads, kernel_clock=False).clock == "user"


def test_long_messages_are_cut() -> None:
    assert len(shorten("x y " * 9999)) <= 300
    assert len(error_text(b"<html>\n" + b"x" * 99_999)) <= 300
    assert error_text(b"\n upstream \n unavailable \xff") == "upstream unavailable \ufffd"
    assert error_text(b'{"error": {"message": "no"}}') == "no"
    assert error_text(b"{}\r\n") == ""


def delta(finish: str | None = None, **fields: object) -> bytes:
    choice = {"delta": fields, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


ROLE = delta(role="assistant", content="")


@pytest.mark.parametrize(
    ("dialect", "parts", "chunks", "silent", "end_ms"),
    [
        (COMPLETIONS, [event("a"), event("b", finish="length"), USAGE, DONE], 2, 0, 2),
        (COMPLETIONS, [event("a"), event(""), event("b"), USAGE], 2, 1, 3),  # half a character
        (COMPLETIONS, [event("a"), event("", finish="stop"), USAGE, DONE], 1, 1, 2),  # its end
        (COMPLETIONS, [event(""), event("a"), b": ping\n\n", USAGE, DONE], 1, 0, 2),
        (COMPLETIONS, [event(""), event("", finish="stop"), DONE], 0, 0, 2),
        (COMPLETIONS, [USAGE, DONE], 0, 0, None),
        (CHAT, [ROLE, delta(content="a"), delta(content=""), delta("stop"), DONE], 1, 2, 4),
        (CHAT, [delta(content="a"), ROLE, USAGE, DONE], 1, 0, 1),
        (CHAT, [delta(content="a"), delta("stop", role="assistant", content=""), DONE], 1, 1, 2),
    ],
)
def test_a_token_without_text_is_noticed(
    dialect: Dialect, parts: list[bytes], chunks: int, silent: int, end_ms: int | None
) -> None:
    answer = read_apart(parts, dialect)
    assert (len(answer.chunk_at_ns), answer.silent_chunks) == (chunks, silent)
    assert answer.end_ns == (None if end_ms is None else end_ms * MS)


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_request_that_the_server_gave_up_is_no_answer(reason: str) -> None:
    answer = read(event("a") + event("b", finish=reason) + USAGE + DONE)
    assert (answer.error, answer.finish_reason) == ("error_event", reason)
    assert reason in (answer.detail or "")
    assert (answer.output_tokens, len(answer.chunk_at_ns)) == (3, 2)


def test_half_a_character_is_text() -> None:
    """What servers send that count in UTF-16: the halves of an emoji in two chunks."""
    halves = event("\ud83d") + event("\ude00 \\ud83d") + event("\U0001f600")
    assert halves.count(b"ud83d") == 3
    answer = read(halves + DONE)
    assert (answer.error, len(answer.chunk_at_ns)) == (None, 3)
    assert answer.output_chars == len("�" + "� \\ud83d" + "\U0001f600")


def test_a_long_answer_is_read_in_small_steps() -> None:
    """The loop stands still for one step at a time."""
    count = 5000
    body = event("a") * count + DONE
    size = len(event("a"))
    ends = array("q", range(size, (count + 1) * size, size))
    stamps = array("q", range(MS, (count + 1) * MS, MS))
    ends[-1] = len(body)
    steps = read_answer(body, reads_of(stamps, stamps, ends), COMPLETIONS, kernel_clock=True)
    assert sum(1 for _ in steps) > len(body) / 20_000
    answer = read_all(body, reads_of(stamps, stamps, ends))
    assert answer.chunk_at_ns == stamps.tolist()


def test_what_is_brief() -> None:
    assert is_brief(bytearray(event("a") * 3 + DONE))
    assert is_brief(b"<html>" * 10_000)
    assert not is_brief(b'{"choices":[]}' * 10_000, streamed=False)
    assert not is_brief(bytearray(event("a") * 100))
    assert not is_brief(b": ping\n\n" + event("a") * 100)


def one_by_one(dialect: Dialect) -> Any:  # noqa: ANN401 - a dialect that decodes no lines
    class Slow:
        decode = staticmethod(dialect.decode)

        @staticmethod
        def decode_lines(lines: bytes) -> list[Any]:
            raise msgspec.DecodeError(lines)

    return Slow()


spoiled = st.sampled_from(
    [b"", b"{", b'{"a":{}', b"{}}", b'{"choices":[{"text":"\\ud83d"}]}', b'{"x":"}', b'{"},{}',
     b'{"error":"died"}', b'{"choices":[{"text":"b","finish_reason":"stop"}],"usage":null}',
     b'{"choices":[{"text":""}]}', b"[DONE]", b"\xff"]
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 5), spoiled), max_size=5))
def test_many_events_at_once_say_what_each_says(parts: list[tuple[int, bytes]]) -> None:
    body = b"".join(event("a") * n + b"data: %b\n\n" % odd for n, odd in parts)
    for dialect in map(load_dialect, dialect_names()):
        assert read(body, dialect) == read(body, one_by_one(dialect))


def test_hash_and_compression_tell_of_the_text() -> None:
    same = [read(event("ab") + event("c") + DONE), read(event("a") + event("bc") + DONE)]
    assert same[0].output_hash == same[1].output_hash
    assert len(same[0].output_hash) == 16
    assert same[0].output_hash != read(event("abd") + DONE).output_hash
    assert same[0].compression is None
    words = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    for text in ("the same again " * 2000, words):
        answer = read(b"".join(event(text[n : n + 7]) for n in range(0, len(text), 7)) + DONE)
        packed = len(zlib.compress(text.encode()))
        assert answer.compression == pytest.approx(len(text.encode()) / packed)
    repeating = read(event("the same again ") * 20 + DONE).compression
    assert repeating is not None
    assert repeating > 2.4
    nothing = read(event("") + DONE)
    assert (nothing.output_hash, nothing.compression) == ("", None)


def test_the_answers_text_is_kept_where_asked_for() -> None:
    body = delta(reasoning="hm ") + delta(content="a") + delta(content="b") + DONE
    reads = Reads(array("q", [2 * MS]), array("q", [0, MS]), array("q", [len(body)]))
    assert read_all(body, reads, CHAT).text == ""
    kept = read_all(body, reads, CHAT, keep_text=True)
    assert (kept.text, kept.output_chars, len(kept.chunk_at_ns)) == ("ab", 5, 3)


@given(
    st.lists(st.tuples(st.sampled_from([0, 7, 8, 9]), st.integers(0, 999_999_999)), max_size=9),
    st.integers(-5, 5),
)
def test_kernel_stamps_are_taken_apart_alike_however_they_lie(
    pairs: list[tuple[int, int]], offset: int
) -> None:
    kernel = array("q", itertools.chain.from_iterable(pairs))
    reads = Reads(array("q", [0] * len(pairs)), kernel, array("q"), offset)
    expected = [s and s * 1_000_000_000 + ns - offset for s, ns in pairs]
    assert reads.kernel_ns().tolist() == expected
    assert reads.kernel_ns(2, 5).tolist() == expected[2:5]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.sampled_from([DONE, b""]))
def test_chunks_have_the_stamps_of_their_reads(per_read: list[int], last: bytes) -> None:
    """However many events a read brings: none, one as usual, or several."""
    parts = [event("a") * count or b": ping\n\n" for count in per_read]
    parts[-1] += event("", finish="stop") + last
    answer = read_apart(parts)
    expected = [MS * at for at, count in enumerate(per_read, 1) for _ in range(count)]
    assert answer.chunk_at_ns == expected
    assert len(answer.reads_lag_us) in {0, len(expected)}
