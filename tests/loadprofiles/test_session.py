from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

import msgspec
import pytest

from loadprofiles.dialects import load_dialect
from loadprofiles.driving import session as session_module
from loadprofiles.driving import usage as usage_module
from loadprofiles.driving.session import Session
from loadprofiles.records import HEADERS_VARIABLE, PLAN_FILE, DrivePlan, Endpoint, read_samples
from loadprofiles.wire.connections import Address
from loadprofiles.wire.engine import Engine
from loadprofiles.wire.heads import request_heads
from loadprofiles.wire.sample import Ticket
from loadprofiles.wire.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

URL = "http://127.0.0.1:1/v1"
SECOND = 1_000_000_000
EVENT = b'data: {"choices":[{"text":"a"}]}\n\n'


def plan_of(folder: Path) -> DrivePlan:
    return msgspec.json.decode((folder / PLAN_FILE).read_bytes(), type=DrivePlan)


@pytest.fixture
def session(make_cell: Callable[..., Path]) -> Iterator[Session]:
    folder = make_cell(URL, mode="closed", streams=1, requests=5)
    engine = Engine([Address(socket.AF_INET, ("127.0.0.1", 1))], 5, select.epoll)
    made = Session(folder, plan_of(folder), load_dialect("openai-completions"), engine)
    yield made
    made.close()
    engine.close()


def finished(seq: int, events: int, **fields: object) -> Stream:
    stream = Stream(b"", lambda _: None, Ticket(seq, 4, f"r{seq}", "measured", 0))
    stream.status = 200
    stream.body += EVENT * events + b"data: [DONE]\n\n"
    stream.reads.user_ns.append(stream.submitted_ns)
    stream.reads.kernel.extend(divmod(stream.submitted_ns, 10**9))
    stream.reads.body_end.append(len(stream.body))
    stream.done_ns = stream.submitted_ns + 1000
    for name, value in fields.items():
        setattr(stream, name, value)
    stream.reads.body_end[0] = len(stream.body)
    return stream


