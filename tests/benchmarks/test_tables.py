"""What the tables of the comparison judge."""

from __future__ import annotations

import pytest
from client import Load, clients
from comparison import Outcome
from tables import markdown


def outcome(name: str, cost_us: float, streams: int = 1024, **fields: object) -> Outcome:
    load = Load("closed", streams, 2 * streams, 64)
    values = {"tokens": 1000, "held": 0.99 * streams, "cpu_us_per_token": cost_us}
    return Outcome(name, load, **(values | fields))


def judged(*outcomes: Outcome) -> list[str]:
    """Return the cells of the last row of the table of shares."""
    text = markdown(list(outcomes), clients(), {one.client: "1" for one in outcomes})
    _, _, table = text.partition("the best peer that held 95%**\n\n")
    rows = table.split("\n\n")[0].splitlines()
    return [cell.strip() for cell in rows[-1].strip("|").split("|")] if table else []


@pytest.mark.parametrize(("cost_us", "verdict"), [(12.0, "PASS"), (12.5, "**FAIL**")])
@pytest.mark.parametrize("streams", [256, 1024])
def test_the_cost_is_judged_by_the_best_peer(streams: int, cost_us: float, verdict: str) -> None:
    own, good = outcome("ours", cost_us, streams), outcome("evalscope", 20.0, streams)
    row = judged(own, outcome("vllm", 30.0, streams), good)
    assert row[:3] == [f"{streams:,}", "≤ 0.6", f"{cost_us / 20:.2f}"]
    assert row[3].startswith(clients()["evalscope"].title)
    assert row[-1] == verdict


def test_a_peer_that_did_not_hold_its_streams_is_no_measure() -> None:
    few, broken = outcome("evalscope", 1.0, held=202), outcome("locust", 2.0, problem="it fell")
    row = judged(outcome("ours", 12.0), outcome("vllm", 30.0), few, broken)
    assert row[2] == "0.40"
    assert row[4:] == ["evalscope, locust", "PASS"]
    assert judged(outcome("ours", 12.0), few)[-3:] == ["no peer held its streams", "evalscope", ""]


def test_a_cheap_client_that_did_not_hold_its_own_fails() -> None:
    row = judged(outcome("ours", 1.0, held=500), outcome("vllm", 30.0))
    assert row[4:] == ["ours", "**FAIL**"]


def test_other_levels_are_shown_and_not_judged() -> None:
    row = judged(outcome("ours", 20.0, 32), outcome("vllm", 30.0, 32))
    assert (row[1], row[2], row[-1]) == ("–", "0.67", "")
    assert judged(outcome("ours", 12.0)) == [], "nobody to be compared with"
