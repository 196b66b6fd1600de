"""Locustfiles as a user would write them, run by the real `locust` against the mock."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from loadprofiles.records import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import StartMock

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "locust.md").read_text()
MS = 1_000_000


def locust(
    folder: Path, text: str, *argv: str, expected: int = 0, **environment: str
) -> tuple[list[Sample], dict[str, dict[str, Any]], str]:
    """Run a locustfile headless; return the exact records, Locust's rows, and what it said."""
    (folder / "locustfile.py").write_text(text)
    if "--processes" in argv:  # several of these tests may run at once
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        argv += ("--master-bind-port", port, "--master-port", port)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "locust", "-f", "locustfile.py", "--headless", "--json"),
            *("--csv", "out", "--csv-full-history", *argv),
        ],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SAMPLES": "samples.jsonl"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    lines = b"".join(path.read_bytes() for path in folder.glob("samples.jsonl*"))
    samples = msgspec.json.Decoder(Sample).decode_lines(lines)
    rows = {row["name"]: row for row in max(documents(done.stdout), key=len, default=[])}
    return samples, rows, done.stderr


def documents(text: str) -> Iterator[list[dict[str, Any]]]:
    """Each of Locust's processes prints one; a worker's is empty."""
    text = text.strip()
    while text:
        found, end = json.JSONDecoder().raw_decode(text)
        yield found
        text = text[end:].strip()


def documented(heading: str) -> str:
    """The example that docs/locust.md has below a heading."""
    return DOCS.partition(heading)[2].partition("```python\n")[2].partition("```")[0]


def with_host(text: str, url: str) -> str:
    assert "http://127.0.0.1:8000/v1" in text
    return text.replace("http://127.0.0.1:8000/v1", url)


def test_the_three_lines(mock: StartMock, tmp_path: Path) -> None:
    text = with_host(documented("## Three lines"), mock("--ttft-ms", "40", "--itl-ms", "10"))
    samples, rows, _ = locust(tmp_path, text, "-u", "3", "-r", "10", "-t", "6s")
    assert len(samples) > 5
    assert {(s.error, s.clock, s.output_tokens) for s in samples} == {(None, "kernel", 64)}
    waited = [(s.first_ns or 0) - (s.sent_ns or 0) for s in samples]
    assert min(waited) >= 39 * MS
    assert np.median(waited) < 200 * MS
    assert 9 * MS < np.median([gap for s in samples for gap in s.chunk_ns]) < 13 * MS
    asked, ttft = rows["/v1/completions"], rows["ttft"]
    assert len(samples) - 3 <= asked["num_requests"] == ttft["num_requests"] <= len(samples)
    assert (ttft["method"], asked["method"], asked["num_failures"]) == ("LLM", "POST", 0)
    assert 39 <= ttft["min_response_time"] < 200
    assert asked["min_response_time"] > 600


def test_failures_are_locusts_failures_too(mock: StartMock, tmp_path: Path) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1", "--fault", "http_500:0.5")
    text = with_host(documented("## Three lines"), url)
    samples, rows, _ = locust(tmp_path, text, "-u", "2", "-t", "5s", expected=1)
    kinds = Counter(sample.error for sample in samples)
    assert set(kinds) == {None, "http_500"}
    assert kinds["http_500"] - 2 <= rows["/v1/completions"]["num_failures"] <= kinds["http_500"]
    assert kinds[None] - 2 <= rows["ttft"]["num_requests"] <= kinds[None]


SECRET = """
from locust import task
from loadprofiles.dialects import Message
from loadprofiles.locustfile import StreamingUser

class Mine(StreamingUser):
    dialect = "openai-chat"
    model = "mock"
    api_key_env = "MY_KEY"
    headers = {"X-Team": "a"}

    @task
    def ask(self):
        found = self.stream([Message("user", "hello")], max_tokens=4, name="chat")
        assert found.finish_reason == "length"
"""


def test_conversations_keys_headers_and_locusts_own_host(mock: StartMock, tmp_path: Path) -> None:
    url = mock("--api-key", "secret", "--ttft-ms", "5", "--itl-ms", "1")
    argv = ("-u", "1", "-t", "5s", "-H", url)
    samples, rows, _ = locust(tmp_path, SECRET, *argv, MY_KEY="secret")
    assert {sample.error for sample in samples} == {None}
    assert len(samples) - 1 <= rows["chat"]["num_requests"] <= len(samples)
    assert len(samples) > 3


