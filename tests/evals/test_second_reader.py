"""Hugging Face's own client beside ours, at a TGI: the mock's pages read by another's code."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evals.endpoint import Endpoint
from evals.probe import probe
from harness.quality.endpoints import HUGGINGFACE
from launchers.environments import installed
from tests.engines import needs

if TYPE_CHECKING:
    from evals.probe.card import Card
    from tests.conftest import StartMock

PYTHON = installed(HUGGINGFACE)
TOKENIZER = str(Path(__file__).parents[2] / "launchers" / "models" / "demo-fp16")
FAST = ("--ttft-ms", "0", "--itl-ms", "0")
TGI = (*FAST, "--engine", "tgi", "--tokenizer", TOKENIZER)
needs_client = needs(HUGGINGFACE)


def probed(url: str, python: Path | None, api_key_env: str | None = None) -> Card:
    endpoint = Endpoint(base_url=url, model="mock", tokenizer=TOKENIZER, api_key_env=api_key_env)
    return asyncio.run(probe(endpoint, huggingface=python))


def differing(card: Card) -> list[str]:
    names = {"readers_differ", "no_second_reader"}
    return [caveat.text for caveat in card.caveats if caveat.code in names]


@pytest.mark.engine
@needs_client
def test_it_reads_the_mocks_tgi_as_we_do(shared_mock: StartMock) -> None:
    card = probed(shared_mock(*TGI), PYTHON)
    assert (card.engine, card.second_reader) == ("tgi", "text-generation 0.7.0")
    assert differing(card) == []
    assert card.route == "native"


@pytest.mark.engine
@needs_client
def test_it_carries_the_key(mock: StartMock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hunter2")
    url = mock(*TGI, "--api-key", "hunter2")
    card = probed(url, PYTHON, api_key_env="MY_KEY")
    assert card.second_reader == "text-generation 0.7.0"
    assert differing(card) == []


@pytest.mark.engine
@needs_client
def test_a_stream_without_its_counts_is_told(mock: StartMock) -> None:
    [text] = differing(probed(mock(*TGI, "--fault", "no_usage"), PYTHON))
    assert "a document of" in text
    assert "None, None" in text


def stand_in(folder: Path, told: dict[str, Any]) -> Path:
    """A "Python" that tells what it was told to, whatever it is asked to run."""
    program = folder / "python"
    script = f"import sys; sys.stdin.read(); sys.stdout.write({json.dumps(told)!r})"
    (folder / "told.py").write_text(script)
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {folder / 'told.py'}\n")
    program.chmod(0o755)
    return program


def true_reading(url: str) -> dict[str, Any]:
    """What the client would say of this mock, by our own reading of it."""
    import httpx

    from evals.probe.huggingface import _TEXT, _TOKENS

    parameters = {"max_new_tokens": _TOKENS, "decoder_input_details": True, "do_sample": False}
    body = {"inputs": _TEXT, "parameters": parameters}
    root = url.removesuffix("/v1")
    answer = httpx.post(f"{root}/generate", json=body, trust_env=False).json()
    details = answer["details"]
    text, count, finish = answer["generated_text"], details["generated_tokens"], "length"
    return {
        "version": "9",
        "prefill": [[token["id"], token["logprob"]] for token in details["prefill"]],
        "ids": [token["id"] for token in details["tokens"]],
        "text": text,
        "count": count,
        "finish": finish,
        "stream_text": text,
        "stream_count": count,
        "stream_finish": finish,
    }


def test_what_it_reads_otherwise_is_told(shared_mock: StartMock, tmp_path: Path) -> None:
    url = shared_mock(*TGI)
    truth = true_reading(url)
    assert len(truth["prefill"]) > 9
    same = probed(url, stand_in(tmp_path, truth))
    assert (same.second_reader, differing(same)) == ("text-generation 9", [])
    shifted = [[number, value and value - 1] for number, value in truth["prefill"]]
    cases = {
        "other log-probabilities": {"prefill": shifted},
        "9 prompt tokens, and here": {"prefill": truth["prefill"][:9]},
        "it was written 'x'": {"text": "x", "stream_text": "x"},
        "and a stream of": {"stream_count": 3},
    }
    for says, wrong in cases.items():
        card = probed(url, stand_in(tmp_path, truth | wrong))
        assert card.second_reader is None
        [text] = differing(card)
        assert says in text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("echo no module >&2; exit 1", "no module"),
        ("exit 3", "exit code 3"),
        ("echo '{}'", "missing required field"),
    ],
)
def test_a_client_that_does_not_answer(
    shared_mock: StartMock, tmp_path: Path, body: str, says: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ncat >/dev/null\n{body}\n")
    program.chmod(0o755)
    [text] = differing(probed(shared_mock(*TGI), program))
    assert says in text


def test_only_a_tgi_is_read_twice(shared_mock: StartMock) -> None:
    card = probed(shared_mock(*FAST, "--tokenizer", TOKENIZER), Path("/no/such/python"))
    assert (card.second_reader, differing(card)) == (None, [])
    assert differing(probed(shared_mock(*TGI), Path("/no/such/python")))
