"""Section "One value a request"."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reading import Record

SLOW_SIDE = {
    "ttft_ms": "high", "ttft_due_ms": "high", "ttfa_ms": "high", "stall_ms": "high",
    "tpot_ms": "high", "e2e_ms": "high", "sequence_tps": "low", "decode_tps": "low",
}  # fmt: skip
WAITING = {"ttft_ms", "ttft_due_ms", "ttfa_ms", "e2e_ms", "sequence_tps"}


def chunks(sample: Record) -> int:
    return 0 if sample["first_ns"] is None else len(sample["chunk_ns"]) + 1


def silent(sample: Record) -> int:
    """Events without text that were tokens, as far as the count of tokens has them."""
    spare = (sample["output_tokens"] or 0) - chunks(sample)
    return max(0, min(sample["silent_chunks"], spare))


def ms(begin: int | None, end: int | None) -> float | None:
    return None if begin is None or end is None else (end - begin) / 1e6


def tpot_ms(sample: Record) -> float | None:
    n, c = sample["output_tokens"], chunks(sample)
    end = sample["end_ns"] if silent(sample) else sample["last_ns"]
    if not n or not c or end is None or end == sample["first_ns"]:
        return None
    rest = n - n / (c + silent(sample))
    return (end - sample["first_ns"]) / 1e6 / rest if rest >= 1 else None


def values(sample: Record) -> dict[str, float | None]:
    """Every metric of one answered request; None where it is not defined."""
    due, sent, first, last = (sample[f"{at}_ns"] for at in ("due", "sent", "first", "last"))
    tokens, tpot = sample["output_tokens"], tpot_ms(sample)
    whole = ms(sent, sample["end_ns"] if silent(sample) else last)
    return {
        "ttft_ms": ms(sent, first),
        "ttft_due_ms": ms(due, first),
        "ttfa_ms": ms(sent, sample["first_answer_ns"]),
        "stall_ms": max(sample["chunk_ns"]) / 1e6 if sample["chunk_ns"] else None,
        "tpot_ms": tpot,
        "e2e_ms": ms(due, last),
        "sequence_tps": 1000 * tokens / whole if tokens and whole else None,
        "decode_tps": 1000 / tpot if tpot else None,
    }


def tokens_of(sample: Record) -> int:
    return sample["output_tokens"] or 0


def stamps(sample: Record) -> list[int]:
    """When each chunk came."""
    found = [sample["first_ns"]]
    for gap in sample["chunk_ns"]:
        found.append(found[-1] + gap)
    return found
