# ruff: noqa: S311 (seeded on purpose: these random numbers are no secret)
"""Rule-labelled questions about card transactions: seeded, pure, standard library only.

Every question states its rule in words, so a model needs no private knowledge, and its gold answer
is computed by that rule from the same facts that the text shows. The numbers are round, so that a
small model can learn to reckon with them. Seven categories:

impossible_travel   distance (km) > speed limit (km/h) × time between (h).
                    Hops: 1 the time is given; 2 from two clock times.
amount_limit        Sum of the charges ($) > limit ($). Hops: 1–3 charges to add.
velocity            k or more payments in the w minutes up to the last one.
                    Hops: 2–3 time stamps to compare.
structuring         k or more deposits with floor ≤ amount < limit ($). Hops: 3–4 deposits.
card_testing        k or more charges under $2, and a last charge over a limit ($).
                    Hops: 3–4 charges.
merchant_mismatch   An item sold does not belong to the merchant's trade. Hops: 1–2 items.
exposure            A's sum ($) > B's sum ($); the answers are the letters A and B.
                    Hops: 1–2 amounts a card.

`hops` counts the steps that the rule takes and is only comparable within a category. The answers
are balanced by construction: within a category they alternate, so any prefix of a question list
is within one question a category of half and half. Exact ties are drawn
only where the text says to which side they belong (structuring).

Splits
    `train`, `calibration` and `eval` can share no prompt, whatever their seeds: a hash of the
    prompt decides which split may use it. `calibration` and `eval` share no template either.
    Training sees the calibration templates and all evaluation templates except the last of each
    category, which no training ever showed (place 9 of 0–13): nine tenths of `eval` ask about new
    facts in known wordings, one tenth about new facts in new wordings.

A template is a statistical cluster: errors of questions that share it are not independent.
Generation uses only `random.Random(str)`, `randrange`, `choice` and integer arithmetic, which
give the same stream on every supported Python.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from evals.transactions_templates import DRILLS, TEMPLATES, Template

Split = Literal["train", "calibration", "eval"]

CATEGORIES: Final = tuple(TEMPLATES)
"""The categories, in the order in which questions take turns."""

_TEMPLATE_PLACES: Final[dict[Split, tuple[int, ...]]] = {
    "train": (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13),
    "calibration": (10, 11, 12, 13),
    "eval": (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
}
_PROMPT_SHARES: Final[dict[Split, tuple[int, ...]]] = {
    "train": (0, 1),
    "calibration": (2,),
    "eval": (3,),
}
_SHARES: Final = 4

_NAMES = ("Anna", "Bruno", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ivan", "Jana",
          "Kofi", "Lena", "Mario", "Nadia", "Omar", "Petra")  # fmt: skip
_CITIES = ("Athens", "Berlin", "Cairo", "Delhi", "Geneva", "Helsinki", "Lagos", "Lima", "London",
           "Madrid", "Miami", "Oslo", "Paris", "Rome", "Seoul", "Tokyo")  # fmt: skip
_SHOPS = ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Maple", "Oak", "Pine", "Rowan", "Willow")
_GOODS: Final[dict[str, tuple[str, ...]]] = {
    "bakery": ("bread", "bagels", "muffins", "croissants"),
    "pharmacy": ("aspirin", "bandages", "vitamins", "cough syrup"),
    "bookshop": ("a novel", "an atlas", "a dictionary", "comics"),
    "garage": ("tyres", "brake pads", "wipers", "a gearbox"),
    "florist": ("roses", "tulips", "orchids", "lilies"),
    "shoe store": ("boots", "sandals", "sneakers", "slippers"),
}
_TRIES: Final = 5000
"""A template has some hundred questions a split at least; so many draws find a new one, or none."""
_COUNT_WORDS = ("zero", "one", "two", "three", "four", "five")


@dataclass(frozen=True, slots=True)
class Question:
    """One question. `prompt + answer` is the whole text; the answer starts with a space."""

    id: str
    """`<split>-<seed>-<index>`: unique, and the same whatever number was asked for."""
    category: str
    """One of `CATEGORIES`."""
    template: str
    """`<category>-<place>`: the cluster that the question belongs to."""
    hops: int
    """Reasoning steps; comparable within a category."""
    prompt: str
    """English text, ending in `Answer (… or …):` with no space after it."""
    answer: str
    """` yes`, ` no`, ` A` or ` B`."""


@dataclass(frozen=True, slots=True)
class _Case:
    """Facts as the text shows them, and what the category's rule says about them."""

    slots: dict[str, str]
    truth: bool