def test_two_of_locusts_workers(mock: StartMock, tmp_path: Path) -> None:
    text = with_host(documented("## Three lines"), mock("--ttft-ms", "20", "--itl-ms", "5"))
    samples, rows, _ = locust(tmp_path, text, "-u", "4", "-t", "4s", "--processes", "2")
    assert len(list(tmp_path.glob("samples.jsonl.*"))) == 2
    assert len(samples) - 4 <= rows["ttft"]["num_requests"] <= len(samples)
    assert len({sample.request_id for sample in samples}) == len(samples) > 4


def test_an_open_loop(mock: StartMock, tmp_path: Path) -> None:
    """The server is far too slow, and still every request leaves at its moment."""
    url = mock("--ttft-ms", "400", "--itl-ms", "10", "--slots", "4")
    text = with_host(documented("## Exact arrivals"), url)
    text = text.replace("duration_s = 30", "duration_s = 3")
    samples, rows, _ = locust(tmp_path, text)
    import tomllib

    from loadprofiles.profile import Profile, builtin_profiles
    from loadprofiles.traffic.timetable import departures_of

    fields = tomllib.loads(builtin_profiles()["steady"].read_text()) | {"duration_s": 3.0}
    due = departures_of(Profile.model_validate(fields), 10)
    samples.sort(key=lambda sample: sample.seq)
    first = samples[0].due_ns - due[0]
    assert [sample.due_ns - first for sample in samples] == due
    assert len(due) > 15
    late = [(s.sent_ns or 0) - s.due_ns - (s.connect_ns or 0) for s in samples]
    assert np.median(late) < 20 * MS
    assert rows["/v1/completions"]["num_requests"] == rows["ttft"]["num_requests"] == len(due)
    assert {sample.error for sample in samples} == {None}


def test_an_open_loop_is_for_one_process(mock: StartMock, tmp_path: Path) -> None:
    text = with_host(documented("## Exact arrivals"), mock("--ttft-ms", "5"))
    argv = ("-t", "3s", "--processes", "2")
    _, _, said = locust(tmp_path, text, *argv, expected=1)
    assert "use `harness load --workers N`" in said


def test_a_profile_as_a_shape(mock: StartMock, tmp_path: Path) -> None:
    text = with_host(documented("## A profile as a shape"), mock("--ttft-ms", "5", "--itl-ms", "1"))
    text = text.replace('"ramp", level=10', '"ramp", level=10, duration_s=6')
    _, _, said = locust(tmp_path, text)
    with (tmp_path / "out_stats_history.csv").open() as file:
        users = [int(row["User Count"]) for row in csv.DictReader(file)]
    assert max(users) >= 12, "the ramp's end is above its mean"
    assert min(count for count in users if count) <= 6
    assert "Shape test stopping" in said


SHAPES = """
import json, sys
from loadprofiles.locustfile import profile_shape
found = {}
for name, level, length in (("bursty", 10, 30), ("closed", 8, 20), ("constant", 5, 10)):
    shape = type("Shape", (profile_shape(name, level=level, duration_s=length),), {})()
    ticks = []
    for second in range(length + 1):
        shape.get_run_time = lambda: second
        ticks.append(shape.tick())
    found[name] = ticks
print(json.dumps(found))
"""


def test_shapes_follow_the_rate() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHAPES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    bursty = [tick[0] for tick in found["bursty"][:-1]]
    assert (min(bursty), max(bursty)) == (5, 30)
    assert [second for second, users in enumerate(bursty) if users == 30] == [4, 5, 14, 15, 24, 25]
    assert np.mean(bursty) == pytest.approx(10)
    assert {tick[0] for tick in found["closed"][:-1]} == {8}
    assert {tick[0] for tick in found["constant"][:-1]} == {5}
    assert [ticks[-1] for ticks in found.values()] == [None, None, None]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ('profile_shape("busty", level=1)', "no profile 'busty'; there are"),
        ('profile_shape("closed", level=1.5)', "level"),
        ('profile_shape("steady", level=-1)', "-1"),
    ],
)
def test_shapes_that_cannot_be(call: str, says: str) -> None:
    code = f"from loadprofiles.locustfile import profile_shape\n{call}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ProfileError" in done.stderr
    assert says in done.stderr
