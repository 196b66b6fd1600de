"""Perplexity over real sockets, against a server whose every probability is known."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer

from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.kinds import Job
from evals.perplexity import KIND
from evals.perplexity.result import read_perplexity
from evals.perplexity.tokens import read_tokens
from evals.suite import Suite
from launchers.mock.language import CONTEXT, Language
from launchers.mock.tokens import load_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import StartMock

DEMO = Path(__file__).parents[2] / "launchers" / "models" / "demo-fp16"
FAST = ("--ttft-ms", "0", "--itl-ms", "0", "--tokenizer", str(DEMO))
TOKENIZER = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
BOS = 1
TEXT = "Anna paid 5 € in Zürich.\n\nShe paid again, $20, in Oslo; then 300 more.  Block it? yes\n"


def suite(**settings: object) -> Suite:
    return Suite.model_validate({"name": "text", "perplexity": {"text": "a.txt", **settings}})


def endpoint(url: str = "http://nowhere.invalid/v1", max_model_len: int = 2048) -> Endpoint:
    return Endpoint(
        base_url=url,
        model="mock",
        engine="mock",
        tokenizer=str(DEMO),
        max_model_len=max_model_len,
    )


def make_job(
    folder: Path,
    text: str = TEXT,
    *,
    name: str = "a.txt",
    limit: int | None = None,
    seed: int = 0,
    **settings: object,
) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, newline="")
    asked = suite(text=name, **settings)
    out = folder / "out"
    return Job(suite=asked, base_dir=folder, folder=out, route="echo", limit=limit, seed=seed)


def ask(job: Job, where: Endpoint) -> None:
    async def run() -> None:
        async with Client(where) as client:
            await KIND.ask(job, client, lambda _done, _all: None)

    asyncio.run(run())


def truth(sent: Sequence[int], seed: int = 0) -> list[float]:
    """ln p of each id but the first, from the mock's definition."""
    language = Language(load_tokens(DEMO), seed)
    return [
        language.next(tuple(sent[max(0, end - CONTEXT) : end])).logprob(sent[end])
        for end in range(1, len(sent))
    ]


def brute_force(ids: list[int], window: int, stride: int, *, bos: bool) -> list[float]:
    """ln p of each scored token, one token at a time, each in the first window that has it."""
    capacity = window - bos
    found = []
    for place in range(len(ids)):
        begin = 0
        while begin + capacity <= place:
            begin += stride
        sent = [BOS] * bos + ids[begin : place + 1]
        if len(sent) > 1:
            found.append(truth(sent)[-1])
    return found


@pytest.mark.parametrize(
    ("window", "stride"), [(2047, None), (8, 3), (8, 8), (9, 1), (2, 1), (33, 16)]
)
@pytest.mark.parametrize("bos", ["always", "never"])
def test_it_is_the_known_distribution_s(
    mock: StartMock, tmp_path: Path, window: int, stride: int | None, bos: str
) -> None:
    job = make_job(tmp_path, window=window, stride=stride, bos=bos)
    ask(job, endpoint(mock(*FAST)))
    found, convention, flaws = read_perplexity(job.folder)
    begins = bos == "always"
    capacity = window - begins
    used = min(stride or max(1, capacity // 2), capacity)
    ids = TOKENIZER.encode(TEXT, add_special_tokens=False).ids
    logprobs = brute_force(ids, window, used, bos=begins)
    values = read_tokens(job.folder)
    assert values is not None
    assert values.logprob == pytest.approx(logprobs, abs=1e-12)
    nats = -math.fsum(logprobs)
    assert found.tokens == len(logprobs) == len(values.id)
    assert found.token == pytest.approx(math.exp(nats / len(logprobs)), rel=1e-12)
    assert found.nats == pytest.approx(nats, rel=1e-12)
    assert flaws == []
    assert found.failed == 0
    if begins:
        size, words = len(TEXT.encode()), len(TEXT.split())
        assert (found.bytes, found.words) == (size, words)
        assert found.byte == pytest.approx(math.exp(nats / size), rel=1e-12)
        assert found.word == pytest.approx(math.exp(nats / words), rel=1e-12)
        assert found.bits_per_byte == pytest.approx(nats / size / math.log(2), rel=1e-12)
        assert values.id.tolist() == ids
        assert values.position.tolist() == list(range(len(ids)))
    assert f"{found.tokens} tokens scored" in str(convention)
