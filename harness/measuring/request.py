"""One request's own values, from its sample. Definitions and sources: docs/method.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from harness.measuring.samples import Bools, Floats, Ints, Samples
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


def columns_of(samples: Samples) -> dict[str, Floats]:
    """Return the same values of many answered samples at once; NaN where one is not defined."""
    due, sent, first = (samples.column(name) for name in ("due_ns", "sent_ns", "first_ns"))
    tokens = samples.column("output_tokens")
    has_sent, has_first, has_last = (samples.has(f"{at}_ns") for at in ("sent", "first", "last"))
    gaps, chunks = samples.lengths("chunk_ns"), chunk_counts(samples)
    silent = silent_counts(samples)
    end = np.where(silent > 0, samples.column("end_ns"), samples.column("last_ns"))
    has_end = np.where(silent > 0, samples.has("end_ns"), has_last)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        after_first = tokens - tokens / (chunks + silent)
        decoding = (chunks > 0) & (tokens > 0) & has_first & has_end
        decoding &= (after_first >= 1) & (end != first)
        tpot = np.where(decoding, (end - first) / NS_PER_MS / after_first, np.nan)
        total = np.where(has_sent & has_end, (end - sent) / NS_PER_MS, np.nan)
        return {
            "ttft_ms": _between(sent, first, has_sent & has_first),
            "ttft_due_ms": _between(due, first, has_first),
            "ttfa_ms": _between(
                sent, samples.column("first_answer_ns"), has_sent & samples.has("first_answer_ns")
            ),
            "stall_ms": np.where(gaps > 0, longest_gaps(samples) / NS_PER_MS, np.nan),
            "tpot_ms": tpot,
            "e2e_ms": _between(due, samples.column("last_ns"), has_last),
            "sequence_tps": np.where((tokens > 0) & (total != 0), 1000 * tokens / total, np.nan),
            "decode_tps": np.where(tpot != 0, 1000 / tpot, np.nan),
        }


def _between(start: Ints, end: Ints, defined: Bools) -> Floats:
    return np.where(defined, (end - start) / NS_PER_MS, np.nan)


def longest_gaps(samples: Samples) -> Ints:
    """Return the longest gap of each sample in ns; 0 where it has none."""
    longest = np.zeros(len(samples), dtype=np.int64)
    lengths = samples.lengths("chunk_ns")
    if lengths.any():
        starts = np.cumsum(lengths) - lengths
        some = lengths > 0
        longest[some] = np.maximum.reduceat(samples.values("chunk_ns"), starts[some])
    return longest


def chunk_counts(samples: Samples) -> Ints:
    """Return `chunks_of` each sample."""
    return np.where(samples.has("first_ns"), samples.lengths("chunk_ns") + 1, 0)


def silent_counts(samples: Samples) -> Ints:
    """Return the `silent_tokens` of each sample."""
    tokens = np.where(samples.has("output_tokens"), samples.column("output_tokens"), 0)
    spare = np.minimum(samples.column("silent_chunks"), tokens - chunk_counts(samples))
    return np.maximum(0, spare)


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
