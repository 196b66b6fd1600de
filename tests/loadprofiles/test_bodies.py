from __future__ import annotations

import json
import tracemalloc
from array import array
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadprofiles.dialects import Message, dialect_names, load_dialect
from loadprofiles.driving.turns import Turns
from loadprofiles.prompts.bodies import Bodies, answer_mark, fill_marks, without_marks
from loadprofiles.wire.answer import Answer, Reads, read_answer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


@given(
    lines=st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"")), max_size=9)
)
def test_any_line_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("bodies") / "bodies.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + b"half a line")
    bodies = Bodies(path)
    assert [bodies[number] for number in range(len(bodies))] == lines
    bodies.close()
    bodies.close()


def test_a_hundred_thousand_bodies_cost_their_offsets_only(tmp_path: Path) -> None:
    path = tmp_path / "bodies.jsonl"
    path.write_bytes(b'{"prompt":"%d"}\n' % 10**200 * 100_000)
    tracemalloc.start()
    bodies = Bodies(path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(bodies) == 100_000
    assert held < 1_200_000  # bytes: 8 a body and the array's room to grow; the file has 22 MB
    bodies.close()


def _all_steps(steps: Generator[None, None, Answer]) -> Iterator[str]:
    """Yield the text of the answer that comes at the end."""
    answer = yield from steps  # type: ignore[misc]
    yield answer.text


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    said=st.lists(TEXT.map(without_marks), min_size=2, max_size=5),
    answers=st.lists(TEXT | st.sampled_from([answer_mark(0), answer_mark(1)]), min_size=4),
)
def test_any_answer_stands_in_the_next_turn_as_it_was(said: list[str], answers: list[str]) -> None:
    messages = [Message("user", said[0])]
    for turn, text in enumerate(said[1:]):
        messages += [Message("assistant", answer_mark(turn)), Message("user", text)]
    line = load_dialect("openai-chat").encode("m", messages, 5, (), stream=True)
    turns = Turns([-1, 0, 1, 2, 3][: len(said)], None)
    for turn, answer in enumerate(answers[: len(said) - 1]):
        turns.take(turn, b"")
        assert turns.is_open(turn + 1)
        assert not turns.may_follow(turn + 1)
        turns.answered(turn, answer)
        assert turns.may_follow(turn + 1)
    filled = json.loads(turns.take(len(said) - 1, line))
    assert [message["content"] for message in filled["messages"]] == [
        text for pair in zip(said, [*answers[: len(said) - 1], ""], strict=True) for text in pair
    ][:-1]


@pytest.mark.parametrize("half", [r"\ud83d", r"\ude00", r"a\ud83d\\b"])
def test_half_a_character_of_an_answer_makes_no_broken_body(half: str) -> None:
    sent = b'data: {"choices":[{"delta":{"content":"%b"},"finish_reason":"stop"}]}\n\n'
    body = sent % half.encode()
    reads = Reads(array("q", [1]), array("q", [0, 0]), array("q", [len(body)]), 0)
    chat = load_dialect("openai-chat")
    *_, text = _all_steps(read_answer(body, reads, chat, kernel_clock=False, keep_text=True))
    assert "\ufffd" in text
    filled = fill_marks(msgspec.json.encode(answer_mark(0)), [msgspec.json.encode(text)[1:-1]])
    assert json.loads(filled) == text


@pytest.mark.parametrize("name", dialect_names())
@given(answer=TEXT)
def test_every_dialect_has_its_marks_replaced(name: str, answer: str) -> None:
    def body(said: str) -> bytes:
        messages = [
            Message("system", "s"), Message("user", "one"), Message("assistant", said),
            Message("user", "two"),
        ]  # fmt: skip
        return load_dialect(name).encode("m", messages, 5, (), stream=True)

    filled = fill_marks(body(answer_mark(0)), [msgspec.json.encode(answer)[1:-1]])
    assert json.loads(filled) == json.loads(body(answer))


def test_a_session_with_a_failed_turn_goes_no_further() -> None:
    turns = Turns([-1, -1, 0, 1, 2], [1, 2, 3, 4, 5])
    assert turns.sessions == 2
    first, second = turns.begin(), turns.begin()
    assert (first, second) == (0, 1)
    assert (turns.following(0), turns.following(1), turns.following(2)) == (2, 3, 4)
    assert (turns.following(3), turns.following(4)) == (None, None)
    turns.take(0, b"")
    turns.answered(0, None)
    assert not turns.is_open(2)
    assert not turns.may_follow(2)
    again = turns.begin()
    assert (again, turns.position(again), turns.following(again)) == (5, 0, 7)
    assert turns.think_ns(7) == 3
    assert turns.think_ns(None) == 2, "the next session is the second"


def test_answers_are_forgotten_with_their_session() -> None:
    turns = Turns([-1, 0, 1], None)
    for _ in range(100):
        turn: int | None = turns.begin()
        while turn is not None:
            turns.take(turn, b"")
            turns.answered(turn, "answer")
            turn = turns.following(turn)
    assert not turns._quotes
    assert not turns._open
