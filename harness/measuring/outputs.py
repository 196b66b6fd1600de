"""Whether the answers are answers: how they end, how long they are, what repeats. Pure.

A build that stops early, or says one thing over and over, must not look fast. Definitions and
sources: docs/method.md, `outputs`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from harness.measuring import stats
from harness.measuring.compared_stats import OutputsCompared
from harness.measuring.measurement import Caveat, Outputs
from harness.measuring.ranks import wilcoxon_less
from harness.measuring.samples import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from harness.measuring.samples import Bools, Floats, Ints, Samples

    Hashes = npt.NDArray[np.uint64]
    Words = npt.NDArray[np.str_]

_HASH: Final = re.compile("[0-9a-f]{16}")
REPEATING_ABOVE: Final = 2.4
"""Whisper's `compression_ratio_threshold`: text that zlib makes so much smaller repeats itself."""
MOST_BYTES: Final = 4
"""Of a character in UTF-8."""
REPEATING_SHARE: Final = 0.05
SHORTER: Final = 0.98
SURE: Final = 0.01
_LEAST: Final = 20
"""Pairs of answers from which they are compared."""


def audit(measured: Samples) -> Outputs:
    """Describe the answers of a cell's measured requests."""
    answered = measured.answered
    tokens = _tokens(answered)
    ratios = answered.ratios()
    told = ~np.isnan(ratios)
    hashes = _hashes(answered)
    known = hashes[hashes != 0]
    bodies = answered.column("body")[hashes != 0]
    return Outputs(
        finish_reasons={
            str(word or "none"): count
            for word, count in sorted(
                answered.counts("finish_reason").items(), key=lambda item: (-item[1], str(item[0]))
            )
        },
        tokens=stats.describe(tokens.astype(np.float64), rng=stats.rng_for("output tokens")),
        planned_tokens=int(answered.column("planned_output_tokens").sum()),
        empty=int(measured.is_in("error", {"empty"}).sum()),
        one_token=int((tokens <= 1).sum()),
        compared_texts=int(told.sum()),
        repeating=int((ratios[told] > REPEATING_ABOVE).sum()),
        hashed=int(known.size),
        identical=_identical(known, bodies),
    )


def _tokens(samples: Samples) -> Ints:
    return np.where(samples.has("output_tokens"), samples.column("output_tokens"), 0)


def _hashes(samples: Samples) -> Hashes:
    """Return the answers' hashes as numbers; 0 where there is none."""
    found = np.zeros(len(samples), dtype=np.uint64)
    for at, text in enumerate(samples.texts("output_hash")):
        if text and _HASH.fullmatch(text):
            found[at] = int(text, 16)
    return found


def _identical(hashes: Hashes, bodies: Ints) -> int:
    """Count answers whose very text another prompt got, too."""
    pairs = np.unique(np.stack([hashes, bodies.astype(np.uint64)]), axis=1)
    texts, prompts = np.unique(pairs[0], return_counts=True)
    return int(np.isin(hashes, texts[prompts > 1]).sum())


@dataclass(frozen=True)
class Answers:
    """What is compared between builds: one answer for each prompt, by the prompt's number."""

    bodies: Ints
    tokens: Ints
    hashes: Hashes
    prompts: Ints
    """Their tokens as the server counted them; NONE where it did not."""
    reasons: Words
    """Why each ended."""
    asked: str = ""
    """The plan's digest of what was asked."""

    @classmethod
    def of(cls, measured: Samples, asked: str = "") -> Answers:
        """Take the first answer that each prompt got."""
        answered = measured.answered
        bodies, first = np.unique(answered.column("body"), return_index=True)
        return cls(
            bodies,
            _tokens(answered)[first],
            _hashes(answered)[first],
            answered.column("prompt_tokens")[first],
            answered.words("finish_reason")[first],
            asked,
        )


def compare(own: Answers, baseline: Answers, name: str) -> OutputsCompared:
    """Compare the answers to the same prompts with those of the baseline build `name`."""
    _, mine, theirs = np.intersect1d(
        own.bodies, baseline.bodies, assume_unique=True, return_indices=True
    )
    tokens, others = own.tokens[mine], baseline.tokens[theirs]
    difference: Floats = (tokens - others).astype(np.float64)
    same: Bools = own.hashes[mine] == baseline.hashes[theirs]
    same &= own.hashes[mine] != 0
    told = (own.hashes[mine] != 0) & (baseline.hashes[theirs] != 0)
    made = int(others.sum())
    counted, other = own.prompts[mine], baseline.prompts[theirs]
    both = (counted != NONE) & (other != NONE)
    more, times = np.unique((counted - other)[both], return_counts=True)
    ended, before = own.reasons[mine], baseline.reasons[theirs]
    unlike = ended != before
    ways = Counter(
        map(", ".join, zip(ended[unlike].tolist(), before[unlike].tolist(), strict=True))
    )
    return OutputsCompared(
        baseline=name,
        pairs=int(mine.size),
        length_ratio=int(tokens.sum()) / made if made else None,
        shorter=int((difference < 0).sum()),
        longer=int((difference > 0).sum()),
        p_shorter=wilcoxon_less(difference) if mine.size >= _LEAST else None,
        compared_texts=int(told.sum()),
        identical=int(same.sum()),
        prompts=_prompts(own.asked, baseline.asked),
        prompt_tokens={
            str(n): count for n, count in zip(more.tolist(), times.tolist(), strict=True)
        },
        finish_reasons=dict(sorted(ways.items())),
    )


def _prompts(ours: str, baselines: str) -> Literal["same", "others"] | None:
    if not (ours and baselines):
        return None
    return "same" if ours == baselines else "others"


def tokens_impossible(counted: Samples) -> Iterator[Caveat]:
    """Say that a server counted tokens that it cannot have made.

    Above the limit that it was given (one more may be the end of text), and more than the bytes
    that the answer's characters can have, a token having one at least, but for silent ones.
    """
    tokens, asked = _tokens(counted), counted.column("planned_output_tokens")
    made = MOST_BYTES * counted.column("output_chars") + counted.column("silent_chunks")
    wrong = (asked > 0) & (tokens > asked + 1) & (tokens > made)
    if wrong.any():
        yield Caveat(
            "tokens_impossible",
            f"The server counted more tokens than it was asked for and than their text can have in "
            f"{int(wrong.sum())} of {len(counted)} answers (up to {int(tokens[wrong].max()):,}): "
            "tokens/s, TPOT and everything by token are wrong. Mend the server's `usage`.",
            invalidates=True,
        )


def answers_repeat(found: Outputs) -> Iterator[Caveat]:
    """Say that many answers repeat themselves."""
    if found.repeating > REPEATING_SHARE * found.compared_texts:
        yield Caveat(
            "answers_repeat",
            f"{found.repeating} of {found.compared_texts} answers repeat themselves (their text "
            f"compresses more than {REPEATING_ABOVE}-fold): the build may be broken, or long "
            "answers were forced from a small model. Read some, and grade the build before you "
            "compare its speed.",
        )


def stops_early(compared: OutputsCompared) -> Iterator[Caveat]:
    """Say that a build looks faster than it is, as it says less."""
    p, ratio = compared.p_shorter, compared.length_ratio
    if p is not None and ratio is not None and p < SURE and ratio < SHORTER:
        yield Caveat(
            "stops_early",
            f"On the same {compared.pairs} prompts this build's answers have {ratio:.0%} of the "
            f"tokens of {compared.baseline}'s ({compared.shorter} shorter, {compared.longer} "
            "longer): it does less work, so e2e and requests/s flatter it. Compare time per "
            "token, or force the length (--lengths forced).",
        )
