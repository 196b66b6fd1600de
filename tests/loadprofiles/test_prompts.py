from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from loadprofiles.errors import TokenizerError
from loadprofiles.prompts import texts as prompts_module
from loadprofiles.prompts.texts import BATCH, Prompts, load_tokenizer, make_prompts

if TYPE_CHECKING:
    from pathlib import Path

BOS = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def all_of(batches: list[Prompts]) -> list[str]:
    return [text for batch in batches for text in batch.texts]


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return all_of(list(make_prompts(np.full(300, 100), rng(99))))


def byte_level(corpus: list[str]) -> Tokenizer:
    """As GPT-2, Llama 3 and Qwen do it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = BOS
    return tokenizer


def digits_alone(corpus: list[str]) -> Tokenizer:
    """One token a digit, as the demo model has it; it also asks for truncation and padding."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Metaspace(prepend_scheme="always"),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    return tokenizer


def across_spaces(corpus: list[str]) -> Tokenizer:
    """As Llama 2: no pre-tokenizer, so that merges may reach across a space."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Prepend("▁"), normalizers.Replace(" ", "▁"),
    ])  # fmt: skip
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "<unk>"], show_progress=False, max_token_length=12
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = BOS
    return tokenizer


def one_a_character(corpus: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(
        vocab_size=1, special_tokens=["<unk>"], show_progress=False, max_token_length=1
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


KINDS = [byte_level, digits_alone, across_spaces, one_a_character]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def folder(
    request: pytest.FixtureRequest, corpus: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp(request.param.__name__)
    request.param(corpus).save(str(folder / "tokenizer.json"))
    return folder


def counted(folder: Path, texts: list[str]) -> list[int]:
    """As a server does: with special tokens."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(tokenizer.encode(text).ids) for text in texts]


def test_every_tokenizer_counts_what_was_asked_for(folder: Path) -> None:
    lengths = rng(2).integers(12, 300, size=200)
    batches = list(make_prompts(lengths, rng(), load_tokenizer(folder)))
    texts = all_of(batches)
    count = counted(folder, texts)
    assert [tokens for batch in batches for tokens in batch.tokens] == count
    assert batches[0].exact == (count == lengths.tolist())
    assert np.abs(np.array(count) - lengths).max() <= 1
    if folder.name.startswith(("byte_level", "digits_alone", "one_a_character")):
        assert batches[0].exact


def test_even_the_shortest_prompts_have_their_length(folder: Path) -> None:
    lengths = np.arange(2, 12)
    batches = list(make_prompts(lengths, rng(), load_tokenizer(folder)))
    assert np.abs(np.array(counted(folder, all_of(batches))) - lengths).max() <= 1
    single = next(make_prompts(np.array([1]), rng(), load_tokenizer(folder)))
    assert single.texts[0]
    assert single.exact == (single.tokens == [1])


def test_no_two_prompts_share_a_block_of_leading_tokens(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    texts = all_of(list(make_prompts(np.full(3000, 40), rng(), tokenizer)))
    block = 16  # tokens, as vLLM's prefix cache has it
    starts = {tuple(tokenizer.encode(text).ids[:block]) for text in texts}
    assert len(starts) == len(texts)


def test_prompts_differ_from_their_first_word_on() -> None:
    texts = all_of(list(make_prompts(np.full(3 * BATCH, 20), rng())))
    assert len({text.split()[0] for text in texts}) == len(texts)
    others = all_of(list(make_prompts(np.full(3 * BATCH, 20), rng(2))))
    assert not {text.split()[0] for text in texts} & {text.split()[0] for text in others}


def test_serials_that_repeat_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts_module, "_SERIALS", (1000, 2000))
    texts = all_of(list(make_prompts(np.full(1000, 5), rng())))
    assert {text.split()[0] for text in texts} == {f"{number}:" for number in range(1000, 2000)}


@settings(max_examples=30)
@given(st.lists(st.integers(1, 400), min_size=0, max_size=20), st.integers(0, 2**63))
def test_estimated_prompts_have_three_words_for_four_tokens(lengths: list[int], seed: int) -> None:
    wanted = np.array(lengths, dtype=np.int64)
    batches = list(make_prompts(wanted, rng(seed)))
    texts = all_of(batches)
    assert [len(text.split()) for text in texts] == [max(1, round(n * 0.75)) for n in lengths]
    assert not any(batch.exact for batch in batches)
    assert [tokens for batch in batches for tokens in batch.tokens] == lengths
    assert texts == all_of(list(make_prompts(wanted, rng(seed))))


def test_batches_bound_the_memory() -> None:
    sizes = [len(batch.texts) for batch in make_prompts(np.full(2 * BATCH + 1, 8), rng())]
    assert sizes == [BATCH, BATCH, 1]


def test_four_thousand_prompts_take_about_a_second(corpus: list[str], tmp_path: Path) -> None:
    """The limit is far above that: it is there to catch quadratic work, not a slow machine."""
    byte_level(corpus).save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    began = time.process_time()
    batches = list(make_prompts(np.full(4000, 128), rng(), tokenizer))
    assert time.process_time() - began < 10
    assert all(batch.exact for batch in batches)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json in .*; give the folder"):
        load_tokenizer(tmp_path)


def test_a_broken_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(TokenizerError, match=r"tokenizer\.json cannot be read"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_knows_no_english_is_refused(tmp_path: Path) -> None:
    Tokenizer(models.BPE(vocab={"ß": 0}, merges=[])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="no tokens of English"):
        list(make_prompts(np.array([20]), rng(), load_tokenizer(tmp_path)))


def test_prompts_behind_a_head_have_their_length_with_it(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    heads = [
        text
        for b in make_prompts(np.full(3, 60), rng(5), tokenizer, inside=True)
        for text in b.texts
    ]
    lengths = rng(2).integers(12, 90, size=60)
    chosen = [heads[index % 3] if index % 4 else None for index in range(60)]
    batches = list(make_prompts(lengths, rng(), tokenizer, heads=chosen))
    wholes = [
        text if head is None else f"{head}\n{text}"
        for head, text in zip(chosen, all_of(batches), strict=True)
    ]
    taken = [
        0 if head is None else len(tokenizer.encode(head, add_special_tokens=False).ids)
        for head in chosen
    ]
    off = np.array(counted(folder, wholes)) - np.array(taken) - lengths
    assert np.abs(off).max() <= 1
    assert batches[0].exact == (not off.any())
    if folder.name.startswith(("byte_level", "digits_alone", "one_a_character")):
        assert batches[0].exact


def test_a_text_inside_another_has_no_special_tokens(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    (batch,) = make_prompts(np.full(20, 30), rng(), tokenizer, inside=True)
    count = [len(tokenizer.encode(text, add_special_tokens=False).ids) for text in batch.texts]
    assert batch.tokens == count
    assert np.abs(np.array(count) - 30).max() <= 1
