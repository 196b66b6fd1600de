from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.cli import run
from harness.config import find_rules, load_config
from harness.errors import BadInputError
from harness.gating.rules import builtin_rules

if TYPE_CHECKING:
    from pathlib import Path

BAD = """\
budget_s = 0
colour = "red"

[[stages]]
name = "quiz"
suite = "domain"
levels = [1]
rules = ["retained(domain) >= 95%"]

[[stages]]
name = "contract"
suite = "perplexity"
profile = "closed"
rules = []
"""
ONE = """\
[[{}stages]]
name = "quiz"
suite = "domain"
rules = ["retained(domain) >= 99%"]
"""


def test_the_default_rules_are_what_they_are_said_to_be() -> None:
    rules, folder = find_rules("default", load_config())
    assert folder == builtin_rules()["default"].parent
    assert rules.budget_s == 20 * 60
    assert [stage.name for stage in rules.stages] == ["perplexity", "domain", "downstream", "load"]
    assert [stage.required for stage in rules.stages] == [True, True, False, True]
    texts = [rule for stage in rules.stages for rule in stage.rules]
    for limit in (
        "perplexity_rise(perplexity) <= 5%",
        "retained(mmlu) >= 97%",
        "retained(hellaswag) >= 98%",
        "retained(arc_challenge) >= 96%",
        "retained(domain) >= 95%",
    ):
        assert limit in texts


def test_all_mistakes_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(BAD)
    with pytest.raises(BadInputError) as caught:
        find_rules(str(path), load_config())
    text = str(caught.value)
    assert f"{path}:1: budget_s: should be greater than 0" in text
    assert f"{path}:2: colour: unknown field" in text
    assert f"{path}:4: stages[0]: levels: for a stage with a profile" in text
    assert f"{path}:14: stages[1].rules: " in text


def test_rules_of_a_harness_toml_by_name(tmp_path: Path) -> None:
    path = tmp_path / "harness.toml"
    path.write_text("[rules.strict]\nbudget_s = 60\n\n" + ONE.format("rules.strict."))
    config = load_config(path)
    rules, folder = find_rules("strict", config)
    assert (rules.name, rules.budget_s, folder) == ("strict", 60, tmp_path)
    with pytest.raises(BadInputError, match='did you mean "strict"'):
        find_rules("strct", config)


def test_a_name_twice_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "twice.toml"
    path.write_text(ONE.format("") + ONE.format(""))
    with pytest.raises(BadInputError, match='the name "quiz" is there twice'):
        find_rules(str(path), load_config())


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "rules", "--json"]) == 0
    [row] = [row for row in json.loads(capsys.readouterr().out) if row["name"] == "default"]
    assert "retained(domain) >= 95%" in row["rules"]
    assert row["from"] == "shipped"
