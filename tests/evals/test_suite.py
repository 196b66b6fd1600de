"""Suites: by name, by path and of a `harness.toml`, with every mistake told and its line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from evals.suite import DomainSettings, Suite, builtin_suites, fields_of
from harness.config import CONFIG_FILE, find_suite, load_config
from harness.errors import BadInputError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)


def mistakes(path: Path) -> list[str]:
    with pytest.raises(BadInputError) as caught:
        load_config(path)
    assert caught.value.exit_code == 2
    return [line.split(f"{path}:")[-1] for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("name", builtin_suites())
def test_shipped_suites_are_valid(name: str, tmp_path: Path) -> None:
    suite, folder = find_suite(name, load_config(start=tmp_path))
    assert suite.name == name
    assert suite.description
    assert folder == ROOT / "evals" / "suites"


def test_the_embedded_suite_is_among_them() -> None:
    assert {"domain", "perplexity", "standard"} <= set(builtin_suites())


def test_a_suite_of_ones_own_by_path_and_by_table(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[domain]\nitems = "items.jsonl"\n')
    suite, folder = find_suite(str(tmp_path / "mine.toml"), load_config(start=tmp_path))
    assert (suite.name, suite.kind, folder) == ("mine", "domain", tmp_path)
    (tmp_path / CONFIG_FILE).write_text('[suites.other.perplexity]\ntext = "a.txt"\n')
    config = load_config(start=tmp_path)
    suite, folder = find_suite("other", config)
    assert (suite.name, suite.kind, folder) == ("other", "perplexity", tmp_path)


def test_an_unknown_name_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match='no suite "doman" \\(did you mean "domain"\\?\\)'):
        find_suite("doman", load_config(start=tmp_path))


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / CONFIG_FILE
    path.write_text(
        """[suites.a.domain]
items = "x.jsonl"
tempalte = "{input}"
max_tokens = 0

[suites.a.domain.grader]
kind = "nummer"

[suites.b.domain]
items = "x.jsonl"

[suites.b.domain.grader]
kind = "regex"
pattern = "("

[suites.c]
limit = 10

[judge]
url = "ftp://there"
"""
    )
    head, *lines = mistakes(path)
    assert head == "7 mistakes in the configuration:"
    for line, words in [
        ("3:", 'suites.a.domain.tempalte: unknown field (did you mean "template"?)'),
        ("4:", "suites.a.domain.max_tokens: should be greater than 0, not 0"),
        ("6:", "suites.a.domain.grader: kind should be one of"),
        ("6:", '(did you mean "number"?)'),
        ("14:", "suites.b.domain.grader.pattern: no regular expression: missing )"),
        ("16:", "suites.c: has none of them: a suite is exactly one of the tables [domain]"),
        ("20:", "judge.url"),
        ("19:", "judge.model: is missing"),
    ]:
        assert any(text.startswith(line) and words in text for text in lines), (line, words, lines)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"template": "{input"}, "write {{ and }} for braces"),
        ({"template": "{input.x}"}, "is no field's name"),
        ({"template": "{0}"}, "is no field's name"),
        ({"template": "{input!r}"}, "is no field's name"),
        ({"method": "choices"}, 'needs [domain.grader] kind = "choice"'),
        (
            {"method": "choices", "chat": True, "grader": {"kind": "choice"}},
            "scores plain prompts",
        ),
        ({"system": "Be brief."}, "set chat = true"),
        ({"stop": [""]}, "at least 1 character"),
    ],
)
def test_what_does_not_go_together_is_told(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DomainSettings.model_validate({"items": "x.jsonl", **fields})
    assert words in str(caught.value)


def test_two_kinds_in_one_suite_are_refused() -> None:
    with pytest.raises(ValidationError, match="has domain and perplexity: a suite is exactly one"):
        Suite.model_validate({"name": "a", "domain": {"items": "x"}, "perplexity": {"text": "y"}})


def test_fields_of_a_template() -> None:
    assert fields_of("{{x}} {input} and {choices}") == ("input", "choices")


def test_list_suites_names_them_all(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text('[suites.mine.domain]\nitems = "i.jsonl"\n')
    done = subprocess.run(
        [sys.executable, "-m", "harness", "list", "suites", "--json"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {"domain", "perplexity", "standard", "mine"} <= set(rows)
    assert (rows["domain"]["kind"], rows["domain"]["from"]) == ("domain", "shipped")
    assert (rows["mine"]["asks"], rows["standard"]["kind"]) == ("i.jsonl", "lmeval")
