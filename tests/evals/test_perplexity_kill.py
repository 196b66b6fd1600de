"""A perplexity under way is killed, and goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from evals.perplexity.result import read_perplexity
from evals.perplexity.tokens import TOKENS_FILE
from evals.store import ANSWERS_FILE, read_answers

if TYPE_CHECKING:
    from tests.conftest import StartMock

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "launchers" / "models" / "demo-fp16"
PROGRAM = """
import asyncio, sys
from pathlib import Path
from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.kinds import Job
from evals.perplexity import KIND
from evals.suite import Suite

url, folder, tokenizer = sys.argv[1:]
endpoint = Endpoint(base_url=url, model="mock", engine="mock", tokenizer=tokenizer, concurrency=3)
settings = {"text": "embedded:transactions", "documents": "apart", "top_k": 5}
suite = Suite.model_validate({"name": "text", "perplexity": settings})
job = Job(suite=suite, base_dir=Path(folder), folder=Path(folder), route="echo")

async def main():
    async with Client(endpoint) as client:
        await KIND.ask(job, client, lambda done, every: None)

asyncio.run(main())
"""


def start(url: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url, str(folder), str(DEMO)], cwd=ROOT)


@pytest.mark.parametrize("lines", [1, 60, 200])
def test_killed_it_goes_on_to_the_same_result(mock: StartMock, tmp_path: Path, lines: int) -> None:
    url = mock("--ttft-ms", "60", "--itl-ms", "0", "--tokenizer", str(DEMO))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(url, whole).wait() == 0
    process = start(url, killed)
    path = killed / ANSWERS_FILE
    while process.poll() is None:
        if path.is_file() and path.read_bytes().count(b"\n") >= lines:
            process.kill()
            break
        time.sleep(0.001)
    assert process.wait() == -9, "it was over before it could be killed"
    there = read_answers(killed)
    assert 0 < len(there) < 280
    assert start(url, killed).wait() == 0
    assert (killed / TOKENS_FILE).read_bytes() == (whole / TOKENS_FILE).read_bytes()
    assert read_perplexity(killed) == read_perplexity(whole)
    sent = {answer.item: answer.sent_ns for answer in read_answers(killed)}
    assert all(sent[answer.item] == answer.sent_ns for answer in there), "not asked again"
    bare = [
        msgspec.structs.replace(answer, sent_ns=0, latency_ms=0.0)
        for folder in (whole, killed)
        for answer in sorted(read_answers(folder), key=lambda answer: answer.item)
    ]
    assert bare[:280] == bare[280:]
