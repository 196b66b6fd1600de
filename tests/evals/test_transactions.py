"""The transaction questions: stable, balanced, and labelled by the rule that their text states."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable

import pytest

from evals.transactions import CATEGORIES, Question, Split, choices, generate, templates
from evals.transactions_templates import TEMPLATES

SPLITS: tuple[Split, ...] = ("train", "calibration", "eval")
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


def digest(questions: list[Question]) -> str:
    text = "\n".join(repr(question) for question in questions)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", "02ecfb6b6e70085b"),
        ("calibration", "1d53a73d3c326c37"),
        ("eval", "b06162075b9c5c25"),
    ],
)
def test_the_same_seed_gives_the_same_questions_on_every_python(
    split: Split, expected: str
) -> None:
    assert digest(generate(7, 210, split)) == expected


def test_another_seed_gives_other_questions() -> None:
    first = {question.prompt for question in generate(1, 140, "eval")}
    second = {question.prompt for question in generate(2, 140, "eval")}
    assert not first & second


def test_fewer_questions_are_a_prefix_of_more() -> None:
    assert generate(3, 50, "eval") == generate(3, 140, "eval")[:50]


# --- labels, recomputed from the text alone ---------------------------------------------------


def facts(question: Question) -> tuple[dict[str, str], bool]:
    """The slots, read back out of the prompt, and whether the wording is inverted."""
    template = TEMPLATES[question.category][int(question.template.rsplit("-", 1)[1])]
    seen: set[str] = set()
    pattern = ""
    for part in re.split(r"(\{\w+\})", template.text):
        name = part[1:-1]
        if not part.startswith("{"):
            pattern += re.escape(part)
        elif name in seen:
            pattern += f"(?P={name})"
        else:
            seen.add(name)
            shape = {"km": r"\d+", "speed": r"\d+", "limit": r"\d+", "floor": r"\d+",
                     "big": r"\d+", "w": r"\d+", "k": r"[a-z]+",
                     "items": r"[a-z ]+?(?: and [a-z ]+?)?",
                     "shop": r"\w+ \d+", "name": r"\w+"}.get(name, ".+?")  # fmt: skip
            pattern += f"(?P<{name}>{shape})"
    text, _, suffix = question.prompt.partition("\n")
    assert suffix == f"Answer ({' or '.join(a.strip() for a in choices(question.category))}):"
    match = re.fullmatch(pattern, text)
    assert match, (template.text, text)
    return match.groupdict(), template.inverted


def amounts(text: str) -> list[float]:
    return [float(amount) for amount in re.findall(r"\$([\d.]*\d)", text)]


def clocks(text: str) -> list[int]:
    return [60 * int(h) + int(m) for h, m in re.findall(r"(\d\d):(\d\d)", text)]


def impossible_travel(slots: dict[str, str]) -> bool:
    stamps = clocks(slots["first"]) + clocks(slots["second"])
    later = re.search(r"(\d+) hours? later", slots["second"])
    hours = int(later[1]) if later else (stamps[1] - stamps[0]) / 60
    return int(slots["km"]) / hours > int(slots["speed"])


def amount_limit(slots: dict[str, str]) -> bool:
    return sum(amounts(slots["charges"])) > int(slots["limit"])


def velocity(slots: dict[str, str]) -> bool:
    stamps = clocks(slots["times"])
    assert stamps == sorted(set(stamps))
    age = [stamps[-1] - stamp for stamp in stamps]
    assert int(slots["w"]) not in age, "on the boundary"
    return sum(minutes <= int(slots["w"]) for minutes in age) >= NUMBERS[slots["k"]]


def structuring(slots: dict[str, str]) -> bool:
    low, high = int(slots["floor"]), int(slots["limit"])
    return sum(low <= amount < high for amount in amounts(slots["amounts"])) >= NUMBERS[slots["k"]]


def card_testing(slots: dict[str, str]) -> bool:
    *first, last = amounts(slots["charges"])
    return sum(amount < 2 for amount in first) >= NUMBERS[slots["k"]] and last > int(slots["big"])


TRADE_WORDS = {
    "bakery": "bread cake bagels muffins croissants pie",
    "pharmacy": "aspirin bandages vitamins syrup ointment drops",
    "bookshop": "novel atlas dictionary comics cookbook biography",
    "garage": "tyres oil brake battery wipers gearbox",
    "florist": "roses tulips bouquet orchids wreath lilies",
    "electronics store": "laptop headphones camera phone printer monitor",
    "shoe store": "boots sandals sneakers slippers laces heels",
    "furniture store": "sofa table wardrobe bed bookcase armchair",
}


def merchant_mismatch(slots: dict[str, str]) -> bool:
    named = re.match(r"is registered as an? (.+)", slots["register"])
    if named:
        trade = named[1]
    else:
        code = re.match(r"has code (\d\d)", slots["register"])
        assert code
        trade = dict(re.findall(r"(\d\d) is an? ([a-z ]+)", slots["register"]))[code[1]]
    fitting = TRADE_WORDS[trade].split()
    return any(not set(item.split()) & set(fitting) for item in slots["items"].split(" and "))


def exposure(slots: dict[str, str]) -> bool:
    return sum(amounts(slots["a"])) > sum(amounts(slots["b"]))


RULES: dict[str, Callable[[dict[str, str]], bool]] = {
    "impossible_travel": impossible_travel,
    "amount_limit": amount_limit,
    "velocity": velocity,
    "structuring": structuring,
    "card_testing": card_testing,
    "merchant_mismatch": merchant_mismatch,
    "exposure": exposure,
}


@pytest.mark.parametrize("split", SPLITS)
def test_the_gold_answer_is_what_the_rule_says_about_the_text(split: Split) -> None:
    for question in generate(11, 1_820, split):
        slots, inverted = facts(question)
        holds = RULES[question.category](slots) != inverted
        assert question.answer == choices(question.category)[0 if holds else 1], question


# --- balance and splits -----------------------------------------------------------------------


def test_one_answer_always_is_worth_half_in_every_category_template_and_prefix() -> None:
    questions = generate(5, 1_400, "eval")
    for n in (70, 333, 1_400):
        for category in CATEGORIES:
            counts = Counter(q.answer for q in questions[:n] if q.category == category)
            assert abs(counts[choices(category)[0]] - counts[choices(category)[1]]) <= 1
    by_template = Counter((q.template, q.answer) for q in questions)
    assert set(by_template.values()) == {10}


@pytest.mark.parametrize("category", CATEGORIES)
def test_hops_do_not_give_the_answer_away(category: str) -> None:
    questions = [q for q in generate(6, 4_200, "eval") if q.category == category]
    for hops in {question.hops for question in questions}:
        group = [q.answer == choices(category)[0] for q in questions if q.hops == hops]
        assert len(group) > 100
        assert 0.4 < sum(group) / len(group) < 0.6


def test_there_are_enough_categories_and_templates() -> None:
    assert len(CATEGORIES) >= 6
    assert set(CATEGORIES) == set(RULES)
    for category in CATEGORIES:
        assert len({template.text for template in TEMPLATES[category]}) == 14
        assert len(templates(category, "eval")) == 10
        assert any(template.inverted for template in TEMPLATES[category])
    used = {question.template for question in generate(1, 1_400, "eval")}
    assert used == {name for category in CATEGORIES for name in templates(category, "eval")}


def test_calibration_and_evaluation_share_no_template() -> None:
    for category in CATEGORIES:
        evaluation = set(templates(category, "eval"))
        assert not evaluation & set(templates(category, "calibration"))
        assert len(evaluation - set(templates(category, "train"))) == 1


def test_splits_share_no_prompt_even_with_one_seed() -> None:
    prompts = {split: {q.prompt for q in generate(1, 3_000, split)} for split in SPLITS}
    assert all(len(found) == 3_000 for found in prompts.values())
    assert not prompts["train"] & prompts["eval"]
    assert not prompts["train"] & prompts["calibration"]
    assert not prompts["calibration"] & prompts["eval"]


def test_calibration_and_evaluation_share_no_run_of_thirteen_words() -> None:
    def runs(split: Split) -> set[tuple[str, ...]]:
        found = set()
        for question in generate(1, 1_400, split):
            words = re.findall(r"\w+", question.prompt.lower())
            found |= {tuple(words[i : i + 13]) for i in range(len(words) - 12)}
        return found

    assert not runs("calibration") & runs("eval")


def test_ids_are_unique_over_splits_and_seeds() -> None:
    found = [q.id for split in SPLITS for seed in (1, 2) for q in generate(seed, 300, split)]
    assert len(found) == len(set(found))


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="known: train, calibration, eval"):
        generate(1, 1, "test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="known: impossible_travel"):
        templates("weather", "eval")
