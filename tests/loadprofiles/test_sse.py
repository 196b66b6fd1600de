from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadprofiles.wire import sse
from loadprofiles.wire.sse import batches, events

BOM = b"\xef\xbb\xbf"


def oracle(body: bytes) -> list[bytes]:
    """The data of each event, by the letter of the standard's interpretation rules."""
    lines = re.split(rb"\r\n|\n|\r", body.removeprefix(BOM))
    found: list[bytes] = []
    data: list[bytes] = []
    for line in [*lines, b""]:  # what ends without a blank line counts here
        name, colon, value = line.partition(b":")
        if not line:
            found.append(b"\n".join(data))
            data = []
        elif name == b"data" and colon:
            data.append(value.removeprefix(b" "))
    return [event for event in found if event]


SEPARATORS = "\u2028\x85".encode()
pieces = st.sampled_from(
    [
        b"data:", b"data: ", b"data", b": ping", b"event: x", b"id:1", b"\r", b"\n", b"\r\n",
        b"\n\n", b"{}", b"[DONE]", b" ", b"x", b"\x00", b"\xff", SEPARATORS, BOM,
    ]
)  # fmt: skip


@given(st.lists(pieces, max_size=40).map(b"".join))
@example(b"data: a\r\rdata: b\n\ndata: c\r\n\r\n")
@example(BOM + b"data: a\ndata:b\n\n: comment\n\ndata:\n\ndata: c")
@example('data: {"text": "a\u2028b\u0085c"}\n\n'.encode())
def test_events_are_the_standards(body: bytes) -> None:
    assert [data for _, data in events(body)] == oracle(body)


@given(st.binary(max_size=400))
def test_any_bytes_are_read(body: bytes) -> None:
    ends = [end for end, _ in events(body)]
    assert ends == sorted(ends)
    assert all(0 < end <= len(body) for end in ends)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("start", [b"", BOM])
def test_an_event_ends_with_its_data(newline: bytes, start: bytes) -> None:
    first, second = b"data: one", b"data: two" + newline + b"data: three"
    body = start + first + newline * 2 + b": ping" + newline * 2 + second + newline * 2
    assert list(events(body)) == [
        (len(start + first), b"one"),
        (len(body) - 2 * len(newline), b"two\nthree"),
    ]


def test_a_line_separator_inside_json_is_text() -> None:
    text = "data: a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\n\n".encode()
    assert [data for _, data in events(text)] == [text[6:-2]]


@given(st.lists(pieces, max_size=40).map(b"".join), st.integers(1, 20))
def test_pieces_of_any_size_change_nothing(body: bytes, size: int) -> None:
    whole = list(events(body))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sse, "_PIECE_BYTES", size)
        assert list(events(bytearray(body))) == whole


alike = st.sampled_from([b'data: {"a":1}\n\n', b'data: {"b":"\\u00e9}"}\n\n', b"data: {}\n\n"])
odd = st.sampled_from(
    [
        b"", b": ping\n\n", b"data: [DONE]\n\n", b'data: {"a":\n\n', b"data:{}\n\n", b"\n",
        b"data: {}\ndata: {}\n\n", b'data: {"x"}\n\ndata: {}}\n\n', b"data: 1}\n\n", b"\r\n", BOM,
        b"data: {}", b"data: {}\n", b"data: [DONE]", b"event: e\ndata: {}\n\n", b"error: {}\n\n",
    ]
)  # fmt: skip


@given(st.lists(st.tuples(st.lists(alike, max_size=6).map(b"".join), odd), max_size=6))
@example([(b"", b"data:{}\n\n")] * 5)
def test_batches_are_the_events(parts: list[tuple[bytes, bytes]]) -> None:
    body = b"".join(itertools.chain.from_iterable(parts))
    for size in (1, 40, 16_384):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sse, "_BATCH_BYTES", size)
            patch.setattr(sse, "_BATCH_EVENTS", 3)
            found = list(batches(bytearray(body)))
        told = []
        for ends, data, lines in found:
            each = data if lines is None else lines.split(b"\n")
            told += zip(ends, each, strict=True)
        assert told == list(events(body))


def test_alike_events_are_taken_together() -> None:
    """Some 250 bytes each, as vLLM sends them, and the end mark apart."""
    one = b'data: {"choices":[{"text":"' + b"x" * 220 + b'"}]}\n\n'
    sizes = [(len(b.ends), b.lines is not None) for b in batches(one * 100 + b"data: [DONE]\n\n")]
    assert sizes == [(65, True), (35, True), (1, False)]
    assert [b.lines for b in batches(b'data:{"a":1}\n\n')] == [b'{"a":1}']


def test_the_error_field_of_older_llama_cpp() -> None:
    """`server_sent_event(sink, "error", …)` in its `examples/server/utils.hpp` (2024)."""
    body = b'data: {}\n\nerror: {"code":500,"message":"no slot"}\n\n'
    assert [data for _, data in events(body)][1] == b'{"error": {"code":500,"message":"no slot"}}'
