"""Calibration samples: exactly as many of each role as the mix says, the same for the same seed."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import launchers
from evals.contamination import contamination
from evals.perplexity.documents import Document
from evals.perplexity.prose import (
    python_docs,
    python_docs_calibration,
    transactions,
    transactions_calibration,
)
from evals.vocabulary import load_vocabulary
from harness.errors import BadInputError
from harness.quantizing.request import Mix, mix_of
from harness.quantizing.samples import LEAST_TOKENS, Sample, draw, packed, windows

VOCABULARY = load_vocabulary(str(Path(launchers.__file__).parent / "models" / "demo-fp16"))
LENGTH = 64


@given(st.integers(0, 200), st.integers(0, 200), st.integers(2, 2000))
def test_a_mix_divides_samples_exactly(general: int, domain: int, samples: int) -> None:
    if not general + domain:
        return
    mix = Mix(general=general, domain=domain)
    counts = mix.counts(samples)
    assert sum(counts.values()) == samples
    for role, count in counts.items():
        exact = samples * mix.share(role)
        assert abs(count - exact) <= 0.5 or count in {1, samples - 1}
        assert (count > 0) == (exact > 0)


def test_the_default_mix_is_exact() -> None:
    assert mix_of("70:30").counts(256) == {"general": 179, "domain": 77}
    assert mix_of("70:30").counts(10) == mix_of("7:3").counts(10) == {"general": 7, "domain": 3}
    assert mix_of("100:0").counts(128) == {"general": 128, "domain": 0}


@pytest.mark.parametrize("text", ["70", "70:30:0", "a:b", "-1:2", "0:0", "0.7:0.3", "", "7:"])
def test_what_is_no_mix_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=r"^--mix: "):
        mix_of(text)


def test_one_sample_cannot_be_divided() -> None:
    with pytest.raises(BadInputError, match="--samples: 1 cannot be divided 70:30"):
        mix_of("70:30").counts(1)


def test_windows_hold_every_token_once_and_begin_as_the_tokenizer_begins() -> None:
    documents = [Document("a short one"), Document("word 1 2 3 " * 200), Document("a short one")]
    found = windows("general", documents, VOCABULARY, LENGTH)
    assert found[0].documents == (0,)
    assert all(sample.ids[0] == VOCABULARY.bos for sample in found)
    assert all(len(sample.ids) <= LENGTH for sample in found)
    assert len({sample.ids for sample in found}) == len(found), "none is there twice"
    encode = VOCABULARY.tokenizer.encode
    for sample in found:
        assert sample.text in documents[sample.documents[0]].text
        assert len(sample.ids) >= LEAST_TOKENS or sample.text == documents[sample.documents[0]].text
    topic = python_docs_calibration()[0]
    tokens = tuple(encode(topic.text, add_special_tokens=False).ids)
    cut = windows("general", [topic], VOCABULARY, LENGTH)
    joined = tuple(token for sample in cut for token in sample.ids[1:])
    assert joined == tokens[: len(joined)]
    assert len(tokens) - len(joined) < LEAST_TOKENS, "a short last window is dropped"


def candidates() -> dict[str, list[Sample]]:
    return {
        "general": windows("general", python_docs_calibration()[:8], VOCABULARY, LENGTH),
        "domain": windows("domain", transactions_calibration()[:80], VOCABULARY, LENGTH),
    }


def drawn(seed: int, *, pack: bool = False, general: int = 14, domain: int = 6) -> list[Sample]:
    counts = {"general": general, "domain": domain}
    return draw(counts, candidates(), length=LENGTH, pack=pack, seed=seed)  # type: ignore[arg-type]


def test_the_same_seed_draws_the_same_samples_and_another_others() -> None:
    once, again, other = drawn(1), drawn(1), drawn(2)
    assert [sample.sha256 for sample in once] == [sample.sha256 for sample in again]
    assert {sample.sha256 for sample in once} != {sample.sha256 for sample in other}
    assert [sample.role for sample in once].count("general") == 14
    assert len({sample.sha256 for sample in once}) == 20
    roles = [sample.role for sample in once]
    assert roles != sorted(roles), "they are mixed"


def test_a_role_is_drawn_alike_whatever_the_other_one_has() -> None:
    def of(samples: list[Sample]) -> set[str]:
        return {sample.sha256 for sample in samples if sample.role == "general"}

    assert of(drawn(3)) == of(drawn(3, domain=20))


def test_packing_joins_short_texts_and_loses_none() -> None:
    short = [Sample("domain", (n,), tuple(range(n % 5 + 1)), str(n)) for n in range(40)]
    joined = packed(short, 16)
    assert all(len(sample.ids) <= 16 for sample in joined)
    assert [n for sample in joined for n in sample.documents] == list(range(40))
    assert sum(len(sample.ids) for sample in joined) == sum(len(one.ids) for one in short)
    assert len(joined) < 10
    for before, after in pairwise(joined):
        assert len(before.ids) + len(short[after.documents[0]].ids) > 16, "as full as it can be"


def test_too_little_text_says_how_much_there_is() -> None:
    there = len(candidates()["domain"])
    assert len(drawn(1, domain=there)) == 14 + there
    told = f"--domain: its text makes {there} samples of 64 tokens, and {there + 1} are wanted"
    with pytest.raises(BadInputError, match=told):
        drawn(1, domain=there + 1)
    with pytest.raises(BadInputError, match="or leave out --pack"):
        drawn(1, domain=there, pack=True)


def test_no_embedded_calibration_text_holds_what_is_asked() -> None:
    for asked, calibration in (
        (transactions(), transactions_calibration()),
        (python_docs(), python_docs_calibration()),
    ):
        items = {str(place): document.text for place, document in enumerate(asked)}
        found = contamination(items, (document.text for document in calibration))
        assert found.overlapping == ()
        assert found.items > 15
        assert sum(len(document.text) for document in calibration) > 80_000
