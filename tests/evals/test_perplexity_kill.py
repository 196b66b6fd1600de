"""A perplexity under way is killed, and goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from evals.perplexity.result import read_perplexity
from evals.perplexity.tokens import TOKENS_FILE
from evals.store import ANSWERS_FILE, read_answers

if TYPE_CHECKING:
    from evals.records import Answer
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
settings["tokens"] = 7000
suite = Suite.model_validate({"name": "text", "perplexity": settings})
job = Job(suite=suite, base_dir=Path(folder), folder=Path(folder), route="echo")

async def main():
    async with Client(endpoint) as client:
        await KIND.ask(job, client, lambda done, every: None)

asyncio.run(main())
"""


def start(url: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url, str(folder), str(DEMO)], cwd=ROOT)


def kill_at(lines: int, url: str, folder: Path) -> None:
    """Start, and kill once so many windows are answered."""
    process = start(url, folder)
    path = folder / ANSWERS_FILE
    while process.poll() is None:
        if path.is_file() and path.read_bytes().count(b"\n") >= lines:
            process.kill()
            break
        time.sleep(0.001)
    assert process.wait() == -9, "it was over before it could be killed"


def bare(folder: Path) -> list[Answer]:
    """The answers without what differs from one time to the next."""
    return [
        msgspec.structs.replace(answer, sent_ns=0, latency_ms=0.0)
        for answer in sorted(read_answers(folder), key=lambda answer: answer.item)
    ]


def test_killed_it_goes_on_to_the_same_result(mock: StartMock, tmp_path: Path) -> None:
    url = mock("--ttft-ms", "40", "--itl-ms", "0", "--tokenizer", str(DEMO))
    whole = tmp_path / "whole"
    assert start(url, whole).wait() == 0
    for lines in (1, 40):
        killed = tmp_path / str(lines)
        kill_at(lines, url, killed)
        there = read_answers(killed)
        assert lines <= len(there) < len(bare(whole))
        kill_at(lines + 20, url, killed)
        assert start(url, killed).wait() == 0
        assert (killed / TOKENS_FILE).read_bytes() == (whole / TOKENS_FILE).read_bytes()
        assert read_perplexity(killed) == read_perplexity(whole)
        assert bare(killed) == bare(whole)
        sent = {answer.item: answer.sent_ns for answer in read_answers(killed)}
        assert all(sent[answer.item] == answer.sent_ns for answer in there), "not asked again"