def templates(category: str, split: Split) -> tuple[str, ...]:
    """Ids of the templates of a category that a split may use."""
    if category not in TEMPLATES:
        raise ValueError(f"unknown category {category!r}; known: {', '.join(CATEGORIES)}")
    return tuple(f"{category}-{place:02d}" for place in _TEMPLATE_PLACES[split])


def choices(category: str) -> tuple[str, str]:
    """The two possible answers, the one for a rule that holds first."""
    return (" A", " B") if category == "exposure" else (" yes", " no")


def generate(seed: int, n: int, split: Split) -> list[Question]:
    """`n` distinct questions of a split; those for a smaller `n` are a prefix of these.

    Categories take turns; within one, answers alternate and templates take turns, so that
    categories, answers and templates are as balanced as `n` allows.
    """
    if split not in _TEMPLATE_PLACES:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(_TEMPLATE_PLACES)}")
    questions: list[Question] = []
    prompts: set[str] = set()
    for index in range(n):
        turn, place = divmod(index, len(CATEGORIES))
        question = _question(seed, index, split, CATEGORIES[place], turn, prompts)
        prompts.add(question.prompt)
        questions.append(question)
    return questions


def drills(seed: int, n: int) -> list[Question]:
    """`n` training questions of bare facts (template id `<category>-drill`), not all distinct."""
    questions: list[Question] = []
    for index in range(n):
        turn, place = divmod(index, len(CATEGORIES))
        category = CATEGORIES[place]
        rng = Random(f"transactions/drill/{seed}/{index}")
        name = f"{category}-drill"
        drawn = _draw(
            rng, category, DRILLS[category], _PROMPT_SHARES["train"], turn % 2 == 0, set()
        )
        questions.append(Question(f"drill-{seed}-{index:05d}", category, name, *drawn))
    return questions


