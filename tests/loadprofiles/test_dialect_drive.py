"""Every dialect, as a stream and as one document, over real sockets against the mock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from loadprofiles.dialects import dialect_names
from loadprofiles.records import read_samples

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from loadprofiles.records import Sample
    from tests.conftest import MakeCell, StartMock

    RunDriver = Callable[[Path], subprocess.CompletedProcess[str]]

MS = 1_000_000
TOKENS = 6
CLOSED = {"mode": "closed", "streams": 2, "requests": 6, "warmup": 2}


def driven(folder: Path, run_driver: RunDriver) -> list[Sample]:
    run_driver(folder)
    samples = [sample for sample in read_samples(folder) if sample.phase == "measured"]
    assert len(samples) == 6
    return samples


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", dialect_names())
def test_answers(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver, dialect: str, *, stream: bool
) -> None:
    url = mock("--ttft-ms", "40", "--itl-ms", "5")
    folder = make_cell(url, dialect=dialect, stream=stream, tokens=TOKENS, **CLOSED)
    for sample in driven(folder, run_driver):
        assert (sample.error, sample.finish_reason) == (None, "length")
        assert (sample.output_tokens, sample.token_source) == (TOKENS, "server")
        assert len(sample.output_hash) == 16
        assert sample.sent_ns
        assert sample.last_ns
        assert sample.last_ns - sample.sent_ns >= (40 + (TOKENS - 1) * 5) * MS
        if stream:
            assert sample.prompt_tokens == 2  # "prompt N": a token for every four characters
            assert sample.output_chars == len(" token") * TOKENS
            assert (sample.compression or 0) > 1
            assert sample.first_ns
            assert len(sample.chunk_ns) == TOKENS - 1
            assert sample.first_ns - sample.sent_ns >= 40 * MS
            assert sample.first_ns <= sample.last_ns
            assert sample.silent_chunks == 0
        else:  # documents are written by the mock's language model, with a token for every byte
            assert sample.prompt_tokens is not None
            assert 0 <= sample.prompt_tokens - len("prompt N") <= 1  # BOS
            assert sample.output_chars > 0
            assert (sample.first_ns, sample.first_answer_ns, sample.chunk_ns) == (None, None, [])
            assert sample.end_ns == sample.last_ns


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "error"), [("error_event", "error_event"), ("truncated", "truncated"),
                         ("malformed", "malformed"), ("empty", "empty"), ("http_429", "http_429")],
)  # fmt: skip
@pytest.mark.parametrize("dialect", ["tgi", "llamacpp"])
def test_faults(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver, dialect: str, fault: str,
    error: str, *, stream: bool,
) -> None:  # fmt: skip
    url = mock("--ttft-ms", "2", "--itl-ms", "1", "--fault", fault)
    folder = make_cell(
        url, dialect=dialect, stream=stream, tokens=TOKENS, mode="open", warmup=0,
        due_ns=[MS * n for n in range(6)], duration_ns=10 * MS,
    )  # fmt: skip
    expected = {error}
    if not stream:  # no event, and the mock sends another status and no half document
        expected = {"error_event": {"http_500"}, "malformed": {"malformed"},
                    "truncated": {"reset", "truncated"}}.get(fault, expected)  # fmt: skip
    assert {sample.error for sample in driven(folder, run_driver)} <= expected


def test_a_document_though_a_stream_was_asked_for(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--ttft-ms", "2", "--itl-ms", "1", "--fault", "no_stream")
    folder = make_cell(url, tokens=TOKENS, mode="open", warmup=0, duration_ns=10 * MS,
                       due_ns=[MS * n for n in range(6)])  # fmt: skip
    for sample in driven(folder, run_driver):
        assert sample.error == "malformed"
        assert "ignore stream: true" in (sample.detail or "")
