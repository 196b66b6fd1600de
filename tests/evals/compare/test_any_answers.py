"""Whatever was answered, numbers come out that are numbers, and lie within their intervals."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from evals.compare import compare, quality_score, summarise, under_load
from evals.compare.pairs import pair
from evals.records import Answer

ONE = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["", "a", "b"]),
        "category": st.sampled_from(["", "x", "y"]),
        "cluster": st.sampled_from(["", "s", "t", "u"]),
        "kind": st.sampled_from(["accuracy", "f1", "perplexity", "bits_per_byte"]),
        "ours": st.sampled_from([0.0, 0.3, 1.0, 12.5]),
        "baseline": st.sampled_from([0.0, 0.3, 1.0, 12.5]),
        "choice": st.sampled_from([None, 0, 1]),
        "weight": st.sampled_from([1.0, 7.0]),
        "outcome": st.sampled_from(["scored", "scored", "scored", "error", "truncated"]),
    }
)


def sides(rows: list[dict[str, Any]]) -> tuple[list[Answer], list[Answer]]:
    found: tuple[list[Answer], list[Answer]] = ([], [])
    for number, row in enumerate(rows):
        graded = row["kind"] == "accuracy"
        for side, answers in zip(("ours", "baseline"), found, strict=True):
            score = min(row[side], 1.0) if graded else row[side]
            text = row["kind"] in {"perplexity", "bits_per_byte"}
            answers.append(
                Answer(
                    item=str(number),
                    task=f"{row['task']}-{row['kind']}",
                    category=row["category"],
                    cluster=row["cluster"],
                    metric=row["kind"],
                    score=score,
                    weight=row["weight"] if text else 1.0,
                    choice=row["choice"],
                    loglikelihoods=[] if row["choice"] is None else [-1.0, -2.0],
                    outcome=row["outcome"] if side == "ours" else "scored",
                )
            )
    return found


def numbers(value: object, place: str = "") -> None:
    """Every interval holds its value; NaN or infinity is in none."""
    if isinstance(value, dict):
        for name, part in value.items():
            numbers(part, f"{place}.{name}")
        for name, of in (
            ("ci95", "score"),
            ("difference_ci95", "difference"),
            ("retained_ci95", "retained"),
            ("excess_ci95", "excess"),
        ):
            if value.get(name) is not None and isinstance(value.get(of), int | float):
                low, high = value[name]
                slack = 1e-6 * max(1.0, abs(value[of]))
                assert low - slack <= value[of] <= high + slack, (place, value)
    elif isinstance(value, float):
        assert abs(value) < float("inf"), place


def checked(value: object) -> None:
    numbers(msgspec.to_builtins(value))


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(ONE, min_size=1, max_size=16))
def test_any_answers_are_scored_and_compared(rows: list[dict[str, Any]]) -> None:
    ours, baseline = sides(rows)
    checked(summarise(ours))
    checked(compare(ours, baseline))
    checked(under_load(idle=baseline, load=ours, idle_again=baseline, baseline=baseline))
    checked(quality_score({"one": pair(ours, baseline)}, seed=0))
