"""One request's own values, from its sample. Definitions and sources: docs/method.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from loadprofiles.records import Sample

NS_PER_MS = 1e6
NS_PER_S = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestValues:
    """What one answered request contributes; None where a value is not defined."""

    ttft_ms: float | None
    """First generated text - sent."""
    ttft_due_ms: float | None
    """First generated text - due."""
    ttfa_ms: float | None
    """First generated text that is not reasoning - sent."""
    stall_ms: float | None
    """Longest gap between chunks."""
    tpot_ms: float | None
    """(end - first) / (tokens - tokens of the first chunk)."""
    e2e_ms: float | None
    """Last generated text - due."""
    sequence_tps: float | None
    """Tokens / (end - sent)."""
    decode_tps: float | None
    """1000 / tpot_ms."""

    @classmethod
    def of(cls, sample: Sample) -> Self:
        """Read one answered sample."""
        tpot_ms = time_per_output_token_ms(sample)
        total_ms = _ms(sample.sent_ns, end_ns(sample))
        tokens = sample.output_tokens
        return cls(
            ttft_ms=_ms(sample.sent_ns, sample.first_ns),
            ttft_due_ms=_ms(sample.due_ns, sample.first_ns),
            ttfa_ms=_ms(sample.sent_ns, sample.first_answer_ns),
            stall_ms=max(sample.chunk_ns) / NS_PER_MS if sample.chunk_ns else None,
            tpot_ms=tpot_ms,
            e2e_ms=_ms(sample.due_ns, sample.last_ns),
            sequence_tps=1000 * tokens / total_ms if tokens and total_ms else None,
            decode_tps=1000 / tpot_ms if tpot_ms else None,
        )


def chunks_of(sample: Sample) -> int:
    """Number of generated chunks."""
    return 0 if sample.first_ns is None else len(sample.chunk_ns) + 1


def silent_tokens(sample: Sample) -> int:
    """Tokens that came without text: the server counts more than there were chunks with text.

    No more than there were events without text. A last event that brings a finish reason only is
    one, too, but then the count has no token for it.
    """
    return max(0, min(sample.silent_chunks, (sample.output_tokens or 0) - chunks_of(sample)))


def end_ns(sample: Sample) -> int | None:
    """When the last token came, with or without text."""
    return sample.end_ns if silent_tokens(sample) else sample.last_ns


def time_per_output_token_ms(sample: Sample) -> float | None:
    """(end - first) / (n - n₁) in ms, n₁ the tokens of the first chunk.

    A server says how many tokens an answer has, not how many each chunk: they are taken as spread
    evenly, so n₁ = n / chunks (1 where every chunk is a token). The end is the last chunk, or the
    last token without text behind it. Undefined for n - n₁ < 1: an answer of one token, or in one
    chunk, shows no decoding; no more does one whose chunks all came together.
    """
    chunks, tokens, end = chunks_of(sample), sample.output_tokens, end_ns(sample)
    if not chunks or not tokens or sample.first_ns is None or end is None:
        return None
    after_first = tokens - tokens / (chunks + silent_tokens(sample))
    if after_first < 1 or end == sample.first_ns:
        return None
    return (end - sample.first_ns) / NS_PER_MS / after_first


def _ms(start_ns: int | None, end_ns: int | None) -> float | None:
    return None if start_ns is None or end_ns is None else (end_ns - start_ns) / NS_PER_MS