def _question(
    seed: int, index: int, split: Split, category: str, turn: int, used: set[str]
) -> Question:
    rng = Random(f"transactions/{split}/{seed}/{index}")
    places = _TEMPLATE_PLACES[split]
    place = places[turn // 2 % len(places)]
    name = f"{category}-{place:02d}"
    template = TEMPLATES[category][place]
    drawn = _draw(rng, category, template, _PROMPT_SHARES[split], turn % 2 == 0, used)
    return Question(f"{split}-{seed}-{index:05d}", category, name, *drawn)


def _draw(
    rng: Random,
    category: str,
    template: Template,
    shares: tuple[int, ...],
    wanted: bool,  # noqa: FBT001
    used: set[str],
) -> tuple[int, str, str]:
    """Hops, prompt and answer of a question whose answer is the first choice iff `wanted`."""
    yes, no = choices(category)
    make, hop_range = _MAKERS[category]
    hops = rng.choice(hop_range)
    for _ in range(_TRIES):
        case = make(rng, hops)
        text = template.text.format(name=rng.choice(_NAMES), **case.slots)
        prompt = f"{text}\nAnswer ({yes.strip()} or {no.strip()}):"
        holds = case.truth != template.inverted
        if holds == wanted and prompt not in used and _share(prompt) in shares:
            return hops, prompt, yes if holds else no
    raise ValueError(f"no new {category} question is left after {len(used)}")


def _share(prompt: str) -> int:
    return hashlib.sha256(prompt.encode()).digest()[0] % _SHARES


def _between(rng: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return rng.randrange(low, high + 1)


def _pick(rng: Random, pool: tuple[str, ...], count: int) -> list[str]:
    """`count` different members of `pool`, in random order."""
    left = list(pool)
    return [left.pop(rng.randrange(len(left))) for _ in range(count)]


def _shuffled(rng: Random, values: list[int]) -> list[int]:
    left = list(values)
    return [left.pop(rng.randrange(len(left))) for _ in values]


def _tens(rng: Random, low: int, high: int, unit: int = 10) -> int:
    """A multiple of `unit` from `low` to `high`, both included."""
    return unit * _between(rng, -(-low // unit), high // unit)


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _dollars(amounts: list[int]) -> str:
    return _listed([f"${amount}" for amount in amounts])


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _impossible_travel(rng: Random, hops: int) -> _Case:
    hours = _between(rng, 1, 4)
    speed = rng.choice((300, 600, 900))
    reach = speed * hours
    far = rng.randrange(2) == 1
    km = _tens(rng, reach + reach // 4, 2 * reach, 100) if far else _tens(
        rng, 100, reach - reach // 4, 100
    )  # fmt: skip
    here, there = _pick(rng, _CITIES, 2)
    if hops == 1:
        first = f"in {here}"
        second = f"{hours} hour{'s' if hours > 1 else ''} later in {there}"
    else:
        start = _between(rng, 6, 15) * 60
        first = f"in {here} at {_clock(start)}"
        second = f"in {there} at {_clock(start + 60 * hours)}"
    slots = {"first": first, "second": second, "km": str(km), "speed": str(speed)}
    return _Case(slots, km > reach)


def _amount_limit(rng: Random, hops: int) -> _Case:
    charges = [_tens(rng, 10, 990 if hops == 1 else 190) for _ in range(hops)]
    total = sum(charges)
    limit = total
    while limit == total:
        limit = _tens(rng, max(10, total - 60), total + 60)
    slots = {"charges": f"charges of {_dollars(charges)}", "limit": str(limit)}
    return _Case(slots, total > limit)


def _velocity(rng: Random, hops: int) -> _Case:
    k = _between(rng, 2, hops)
    window = rng.choice((15, 20, 30))
    last = _between(rng, 0, 23) * 60 + _tens(rng, 45, 55, 5)
    inside = rng.choice((k - 1, k))
    ago = {0}
    while len(ago) < inside:
        ago.add(_tens(rng, 5, window - 5, 5))
    while len(ago) < hops:
        ago.add(_tens(rng, window + 5, 45, 5))
    stamps = [_clock(last - minutes) for minutes in sorted(ago, reverse=True)]
    slots = {"times": _listed(stamps), "k": _COUNT_WORDS[k], "w": str(window)}
    return _Case(slots, inside >= k)


def _structuring(rng: Random, hops: int) -> _Case:
    k = _between(rng, 2, 3)
    limit = rng.choice((1000, 2000, 5000))
    floor = limit * 9 // 10
    inside = rng.choice((k - 1, k))
    amounts = [_tens(rng, floor, limit - 100, 100) for _ in range(inside)]
    while len(amounts) < hops:
        below = rng.randrange(3) > 0
        amounts.append(
            _tens(rng, limit // 5, floor - 100, 100)
            if below
            else _tens(rng, limit, limit * 6 // 5, 100)
        )
    slots = {"amounts": _dollars(_shuffled(rng, amounts)), "k": _COUNT_WORDS[k],
             "floor": str(floor), "limit": str(limit)}  # fmt: skip
    return _Case(slots, inside >= k)


def _card_testing(rng: Random, hops: int) -> _Case:
    k = _between(rng, 2, min(3, hops - 1))
    big = rng.choice((100, 200, 500))
    small = rng.choice((k - 1, k, k))
    cents = [_tens(rng, 10, 190) for _ in range(small)]
    cents += [_tens(rng, 500, 9500, 100) for _ in range(hops - 1 - small)]
    cents = _shuffled(rng, cents)
    final = _tens(rng, big + 10, big * 2) if rng.randrange(3) else _tens(rng, 20, big - 10)
    shown = [f"${cent // 100}.{cent % 100:02d}" for cent in cents]
    slots = {"charges": _listed([*shown, f"${final}"]), "k": _COUNT_WORDS[k], "big": str(big)}
    return _Case(slots, small >= k and final > big)


def _merchant_mismatch(rng: Random, hops: int) -> _Case:
    trade, other = _pick(rng, tuple(_GOODS), 2)
    items = _pick(rng, _GOODS[trade], hops)
    if rng.randrange(2) == 1:
        items[rng.randrange(hops)] = rng.choice(_GOODS[other])
    article = "an" if trade[0] in "aeiou" else "a"
    slots = {"shop": f"{rng.choice(_SHOPS)} {_between(rng, 1, 99)}",
             "register": f"is registered as {article} {trade}",
             "items": _listed(items)}  # fmt: skip
    return _Case(slots, any(item not in _GOODS[trade] for item in items))


def _exposure(rng: Random, hops: int) -> _Case:
    a = b = [0]
    while sum(a) == sum(b):
        most = 990 if hops == 1 else 190
        a = [_tens(rng, 10, most) for _ in range(hops)]
        b = [_tens(rng, 10, most) for _ in range(hops)]
    return _Case({"a": _dollars(a), "b": _dollars(b)}, sum(a) > sum(b))


_MAKERS: Final[dict[str, tuple[Callable[[Random, int], _Case], tuple[int, ...]]]] = {
    "impossible_travel": (_impossible_travel, (1, 2)),
    "amount_limit": (_amount_limit, (1, 2, 3)),
    "velocity": (_velocity, (2, 3)),
    "structuring": (_structuring, (3, 4)),
    "card_testing": (_card_testing, (3, 4)),
    "merchant_mismatch": (_merchant_mismatch, (1, 2)),
    "exposure": (_exposure, (1, 2)),
}
