"""Which route an item takes, and what travels in one request."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from evals.lmeval.packing import PACK_CHOICES, Pack, Prompt, packs, route_of

if TYPE_CHECKING:
    from evals.records import Route

places = itertools.count()


def item(
    number: int, context: list[int], *choices: list[int], greedy: bool = False
) -> list[Prompt]:
    return [
        Prompt(
            owner=("task", number),
            place=next(places),
            ids=context + choice,
            scored_from=len(context),
            greedy=greedy,
        )
        for choice in choices
    ]


LETTERS = ([5], [6], [7], [8])


@pytest.mark.parametrize(
    ("asked", "best", "route"),
    [
        (item(0, [1, 2], *LETTERS), "next", "next"),
        (item(0, [1, 2], *LETTERS), "echo", "echo"),
        (item(0, [1, 2], *LETTERS), "native", "native"),
        (item(0, [1, 2], [5], [6, 7]), "next", "echo"),  # never one item in two ways
        (item(0, [1, 2], [5], []), "next", "echo"),
        (item(0, [], [5], [6]), "next", "echo"),  # nothing comes before it
        (item(0, [1], *([n] for n in range(129))), "next", "echo"),  # vLLM takes 128
        ([Prompt(owner=("task", 0), place=0, ids=[1], stop=("\n",))], "next", "generative"),
    ],
)
def test_an_item_goes_by_next_only_if_all_its_choices_are_one_token(
    asked: list[Prompt], best: Route, route: Route
) -> None:
    assert route_of(asked, best) == route


def test_all_choices_of_an_item_are_one_prompt_of_the_next_route() -> None:
    asked = [item(n, [1, 2, n], *LETTERS) for n in range(5)]
    found = list(packs((("next", one) for one in asked), 3))
    assert [list(pack.sent) for pack in found] == [
        [(1, 2, 0), (1, 2, 1), (1, 2, 2)],
        [(1, 2, 3), (1, 2, 4)],
    ]
    assert [list(pack.tokens) for pack in found] == [[5, 6, 7, 8]] * 2
    assert [found[0].place(prompt) for prompt in found[0].prompts] == [0] * 4 + [1] * 4 + [2] * 4


def test_an_items_contexts_may_differ() -> None:
    both = item(0, [1, 2], [5], [6]) + item(0, [9], [5], [6])
    pack = Pack("next", greedy=False)
    assert pack.take(both, 32)
    assert [pack.place(prompt) for prompt in both] == [0, 0, 1, 1]


def test_echo_sends_each_choice_and_keeps_an_item_together() -> None:
    asked = [item(n, [1, n], *LETTERS) for n in range(3)]
    found = list(packs((("echo", one) for one in asked), 6))
    assert [len(pack.sent) for pack in found] == [4, 4, 4]
    assert found[0].place(asked[0][2]) == 2


def test_tokens_asked_about_are_bounded_in_a_request() -> None:
    asked = [item(n, [1], *([100 * n + m] for m in range(20))) for n in range(3)]
    found = list(packs((("next", one) for one in asked), 32))
    assert [len(pack.tokens) for pack in found] == [20, 20, 20]
    assert max(len(pack.tokens) for pack in found) <= PACK_CHOICES


def test_routes_and_what_must_be_known_do_not_mix() -> None:
    asked: list[tuple[Route, list[Prompt]]] = [
        ("next", item(0, [1], *LETTERS)),
        ("echo", item(1, [1], [5, 6])),
        ("echo", item(2, [1], [5, 7], greedy=True)),
        ("next", item(3, [2], *LETTERS)),
    ]
    found = list(packs(iter(asked), 32))
    assert [(pack.route, pack.greedy, len(pack.sent)) for pack in found] == [
        ("next", False, 2),
        ("echo", False, 1),
        ("echo", True, 1),
    ]
