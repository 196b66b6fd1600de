from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from launchers.mock import FAULTS

ROOT = Path(__file__).parents[2]
StartMock = Callable[..., str]


def call(
    url: str,
    path: str,
    body: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, dict[str, str], bytes]:
    place = urlsplit(url)
    host, port = place.hostname or "", place.port
    connection = (
        http.client.HTTPConnection(host, port, timeout=10)
        if tls is None
        else http.client.HTTPSConnection(host, port, timeout=10, context=tls)
    )
    try:
        method, content = ("GET", None) if body is None else ("POST", json.dumps(body))
        connection.request(method, path, content, headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def stream(url: str, tokens: int = 5, path: str = "/v1/completions", **headers: str) -> list[Any]:
    text = "thirty-two characters, 8 tokens."
    prompt = {"messages": [{"content": text}]} if "chat" in path else {"prompt": text}
    asked = {"max_tokens": tokens, "stream": True, **prompt}
    status, _, body = call(url, path, asked, headers)
    assert status == 200
    events = [line[6:] for line in body.decode().split("\n") if line]
    return [json.loads(data) if data != "[DONE]" else None for data in events]


def test_it_passes_for_an_openai_server(mock: StartMock) -> None:
    url = mock("--ttft-ms", "1", "--itl-ms", "1")
    assert call(url, "/health")[0] == 200
    models = json.loads(call(url, "/v1/models")[2])
    assert models["data"][0]["id"] == "mock"
    assert call(url, "/nowhere")[0] == 404
    whole = json.loads(call(url, "/v1/completions", {"max_tokens": 4})[2])
    assert whole["choices"][0]["text"]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_streams_have_the_length_asked_for(mock: StartMock, path: str) -> None:
    *events, usage, end = stream(mock("--ttft-ms", "1", "--itl-ms", "1"), 5, path)
    chat = "chat" in path
    texts = [
        choice["delta"].get("content") if chat else choice["text"]
        for event in events
        for choice in event["choices"]
    ]
    assert [text for text in texts if text] == [" token"] * 5
    assert [event["choices"][0]["finish_reason"] for event in events][-2:] == [None, "length"]
    assert usage["usage"] == {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}
    assert end is None


def test_the_truth_is_written_down(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--ttft-ms", "40", "--itl-ms", "20", "--truth", str(truth))
    begin = time.perf_counter_ns()
    stream(url, 4, **{"X-Request-Id": "r7"})
    end = time.perf_counter_ns()
    (line,) = map(json.loads, truth.read_text().splitlines())
    assert line["request_id"] == "r7"
    times = [begin, line["received_ns"], *line["sent_ns"], end]
    assert times == sorted(times)
    assert line["sent_ns"][0] - line["received_ns"] >= 39e6
    assert line["sent_ns"][-1] - line["sent_ns"][0] >= 55e6


def test_slots_make_a_queue(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--ttft-ms", "30", "--itl-ms", "1", "--slots", "1", "--truth", str(truth))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: stream(url, 2), range(3)))
    spans = [json.loads(line)["sent_ns"] for line in truth.read_text().splitlines()]
    assert all(b[0] - a[-1] >= 25e6 for a, b in itertools.pairwise(spans))


def test_an_api_key_is_insisted_on(mock: StartMock) -> None:
    url = mock("--api-key", "k1")
    assert call(url, "/v1/models")[0] == 401
    assert call(url, "/v1/models", headers={"Authorization": "Bearer k1"})[0] == 200


@pytest.mark.parametrize("fault", [name for name in FAULTS if name.startswith("http_")])
def test_error_statuses(mock: StartMock, fault: str) -> None:
    status, headers, body = call(mock("--fault", fault), "/v1/completions", {"stream": True})
    assert status == int(fault[5:])
    assert ("retry-after" in headers) == (status == 429)
    assert body == b"upstream unavailable" if status == 503 else json.loads(body)["error"]


def test_a_share_of_faults_is_seeded(mock: StartMock) -> None:
    seen = []
    for _ in range(2):
        url = mock("--fault", "http_500:0.5", "--seed", "3", "--ttft-ms", "1", "--itl-ms", "1")
        seen.append([call(url, "/v1/completions", {"stream": True})[0] for _ in range(12)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 500}


def test_it_dies_as_asked() -> None:
    command = [sys.executable, "-m", "launchers.mock", "--die-after", "2", "--ttft-ms", "1"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        stream(url, 1)
        with contextlib.suppress(http.client.HTTPException, OSError):
            stream(url, 1)
        assert process.wait(10) == 3


def test_an_unknown_fault_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launchers.mock", "--fault", "hangs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no fault 'hangs'" in done.stderr


def text(events: list[Any]) -> str:
    return "".join(choice["text"] for event in events if event for choice in event["choices"])


def test_the_same_seed_makes_the_same_faults_beside_other_options(mock: StartMock) -> None:
    seen = []
    for more in ([], ["--jitter-ms", "2", "--words"]):
        faults = ["--fault", "http_500:0.3", "--fault", "http_429:0.3", "--seed", "5"]
        url = mock(*faults, *more, "--ttft-ms", "1", "--itl-ms", "1")
        seen.append([call(url, "/v1/completions", {"max_tokens": 1})[0] for _ in range(20)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {200, 429, 500}


def test_tls(mock: StartMock, tmp_path: Path) -> None:
    authority, pem = trustme.CA(), tmp_path / "mock.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    url = mock("--tls-cert", str(pem), "--ttft-ms", "1", "--itl-ms", "1")
    assert url.startswith("https://")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    status, _, body = call(url, "/v1/completions", {"max_tokens": 3, "stream": True}, tls=context)
    assert status == 200
    assert body.count(b'"text"') == 3
    with pytest.raises(ssl.SSLCertVerificationError):
        call(url, "/health", tls=ssl.create_default_context())


def test_ipv6(mock: StartMock) -> None:
    url = mock("--host", "::1")
    assert url.startswith("http://[::1]:")
    assert call(url, "/health")[0] == 200


def test_it_closes_after_each_answer(mock: StartMock) -> None:
    url = mock("--close", "--ttft-ms", "1", "--itl-ms", "1")
    for body in ({"max_tokens": 2}, {"max_tokens": 2, "stream": True}):
        status, headers, _ = call(url, "/v1/completions", body)
        assert (status, headers["connection"]) == (200, "close")
        assert ("content-length" in headers) == ("stream" not in body)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_an_answer_in_one_piece_takes_as_long(mock: StartMock, path: str) -> None:
    url = mock("--ttft-ms", "30", "--itl-ms", "20")
    begin = time.monotonic()
    answer = json.loads(call(url, path, {"max_tokens": 4, "prompt": [1, 2, 3]})[2])
    assert time.monotonic() - begin >= 0.09
    choice = answer["choices"][0]
    assert choice.get("text") or choice["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["usage"]["prompt_tokens"] == (0 if "chat" in path else 3)


def test_answers_end_by_themselves_unless_pinned(mock: StartMock) -> None:
    seen = []
    for _ in range(2):
        url = mock("--natural-tokens", "5", "--seed", "2", "--ttft-ms", "0", "--itl-ms", "0")
        body = {"max_tokens": 20}
        lengths = [
            json.loads(call(url, "/v1/completions", body)[2])["usage"]["completion_tokens"]
            for _ in range(30)
        ]
        seen.append(lengths)
        pinned = json.loads(call(url, "/v1/completions", body | {"ignore_eos": True})[2])
        assert pinned["usage"]["completion_tokens"] == 20
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 5
    assert 2 < sum(seen[0]) / 30 < 9


def test_texts_that_an_audit_should_find(mock: StartMock) -> None:
    quick = ("--ttft-ms", "0", "--itl-ms", "0", "--words")
    varied = text(stream(mock(*quick), 60)).split()
    assert len(set(varied)) > 30
    repeated = text(stream(mock(*quick, "--fault", "repeats"), 60)).split()
    assert set(repeated) == {"and", "so", "on"}
    *events, usage, _ = stream(mock(*quick, "--fault", "early_stop"), 60)
    assert usage["usage"]["completion_tokens"] == len(events) == 20
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_stamps_in_the_text_are_the_truth(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--stamps", "--itl-ms", "3", "--truth", str(truth))
    told = [int(word) for word in text(stream(url, 5)).split()]
    sent = json.loads(truth.read_text())["sent_ns"]
    assert all(0 <= b - a < 50e6 for a, b in zip(told, sent, strict=True))
    assert told == sorted(told)


def spans(truth: Path) -> list[list[int]]:
    return [json.loads(line)["sent_ns"] for line in truth.read_text().splitlines()]


def together(url: str, bodies: list[dict[str, Any]]) -> list[tuple[int, dict[str, str], bytes]]:
    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(lambda body: call(url, "/v1/completions", body), bodies))


def test_in_steps_all_answers_speak_at_once(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--step-ms", "40", "--truth", str(truth))
    together(url, [{"max_tokens": 8, "stream": True, "prompt": "a"}] * 6)
    sent = sorted(itertools.chain(*spans(truth)))
    assert len(sent) == 48
    steps = 1 + sum(b - a > 20e6 for a, b in itertools.pairwise(sent))
    assert steps <= 12, "48 tokens left in about 8 moments"


def test_a_step_takes_longer_for_each_answer_in_it(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--step-ms", "5", "--step-per-answer-ms", "10", "--truth", str(truth))
    together(url, [{"max_tokens": 12, "stream": True, "prompt": "a"}])
    together(url, [{"max_tokens": 12, "stream": True, "prompt": "a"}] * 4)
    alone, *batch = ([b - a for a, b in itertools.pairwise(own)] for own in spans(truth))
    assert 15e6 * 0.9 <= statistics.median(alone) < 30e6
    assert all(45e6 * 0.9 <= statistics.median(gaps) < 60e6 for gaps in batch)


def test_a_long_prompt_takes_steps(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--step-ms", "20", "--prefill-tokens-per-step", "50", "--truth", str(truth))
    call(url, "/v1/completions", {"max_tokens": 2, "stream": True, "prompt": [7] * 400})
    (line,) = map(json.loads, truth.read_text().splitlines())
    assert line["sent_ns"][0] - line["received_ns"] >= 8 * 20e6 * 0.99
    assert line["sent_ns"][1] - line["sent_ns"][0] < 5 * 20e6


def test_a_full_cache_pushes_answers_back(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--step-ms", "10", "--kv-tokens", "100", "--truth", str(truth))
    done = together(url, [{"max_tokens": 40, "stream": True, "prompt": [7] * 20}] * 3)
    assert [body.count(b'"text"') for _, _, body in done] == [40] * 3
    metrics = call(url, "/metrics")[2].decode()
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[0] != "#")
    found = {name.partition("{")[0]: float(value) for name, value in values.items()}
    assert found["vllm:num_preemptions_total"] >= 1
    assert found["vllm:kv_cache_usage_perc"] == found["vllm:num_requests_running"] == 0
    longest = max(b - a for own in spans(truth) for a, b in itertools.pairwise(own))
    assert longest >= 50e6, "an answer that was pushed back stood still"
    status, _, body = call(url, "/v1/completions", {"max_tokens": 90, "prompt": [7] * 20})
    assert status == 400
    assert b"110 tokens" in body


def test_a_step_may_give_several_tokens_in_one_write(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--step-ms", "10", "--tokens-per-step", "3", "--truth", str(truth))
    assert len(text(stream(url, 8)).split()) == 8
    (sent,) = spans(truth)
    assert [sent.count(time) for time in sorted(set(sent))] == [3, 3, 2]


def test_what_broke_off_gives_its_cache_back(mock: StartMock) -> None:
    url = mock("--step-ms", "2", "--kv-tokens", "50", "--fault", "truncated:0.5")
    for _ in range(12):
        with contextlib.suppress(http.client.IncompleteRead):
            call(url, "/v1/completions", {"max_tokens": 20, "stream": True, "prompt": [7] * 20})
    metrics = call(url, "/metrics")[2].decode()
    assert 'vllm:kv_cache_usage_perc{model_name="mock"} 0\n' in metrics
    assert 'vllm:num_requests_running{model_name="mock"} 0\n' in metrics


def test_slots_hold_in_steps_too(mock: StartMock, tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--step-ms", "10", "--max-num-seqs", "1", "--truth", str(truth))
    together(url, [{"max_tokens": 4, "stream": True}] * 3)
    assert all(b[0] > a[-1] for a, b in itertools.pairwise(spans(truth)))


@pytest.mark.parametrize(
    "body",
    [
        "{oops",
        "[1]",
        '{"messages": 3}',
        '{"max_tokens": -1}',
        '{"max_tokens": "x"}',
        '{"max_tokens": 1e9}',
    ],
)
def test_a_bad_body_is_refused(mock: StartMock, body: str) -> None:
    place = urlsplit(mock())
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/chat/completions", body)
        assert connection.getresponse().status == 400


def test_a_client_that_leaves_frees_its_slot(mock: StartMock) -> None:
    url = mock("--slots", "1", "--ttft-ms", "1", "--itl-ms", "20")
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    body = json.dumps({"max_tokens": 100000, "stream": True})
    connection.request("POST", "/v1/completions", body)
    assert connection.getresponse().read(10)
    connection.close()
    assert len(stream(url, 2)) == 4


def test_mistakes_are_told_at_once() -> None:
    options = ["--kv-tokens", "5", "--port", "70000", "--tls-cert", "/nowhere.pem"]
    options += ["--itl-ms", "nan", "--slots", "-1"]
    done = subprocess.run(
        [sys.executable, "-m", "launchers.mock", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    words = ("kv_tokens", "port: 70000", "tls_cert", "itl_ms: nan", "slots: -1")
    assert all(word in done.stderr for word in words)


def test_a_truth_file_that_cannot_be_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "launchers.mock", "--truth", str(tmp_path / "no" / "truth")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "truth: cannot write" in done.stderr
