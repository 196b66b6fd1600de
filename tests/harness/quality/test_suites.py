"""A run goes on with the suites that it was begun with, and with no others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from evals.suite import Suite
from harness.errors import BadInputError
from harness.quality.record import SuiteFacts
from harness.quality.suites import demand_same, files_of, tokenizer_sha256

if TYPE_CHECKING:
    from pathlib import Path

GRADER = {"kind": "json", "schema": "rules.json"}


def made(folder: Path, **domain: Any) -> Suite:  # noqa: ANN401 - a suite's fields
    for name in ("items.jsonl", "rules.json"):
        if not (folder / name).exists():
            (folder / name).write_text("{}\n")
    fields = {"items": "items.jsonl", "grader": GRADER, **domain}
    return Suite.model_validate({"name": "quiz", "domain": fields})


def facts(suite: Suite, folder: Path, **changed: Any) -> SuiteFacts:  # noqa: ANN401 - its fields
    settings = suite.model_dump(mode="json", exclude_none=True)
    known = {"settings": settings, "files": files_of(suite, folder), **changed}
    return SuiteFacts(name="quiz", kind="domain", **known)


def test_the_same_suite_goes_on(tmp_path: Path) -> None:
    suite = made(tmp_path)
    assert sorted(facts(suite, tmp_path).files) == ["items.jsonl", "rules.json"]
    demand_same([facts(suite, tmp_path)], [(made(tmp_path), tmp_path)], tmp_path)


def test_a_run_of_an_older_version_goes_on(tmp_path: Path) -> None:
    suite = made(tmp_path)
    older = facts(suite, tmp_path, files={})
    del older.settings["domain"]["chat"]
    demand_same([older], [(suite, tmp_path)], tmp_path)
    demand_same([facts(suite, tmp_path, settings={})], [(suite, tmp_path)], tmp_path)


def test_a_changed_setting_is_named(tmp_path: Path) -> None:
    before = facts(made(tmp_path), tmp_path)
    now = made(tmp_path, max_tokens=65, grader={**GRADER, "ignore_case": True})
    with pytest.raises(BadInputError) as caught:
        demand_same([before], [(now, tmp_path)], tmp_path)
    assert "quiz: domain.grader.ignore_case was False and is True" in str(caught.value)
    assert "domain.max_tokens was 64 and is 65" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("items.jsonl", "items.jsonl has changed"), ("rules.json", "rules.json has changed")],
)
def test_a_changed_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    suite = made(tmp_path)
    before = facts(suite, tmp_path)
    (tmp_path / name).write_text("{ }\n")
    with pytest.raises(BadInputError, match=re.escape(text)):
        demand_same([before], [(suite, tmp_path)], tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BadInputError, match=f"{name} is gone"):
        demand_same([before], [(suite, tmp_path)], tmp_path)


def test_texts_and_task_files_count(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "one.yaml").write_text("task: one")
    (tmp_path / "tasks" / "one.arrow").write_text("data")
    text = Suite.model_validate({"name": "t", "perplexity": {"text": "text.txt"}})
    assert list(files_of(text, tmp_path)) == ["text.txt"]
    tasks = {"tasks": {"one": 0}, "include_path": "tasks"}
    assert list(files_of(Suite.model_validate({"name": "l", "lmeval": tasks}), tmp_path)) == [
        "one.yaml"
    ]
    embedded = Suite.model_validate({"name": "e", "domain": {"items": "embedded:transactions"}})
    assert files_of(embedded, tmp_path) == {}


def test_a_tokenizer_is_known_by_its_file(tmp_path: Path) -> None:
    assert tokenizer_sha256(None) is None
    assert tokenizer_sha256(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tokenizer_sha256(tmp_path) == tokenizer_sha256(str(tmp_path)) == empty
