from __future__ import annotations

import math

import pytest

from harness.gating.turns import Turn, plan_turns


def shown(turns: list[Turn]) -> str:
    return " ".join(
        ("A" if turn.role == "baseline" else "B")
        + ("?" if turn.asks else "")
        + str(turn.repeat or "")
        for turn in turns
    )


@pytest.mark.parametrize(
    ("asks", "repeats", "order"),
    [
        (True, 0, "A? B?"),
        (True, 1, "A? B? B1 A1"),
        (True, 2, "A? B? B1 A1 A2 B2"),
        (True, 4, "A? B? B1 A1 A2 B2 B3 A3 A4 B4"),
        (False, 4, "B?1 A?1 A2 B2 B3 A3 A4 B4"),
        (False, 0, "B?"),
    ],
)
def test_suites_first_and_then_loads_in_mirrored_turns(
    asks: bool,  # noqa: FBT001 - a table's column
    repeats: int,
    order: str,
) -> None:
    assert shown(plan_turns(("baseline", "candidate"), asks=asks, repeats=repeats)) == order


def test_a_finished_run_has_no_turn() -> None:
    assert shown(plan_turns(("candidate",), asks=True, repeats=3)) == "B? B1 B2 B3"
    assert shown(plan_turns(("baseline",), asks=False, repeats=2)) == "A?1 A2"
    assert plan_turns((), asks=True, repeats=2) == []


@pytest.mark.parametrize("repeats", [2, 4, 6])
def test_a_machine_that_gets_quicker_at_a_steady_rate_is_in_no_ratio(repeats: int) -> None:
    """Equal builds; each repeat is 20 % quicker than the one before it. One after the other, the
    ratio would be 0.8 to the power of the repeats."""
    turns = plan_turns(("baseline", "candidate"), asks=True, repeats=repeats)
    order = [turn.role for turn in turns if turn.repeat is not None]
    logs = {
        role: [place * math.log(0.8) for place, other in enumerate(order) if other == role]
        for role in ("baseline", "candidate")
    }
    assert [len(own) for own in logs.values()] == [repeats, repeats]
    assert sum(logs["candidate"]) - sum(logs["baseline"]) == pytest.approx(0)