def test_undecoded_answers_are_bounded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is never idle never decodes: then ending streams have to do it."""
    size = len(finished(0, 100).body)
    monkeypatch.setattr(session_module, "_UNDECODED_BYTES", 10 * size)
    for seq in range(50):
        session._keep(finished(seq, 100), at_once=False)
        assert session._undecoded_bytes <= 10 * size
    assert session.samples >= 39
    while session.decode():
        pass
    assert (session.samples, session._undecoded_bytes) == (50, 0)


def test_a_busy_loop_decodes_now_and_then(session: Session) -> None:
    for seq in range(3):
        session._keep(finished(seq, 2), at_once=False)
    for _ in range(100):  # each for some 0.3 ms at most
        session.decode_some()
    assert session.samples > 0
    while session.decode():
        pass
    session._keep(finished(3, 2), at_once=False)
    while session.decode():
        pass
    session._keep(finished(4, 2), at_once=False)
    session.decode_some()
    assert session.samples == 4, "one was decoded since: the loop finds time by itself"
    for _ in range(100):
        session.decode_some()
    assert session.samples == 5


def test_a_long_answer_is_decoded_bit_by_bit(session: Session, tmp_path: Path) -> None:
    session._keep(finished(0, 20_000), at_once=True)
    session._keep(finished(1, 1), at_once=False)
    calls = 1
    while session.decode(0):
        calls += 1
    assert calls > 20_000 * len(EVENT) / 20_000
    session.flush()
    samples = list(read_samples(tmp_path / "cell0"))
    assert [(sample.seq, sample.output_tokens) for sample in samples] == [(0, 20_000), (1, 1)]


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({}, False),
        ({"body": b"data: [DONE]\n\n"}, True),  # empty
        ({"body": b"<html>" * 5000}, True),
        ({"body": EVENT + b'data: {"error": "no"}\n\n'}, True),
        ({"status": 503, "body": b""}, True),
        ({"error": "timeout", "body": EVENT * 1000}, True),
        ({"body": EVENT * 1000 + b'data: {"error": "no"}\n\n'}, False),  # nobody knows yet
    ],
)
def test_what_is_known_of_an_answer_at_its_end(
    session: Session, fields: dict[str, object], *, failed: bool
) -> None:
    assert session._keep(finished(0, 3, **fields), at_once=True) == failed


def test_a_clock_that_is_set_is_noticed_before_its_stamps_are_used(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.engine.kernel_stamps = True
    session._keep(finished(0, 3), at_once=True)
    session._keep(finished(1, 99), at_once=False)
    monkeypatch.setattr(session.engine, "clock_step_ns", lambda: 700_000)
    session.decode(0)
    session.close()
    clocks = [sample.clock for sample in read_samples(tmp_path / "cell0")]
    assert clocks == ["kernel", "user"]
    report = session.report({})
    assert (report.clock, report.clock_step_ns) == ("user", 700_000)


def test_a_clock_that_is_set_after_the_last_answer_is_noticed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.engine.kernel_stamps = True
    monkeypatch.setattr(session.engine, "clock_step_ns", lambda: -60_000)
    assert session.report({}).clock_step_ns == -60_000


def test_only_pauses_in_the_window_count(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100 * SECOND]
    for module in (session_module, usage_module):
        monkeypatch.setattr(module, "_now", lambda: now[0])
    session.pause(90 * SECOND)
    session.open_window(101 * SECOND)
    now[0] = 103 * SECOND
    session.pause(99 * SECOND)
    session.pause(102 * SECOND)
    session.close_window()
    now[0] = 110 * SECOND
    session.pause(102 * SECOND)
    session.pause(104 * SECOND)
    assert session.report({}).paused_s == 2 + 1 + 1


def test_only_thinking_in_the_window_and_until_now_counts(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100 * SECOND]
    for module in (session_module, usage_module):
        monkeypatch.setattr(module, "_now", lambda: now[0])
    session.thought(90 * SECOND, 95 * SECOND)
    session.open_window(101 * SECOND)
    now[0] = 103 * SECOND
    session.thought(100 * SECOND, 102 * SECOND)
    session.thought(102 * SECOND, 150 * SECOND)
    session.close_window()
    now[0] = 110 * SECOND
    session.thought(102 * SECOND, 150 * SECOND)
    assert session.report({}).thinking_s == 1 + 1 + 1


def test_events_without_text_reach_the_sample(session: Session, tmp_path: Path) -> None:
    body = EVENT + b'data: {"choices":[{"text":""}]}\n\ndata: [DONE]\n\n'
    session._keep(finished(0, 0, body=body), at_once=True)
    session.flush()
    (sample,) = read_samples(tmp_path / "cell0")
    assert (sample.silent_chunks, sample.end_ns) == (1, sample.last_ns)


@pytest.mark.parametrize(
    ("fields", "error", "detail"),
    [
        ({}, None, None),
        ({"error": "reset", "detail": "gone"}, "reset", "gone"),
        ({"status": 500, "body": b'{"error": "no"}'}, "http_500", "no"),
        ({"status": 500, "body": b"ups", "error": "truncated"}, "http_500", "ups"),
        ({"status": 500, "error": "timeout", "detail": "late"}, "timeout", "late"),
        ({"status": 429, "body": b"", "note": "Retry-After: 7"}, "http_429", "Retry-After: 7"),
        (
            {"status": 302, "body": b"", "note": "Location: /login"},
            "http_302",
            "redirects are not followed: Location: /login",
        ),
        ({"status": 201, "body": b"", "note": "Location: /job/1"}, "http_201", "Location: /job/1"),
        ({"status": 204, "body": b""}, "http_204", ""),
    ],
)
def test_errors(
    session: Session,
    tmp_path: Path,
    fields: dict[str, object],
    error: str | None,
    detail: str | None,
) -> None:
    session._keep(finished(0, 3, **fields), at_once=True)
    session.flush()
    (sample,) = read_samples(tmp_path / "cell0")
    assert (sample.error, sample.detail) == (error, detail)


def test_requests(make_cell: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    monkeypatch.setenv(HEADERS_VARIABLE, '{"X-Tenant": "a"}')
    folder = make_cell(
        "http://[::1]:8000/v1",
        mode="closed",
        streams=1,
        headers=["X-Tenant"],
        api_key_env="MY_KEY",
    )
    [head] = request_heads(plan_of(folder))
    lines = (head + b"r1").split(b"\r\n")
    assert lines[0] == b"POST /v1/completions HTTP/1.1"
    assert {
        b"Host: [::1]:8000",
        b"X-Tenant: a",
        b"Authorization: Bearer s3cret",
        b"X-Request-Id: r1",
    } <= set(lines)
    assert b"s3cret" not in (folder / PLAN_FILE).read_bytes()


@pytest.mark.parametrize(
    ("tls", "port", "host", "said"),
    [
        (False, 80, "h.example", b"h.example"),
        (True, 443, "h.example", b"h.example"),
        (True, 80, "h.example", b"h.example:80"),
        (False, 443, "::1", b"[::1]:443"),
        (True, 443, "fe80::1%eth0", b"[fe80::1]"),
    ],
)
def test_the_host_as_a_url_has_it(
    make_cell: Callable[..., Path], host: str, port: int, said: bytes, *, tls: bool
) -> None:
    folder = make_cell(URL, mode="closed", streams=1, requests=5, tls=tls)
    plan = msgspec.structs.replace(
        plan_of(folder),
        host=host,
        port=port,
        replicas=[Endpoint(host="b", port=9, path="/other/completions")],
    )
    first, second = request_heads(plan)
    assert first.split(b"\r\n")[1] == b"Host: " + said
    assert second.startswith(b"POST /other/completions HTTP/1.1\r\nHost: b:9\r\n")
