"""Seeded English prompts of a given number of tokens.

Each prompt opens with a number of its own, so that no two share their first tokens: a prefix
cache, which serves whole blocks of leading tokens, finds nothing to reuse by accident.

With the model's tokenizer the lengths are exact, as `/v1/completions` counts them (special tokens
such as BOS included; a chat template comes on top), behind a prefix that prompts share, too.
Without it they are estimated from the number of words: a model with a small vocabulary makes two
to four times as many tokens of them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from loadprofiles.errors import TokenizerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

TOKENIZER_FILE = "tokenizer.json"
WORDS_PER_TOKEN = 0.75
"""Of English text, by the rule of thumb in OpenAI's help pages ("What are tokens and how to count
them?"): one token is about ¾ of a word. Used only without a tokenizer."""
BATCH = 1024
"""Prompts made at a time: bounds the memory of a long schedule."""

_SERIALS = (10**9, 10**10)  # ten digits: 10⁻¹⁰ · n² / 2 chance of a repeat, and those are redrawn
_MARGIN = 1.15  # words beyond the estimate, so that hardly any text has to be lengthened
_FILLERS = ("and", "the", "a", "in", "to", "of", "so", "was")
_REPAIRS = (-1, 1, -2, 2, -3, 3)  # other places to cut where the first try missed

