from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from evals.kinds import Size
from harness.config import find_build, find_rules, load_config
from harness.errors import BadInputError
from harness.evidence.limits import parse_limit
from harness.gating.plan import plan_gate
from harness.gating.power import unreachable
from harness.gating.request import GateRequest

if TYPE_CHECKING:
    from pathlib import Path

    from harness.gating.plan import Plan

SIZE = Size(items=700, requests=700, categories={"red": 500, "blue": 200})
RULES = """
[[stages]]
name = "domain"
suite = "domain"
limit = {limit}
rules = [{quality}]
[[stages]]
name = "load"
profile = "closed"
levels = [1, 8]
repeats = {repeats}
rules = [{load}]
"""


def plan(folder: Path, **changes: object) -> Plan:
    fields = {
        "limit": 1400,
        "repeats": 2,
        "quality": '"retained(domain) >= 95%", "retained(domain/*) >= 90%"',
        "load": '"ratio(aggregate_tps@c8) >= 80%", "ttft_p95_ms <= 900", "error_rate <= 1%"',
    }
    allow = bool(changes.pop("allow", False))
    path = folder / "rules.toml"
    path.write_text(RULES.format(**(fields | changes)))
    config = load_config()
    rules, rules_dir = find_rules(str(path), config)
    request = GateRequest(
        candidate=find_build("awq", config),
        baseline=find_build("fp16", config),
        rules=rules,
        rules_dir=rules_dir,
        rules_file="rules.toml",
        config=config,
        allow_underpowered=allow,
        command=["harness", "gate"],
    )
    return plan_gate(request)


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds are not looked at: no engine has to be installed for these tests."""
    for module in ("harness.quality.checks", "harness.load.checks"):
        monkeypatch.setattr(f"{module}.check_build", lambda *_: None)


def test_tests_are_counted_before_anything_is_asked(tmp_path: Path) -> None:
    domain, load = plan(tmp_path).stages
    assert domain.size is not None
    assert domain.size.items == 1400
    assert domain.tests == 1 + 7  # the whole, and each category
    assert load.tests == 1 + 2 + 2  # at its level, and the others at both
    assert (domain.asks, load.asks) == ("domain", "closed")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"quality": '"retaned(domain) >= 95%"'}, 'unknown function "retaned" (did you mean "ret'),
        ({"quality": '"retained(domian) >= 95%"'}, "no suite or task of this stage (did you mean"),
        ({"quality": '"retained(domain) >= 100%"'}, "that nothing is lost cannot be shown"),
        ({"quality": '"ttft_p95_ms <= 500"'}, "is of a load; put it into a stage with a profile"),
        ({"quality": '"retained(domain/velocty) >= 90%"'}, '(did you mean "velocity"?)'),
        ({"load": '"ttft_p95_s <= 1"'}, "ttft is measured in ms, not in s"),
        ({"load": '"ttft_p95_ms@c4 <= 1"'}, "no such level; it has @c1, @c8"),
        ({"load": '"retained(domain) >= 95%"'}, "is of answers; put it into a stage with a suite"),
        ({"repeats": 1}, "one repeat has no interval"),
        ({"load": '"goodput@c8 >= 2"'}, "no limits that goodput is counted by; put them as rules"),
        ({"limit": 70}, "70 items cannot show it"),
    ],
)
def test_mistakes_are_found_before_anything_starts(
    tmp_path: Path, changes: dict[str, object], text: str
) -> None:
    if changes == {"limit": 70}:
        changes = {"limit": 70, "quality": '"retained(domain) >= 97%"'}
    with pytest.raises(BadInputError) as caught:
        plan(tmp_path, **changes)
    assert text in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        plan(tmp_path, quality='"retained(x) >= 95%", "scor(domain) >= 1%"', load='"e2e <= 1"')
    text = str(caught.value)
    assert text.startswith("3 mistakes in the rules rules.toml:")


def test_underpowered_rules_are_refused_unless_told_otherwise(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="at least 25 are needed of each"):
        plan(tmp_path, limit=140)
    found = plan(tmp_path, limit=140, allow=True)
    assert len(found.notes) == 1


def test_the_best_case_is_no_change_at_all() -> None:
    def says(rule: str) -> str:
        return unreachable(parse_limit(rule), SIZE)

    assert says("retained(quiz)>=97%") == ""
    assert "at least 900 are needed" in says("retained(quiz)>=99.7%")
    assert "200 items of blue" in says("retained(quiz/*)>=99%")
    assert says("retained(quiz/red)>=99%") == ""
    assert says("difference(quiz)>=-1%") == ""
    assert says("score(quiz)>=99.9%") == ""
    assert says("retained(quiz/*)>=90%") == ""
    assert "leave /* out" in unreachable(
        parse_limit("retained(quiz/*)>=90%"), Size(items=5, requests=5)
    )
