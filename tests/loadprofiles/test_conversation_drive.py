"""Sessions through the driver's process: does the next turn hold the server's own last answer?"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from loadprofiles.plan import Target, make_plan
from loadprofiles.profile import Profile
from loadprofiles.records import read_drive_report, read_samples

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from loadprofiles.records import DrivePlan, Sample

    RunDriver = Callable[[Path], subprocess.CompletedProcess[str]]

NASTY = ['"', "\\", "\n", "\x00", "\x1f", "</s>", "é", "😀", "\u2028", "\ufdd00\ufdd1", "{", " a"]


class Talking(BaseHTTPRequestHandler):
    """Gives each question an answer of nasty characters and keeps both; some answers fail."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[Any]]
    answers: ClassVar[dict[str, str]]
    """By the question, as JSON."""
    fail: ClassVar[Callable[[int], bool]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        question = body.get("messages") or body["prompt"]
        number = len(self.asked)
        self.asked.append(question)
        draw = random.Random(json.dumps(question))  # noqa: S311 - no secret
        parts = draw.choices(NASTY, k=9)
        self.answers[json.dumps(question)] = "".join(parts)
        chat = "messages" in body
        events = [
            {"choices": [{"delta": {"content": part}} if chat else {"text": part}]}
            for part in parts
        ]
        if chat:  # what a model thinks is no part of a conversation
            events.insert(0, {"choices": [{"delta": {"reasoning_content": "hm"}}]})
        if type(self).fail(number):
            events[5] = {"error": {"message": "engine died"}}
        sent = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        # above BRIEF_BYTES the driver does not look into an answer at once
        data = sent.encode() + b": filler\n\n" * 600 + b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A driver that has ended is no error."""


@pytest.fixture
def talking() -> type[Talking]:
    Talking.asked, Talking.answers = [], {}
    Talking.fail = lambda _: False
    return Talking


@contextlib.contextmanager
def listening(handler: type[Talking]) -> Iterator[int]:
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


CHATS = {
    "name": "chats",
    "arrival": {"kind": "closed"},
    "levels": [4],
    "prompt_tokens": 12,
    "output_tokens": 9,
    "warmup_requests": 4,
    "drain_s": 5,
    "session": {"turns": 3, "user_tokens": 6},
}
CLOSED = CHATS | {"requests": 60}
OPEN = CHATS | {
    "arrival": {"kind": "poisson"},
    "levels": [15],
    "duration_s": 2,
    "session": {"turns": 3, "user_tokens": 6, "think_s": 0.05},
}


def drive(
    folder: Path, talking: type[Talking], run_driver: RunDriver, shape: dict[str, Any], dialect: str
) -> tuple[DrivePlan, list[Sample]]:
    folder.mkdir()
    with listening(talking) as port:
        plan = make_plan(
            folder,
            profile=Profile.model_validate(shape),
            level=shape["levels"][0],
            repeat=1,
            seed=1,
            target=Target(host="127.0.0.1", port=port, path="/v1", model="m"),
            dialect=dialect,
        )
        run_driver(folder)
    return plan, list(read_samples(folder))


def turn_of(plan: DrivePlan, sample: Sample) -> int:
    assert plan.after is not None
    turn, position = 0, sample.body - plan.warmup
    while (position := plan.after[position]) >= 0:
        turn += 1
    return turn


@pytest.mark.parametrize("shape", [CLOSED, OPEN], ids=["closed", "open"])
def test_the_next_turn_holds_the_servers_own_answer(
    tmp_path: Path, talking: type[Talking], run_driver: RunDriver, shape: dict[str, Any]
) -> None:
    plan, samples = drive(tmp_path / "cell", talking, run_driver, shape, "openai-chat")
    measured = [sample for sample in samples if sample.phase == "measured"]
    assert not [sample.error for sample in measured if sample.error]
    later = [messages for messages in talking.asked if len(messages) > 1]
    assert len(later) > 15
    for messages in later:
        roles = [message["role"] for message in messages]
        assert roles == ["user", "assistant"] * (len(messages) // 2) + ["user"]
        assert messages[-2]["content"] == talking.answers[json.dumps(messages[:-2])]
    turns = Counter(turn_of(plan, sample) for sample in measured)
    assert turns[0] >= turns[1] >= turns[2] > 0
    for sample in measured:
        assert sample.body == plan.warmup + sample.seq
    assert {len(messages) for messages in talking.asked[: plan.warmup]} == {1}
    assert 20 < (read_drive_report(tmp_path / "cell").rss_peak_mib or 0) < 500


def test_a_text_goes_on_where_the_answer_ended(
    tmp_path: Path, talking: type[Talking], run_driver: RunDriver
) -> None:
    drive(tmp_path / "cell", talking, run_driver, CLOSED, "openai-completions")
    known = [json.loads(question) + answer for question, answer in talking.answers.items()]
    later = [text for text in talking.asked if any(text.startswith(whole) for whole in known)]
    assert len(later) >= 30
    assert not any("\ufdd0" in text for text in talking.asked if text not in later)


def test_a_session_ends_with_a_turn_that_fails(
    tmp_path: Path, talking: type[Talking], run_driver: RunDriver
) -> None:
    talking.fail = lambda number: number > 10 and number % 4 == 0
    plan, samples = drive(tmp_path / "cell", talking, run_driver, CLOSED, "openai-chat")
    measured = {s.seq: s for s in samples if s.phase == "measured"}
    failed = {seq for seq, sample in measured.items() if sample.error}
    assert {measured[seq].error for seq in failed} == {"error_event"}
    assert len(failed) > 5
    assert plan.after is not None
    for seq in measured:  # broken sessions leave so many requests over that others start over
        rounds, position = divmod(seq, len(plan.after))
        before = plan.after[position] + rounds * len(plan.after)
        assert plan.after[position] < 0 or (before in measured and before not in failed)
    assert len(measured) == 60


def test_later_turns_are_due_when_the_user_has_thought(
    tmp_path: Path, talking: type[Talking], run_driver: RunDriver
) -> None:
    plan, samples = drive(tmp_path / "cell", talking, run_driver, OPEN, "openai-chat")
    measured = {s.seq: s for s in samples if s.phase == "measured"}
    assert plan.after is not None
    assert plan.due_ns is not None
    assert plan.duration_ns is not None
    start_ns = measured[0].due_ns - plan.due_ns[0]
    for seq, sample in measured.items():
        before = plan.after[seq]
        if before < 0:
            assert sample.due_ns == start_ns + plan.due_ns[seq]
        else:
            assert sample.due_ns - (measured[before].done_ns or 0) == 50_000_000
        assert sample.due_ns < start_ns + plan.duration_ns
    follows = {before: seq for seq, before in enumerate(plan.after) if before >= 0}
    for seq, sample in measured.items():  # and whatever was due in the window has left
        if seq in follows and follows[seq] not in measured:
            assert (sample.done_ns or 0) + 50_000_000 >= start_ns + plan.duration_ns


def test_a_closed_loop_that_outlasts_its_sessions_starts_over(
    tmp_path: Path, talking: type[Talking], run_driver: RunDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadprofiles.plan.POOL_LEAST", 9)
    monkeypatch.setattr("loadprofiles.plan.POOL_MOST", 9)
    shape = CHATS | {"duration_s": 1.5}
    plan, samples = drive(tmp_path / "cell", talking, run_driver, shape, "openai-chat")
    measured = [sample for sample in samples if sample.phase == "measured"]
    assert plan.after is not None
    assert len(plan.after) == 9 + 4 * 3
    assert len(measured) > 40
    assert len({sample.seq for sample in measured}) == len(measured)
    assert all(sample.body == plan.warmup + sample.seq % 21 for sample in measured)
    for messages in talking.asked:
        if len(messages) > 1:
            assert "\ufdd0" not in messages[0]["content"]
            assert messages[-1]["role"] == "user"
