from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from launchers.mock import FAULTS

ROOT = Path(__file__).parents[2]
StartMock = Callable[..., str]


def call(
    url: str, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
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