_TEMPLATES = (
    "A payment of {n} dollars to the {shop} in {city} was {state} at {h}:{m}.",
    "{name} moved {n} dollars from the {account} account to {other} on {day}.",
    "The card of {name} was used at a {shop} in {city} and {h} minutes later in {town}.",
    "On {day} the {team} {state} a transfer of {n} dollars that {other} had made.",
    "{other} asked the {team} why the charge from the {shop} was {state}.",
    "Between {h} and {m} past the hour there were {n} payments in {city}.",
    "The limit of the {account} account is {n} dollars, and {name} has spent {h} so far.",
    "Please tell {name} which of the payments in {town} the {team} should check first.",
    "Nobody at the {shop} in {town} could say who had {state} the order of {day}.",
    "It rained in {city} on {day}, so {name} and {other} took the train to {town}.",
)
_WORDS: dict[str, tuple[str, ...]] = {
    "shop": ("bakery", "hotel", "book shop", "petrol station", "pharmacy", "market", "airline",
             "restaurant", "garage", "cinema", "museum", "supermarket"),
    "city": ("Paris", "London", "Madrid", "Rome", "Berlin", "Vienna", "Lisbon", "Oslo", "Dublin",
             "Athens", "Prague", "Warsaw"),
    "town": ("Leeds", "Lyon", "Porto", "Turin", "Bonn", "Graz", "Bergen", "Cork", "Ghent",
             "Malaga", "Basel", "Delft"),
    "state": ("approved", "declined", "delayed", "reported", "checked", "cancelled", "repeated",
              "confirmed"),
    "name": ("Alice", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jack",
             "Karen", "Louis"),
    "other": ("Maria", "Noah", "Olga", "Peter", "Quinn", "Rosa", "Simon", "Tara", "Victor",
              "Wendy", "Yusuf", "Zoe"),
    "account": ("savings", "business", "travel", "family", "student", "salary"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "team": ("bank", "fraud desk", "support team", "auditor", "branch manager", "night shift"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """A batch of prompts.

    Attributes:
        texts: the prompts.
        tokens: tokens of each, counted by the tokenizer; without one, those asked for.
        exact: every prompt was counted and has the length asked for.
    """

    texts: list[str]
    tokens: list[int]
    exact: bool


class Prompt(NamedTuple):
    """One prompt of a batch."""

    text: str
    tokens: int
    exact: bool
    """Its batch was counted, and has the lengths asked for."""


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load `tokenizer.json` from a model's folder.

    Raises:
        TokenizerError: there is none, or it cannot be read.
    """
    file = folder / TOKENIZER_FILE
    if not file.is_file():
        raise TokenizerError(
            f"tokenizer: no {TOKENIZER_FILE} in {folder}; give the folder of the model's "
            "tokenizer, or none to estimate the prompts' lengths"
        )
    from tokenizers import Tokenizer  # costs 30 ms, and only some runs need it

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"tokenizer: {file} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def make_prompts(
    lengths: NDArray[np.int64],
    rng: np.random.Generator,
    tokenizer: Tokenizer | None = None,
    *,
    heads: Iterable[str | None] | None = None,
    inside: bool = False,
) -> Iterator[Prompts]:
    """Write one prompt of each length, in batches of `BATCH`.

    Args:
        lengths: tokens wanted of each prompt, ≥ 1. Below about ten tokens there is no room for
            the whole number that a prompt opens with, and prompts may repeat.
        rng: where every choice comes from; the same state gives the same prompts.
        tokenizer: the model's, from `load_tokenizer`; None to estimate.
        heads: for each prompt a text that will stand on the lines before it, and does not count
            within its length; None for none.
        inside: the prompts will stand inside a longer text: no special tokens come with them.

    Raises:
        TokenizerError: the tokenizer makes nothing of English text.
    """
    serials = _serials(len(lengths), rng)
    costs = None if tokenizer is None else _Costs(tokenizer)
    tokens_per_word = 1 / WORDS_PER_TOKEN if costs is None else _tokens_per_word(costs)
    before = itertools.repeat(None) if heads is None else iter(heads)
    for start in range(0, len(lengths), BATCH):
        wanted = lengths[start : start + BATCH].tolist()
        openings = serials[start : start + BATCH].tolist()
        if costs is None:
            counts = [max(1, round(length / tokens_per_word)) for length in wanted]
            texts = _texts(openings, counts, rng)
            cut = [" ".join(t.split(" ")[:n]) for t, n in zip(texts, counts, strict=True)]
            yield Prompts(texts=cut, tokens=wanted, exact=False)
        else:
            counts = [int(length / tokens_per_word * _MARGIN) + 8 for length in wanted]
            ahead = list(itertools.islice(before, len(wanted)))
            yield _fit(_texts(openings, counts, rng), wanted, ahead, costs, inside=inside)


def one_by_one(batches: Iterable[Prompts]) -> Iterator[Prompt]:
    """Yield the prompts of batches singly."""
    for batch in batches:
        for text, tokens in zip(batch.texts, batch.tokens, strict=True):
            yield Prompt(text, tokens, batch.exact)


def _serials(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` different numbers of ten digits, in random order."""
    serials = np.empty(0, dtype=np.int64)
    while len(serials) < count:
        more = rng.integers(*_SERIALS, size=count - len(serials))
        drawn = np.concatenate([serials, more])
        serials = drawn[np.sort(np.unique(drawn, return_index=True)[1])]
    return serials


def _texts(openings: list[int], words: list[int], rng: np.random.Generator) -> list[str]:
    """A text of at least the given number of words for each opening number."""
    shortest = min(len(template.split()) for template in _TEMPLATES)
    sentences = [count // shortest + 1 for count in words]
    drawn = iter(_sentences(sum(sentences), rng))
    texts = []
    for opening, count, most in zip(openings, words, sentences, strict=True):
        parts = [f"{opening}:"]
        written = 1
        for _, sentence in zip(range(most), drawn, strict=False):
            if written < count:
                parts.append(sentence)
                written += sentence.count(" ") + 1
        texts.append(" ".join(parts))
    return texts


def _sentences(count: int, rng: np.random.Generator) -> Iterator[str]:
    which = rng.integers(len(_TEMPLATES), size=count).tolist()
    numbers = rng.integers(1, 60, size=(count, 3)).tolist()
    columns = {
        slot: rng.integers(len(words), size=count).tolist() for slot, words in _WORDS.items()
    }
    for index in range(count):
        h, m, n = numbers[index]
        chosen = {slot: words[columns[slot][index]] for slot, words in _WORDS.items()}
        yield _TEMPLATES[which[index]].format(h=h, m=m, n=10 * n + h, **chosen)


def _tokens_per_word(costs: _Costs) -> float:
    """Of this module's own sentences, measured on a fixed sample."""
    words = " ".join(_sentences(64, np.random.default_rng(0))).split(" ")
    return max(0.1, sum(costs[word] for word in words) / len(words))


class _Costs(dict[str, int]):
    """Tokens of a word within a text, each counted once; of the heads, too."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.base = len(_encode("so", tokenizer))
        self._heads: dict[str, int] = {}
        self.seams: dict[str, int] = {}
        """What a prompt costs more behind this head than alone: the line's end, for one."""

    def of_head(self, head: str) -> int:
        """Tokens of a head alone."""
        if head not in self._heads:
            self._heads[head] = len(_encode(head, self.tokenizer))
        return self._heads[head]

    def seam(self, head: str | None) -> int:
        """What is known so far of `seams`."""
        return 0 if head is None else self.seams.get(head, 0)

    def __missing__(self, word: str) -> int:
        self[word] = cost = len(_encode(f"so {word}", self.tokenizer)) - self.base
        return cost


def _fit(
    texts: list[str], wanted: list[int], heads: list[str | None], costs: _Costs, *, inside: bool
) -> Prompts:
    """Shorten each text to the number of tokens wanted of it, and count what is left."""
    tokenizer = costs.tokenizer
    special = 0 if inside else tokenizer.num_special_tokens_to_add(is_pair=False)
    fitted, tokens = [], []
    for text, length, head in zip(texts, wanted, heads, strict=True):
        budget = max(1, length - special)
        before, taken = ("", 0) if head is None else (f"{head}\n", costs.of_head(head))
        short = _by_words(text, budget - costs.seam(head), costs)
        count = len(_encode(before + short, tokenizer)) - taken
        if count != budget and head is not None:
            costs.seams[head] = costs.seam(head) + count - budget
            short = _by_words(text, budget - costs.seam(head), costs)
            count = len(_encode(before + short, tokenizer)) - taken
        if count != budget:  # this tokenizer does not split at spaces, or there is no room
            whole, count = _by_tokens(before + text, taken + budget, tokenizer)
            short, count = whole[len(before) :], count - taken
        if not short:  # not even one token fits behind the head
            short = text[:1]
            count = len(_encode(before + short, tokenizer)) - taken
        fitted.append(short)
        tokens.append(count + special)
    return Prompts(texts=fitted, tokens=tokens, exact=tokens == wanted)


def _by_words(text: str, budget: int, costs: _Costs) -> str:
    """Cut at the last word that fits and fill up with words of one token.

    Right for tokenizers that never merge across a space, which are most.
    """
    opening, *words = text.split(" ")
    kept = [opening]
    left = budget - len(_encode(opening, costs.tokenizer))
    for word in words:
        cost = costs[word]
        if cost > left:
            break
        kept.append(word)
        left -= cost
    fillers = itertools.cycle([word for word in _FILLERS if costs[word] == 1])
    kept += itertools.islice(fillers, max(0, left))
    return " ".join(kept)


def _by_tokens(text: str, budget: int, tokenizer: Tokenizer) -> tuple[str, int]:
    """Cut after the last token that fits, wherever that is; the nearest length that there is."""
    encoding = _encode(text, tokenizer)
    if len(encoding) == 0:
        raise TokenizerError("tokenizer: it makes no tokens of English text")
    while len(encoding) < budget:
        text = f"{text} {text}"
        encoding = _encode(text, tokenizer)
    best = text, len(encoding)
    for shift in (0, *_REPAIRS):  # a cut inside a word may be split otherwise than the word was
        at = budget + shift - 1
        if not 0 <= at < len(encoding):
            continue
        short = text[: encoding.offsets[at][1]]
        count = len(_encode(short, tokenizer))
        if abs(count - budget) < abs(best[1] - budget):
            best = short, count
        if count == budget:
            break
    return best


def _encode(text: str, tokenizer: Tokenizer) -> Encoding:
    return tokenizer.encode(text, add_special_tokens=False)
