"""Answers of real engines, byte for byte, recorded with curl: `golden/ENGINE-DIALECT.…`.

vllm: vLLM 0.32.0 (CPU build) with the demo model's AWQ build, `max_tokens` 4, `temperature` 0.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from loadprofiles.dialects import load_dialect
from loadprofiles.wire.answer import Reads, read_answer, read_whole

if TYPE_CHECKING:
    from collections.abc import Generator

    from loadprofiles.wire.answer import Answer

GOLDEN = Path(__file__).with_name("golden")
MS = 1_000_000


def run_out(steps: Generator[None, None, Answer]) -> Answer:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


def read(body: bytes, dialect: str, **how: Any) -> Answer:  # noqa: ANN401 - keywords
    """Read a body of which each event came in a read of its own, the n-th at n ms."""
    ends = [n for n in range(1, len(body) + 1) if n == len(body) or body[n - 2 : n] == b"\n\n"]
    at = array("q", (MS * n for n in range(1, len(ends) + 1)))
    reads = Reads(at, array("q"), array("q", ends))
    take = read_answer if body.startswith(b"data:") else read_whole
    return run_out(take(body, reads, load_dialect(dialect), kernel_clock=False, **how))


@pytest.mark.parametrize(
    ("dialect", "prompt_tokens", "text", "first_ms"),
    [
        ("completions", 12, " with the threshold is", 1),
        ("chat", 11, ". Do shop shop", 2),  # the first event is a role alone
    ],
)
def test_vllm(dialect: str, prompt_tokens: int, text: str, first_ms: int) -> None:
    stream = (GOLDEN / f"vllm-{dialect}.sse").read_bytes()
    document = (GOLDEN / f"vllm-{dialect}.json").read_bytes()
    told = read(stream, f"openai-{dialect}", keep_text=True)
    whole = read(document, f"openai-{dialect}", keep_text=True)
    for answer in (told, whole):
        assert (answer.error, answer.finish_reason, answer.text) == (None, "length", text)
        assert (answer.prompt_tokens, answer.output_tokens) == (prompt_tokens, 4)
        assert answer.output_chars == len(text)
    assert told.output_hash == whole.output_hash
    assert told.chunk_at_ns == [MS * (first_ms + n) for n in range(4)]
    assert (told.silent_chunks, told.end_ns) == (0, MS * (first_ms + 3))
    assert (whole.chunk_at_ns, whole.end_ns) == ([], MS)
