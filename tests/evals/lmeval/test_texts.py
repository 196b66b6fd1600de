"""What lm-eval's tasks ask, read by the child for the search for contamination."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from evals.asked_texts import asked_texts
from evals.contamination import contamination
from evals.errors import NeedError, SuiteError
from evals.suite import Suite

if TYPE_CHECKING:
    from pathlib import Path

TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: ["yes", "no"]
doc_to_target: answer
"""
QUESTION = "Was the card that Ada used in Oslo on Monday used in Lima an hour later, too?"


def suite(include: Path, *tasks: str) -> Suite:
    table = {"tasks": dict.fromkeys(tasks, 0), "include_path": str(include)}
    return Suite.model_validate({"name": "own", "lmeval": table})


def own_task(folder: Path, name: str = "own", *, there: bool = True) -> None:
    file = folder / f"{name}.jsonl"
    if there:
        file.write_text(json.dumps({"question": QUESTION, "answer": 0, "source": "a book"}) + "\n")
    (folder / f"{name}.yaml").write_text(TASK.format(name=name, file=file))


def test_each_kind_of_task(linked: Path, lmeval_python: Path) -> None:
    tasks = ("mmlu", "hellaswag", "arc_challenge", "winogrande", "gsm8k", "wikitext")
    items, unread = asked_texts(suite(linked, *tasks), linked, None, lmeval_python, fetch=False)
    assert unread == {}
    of = {name: [text for key, text in items.items() if key.startswith(name)] for name in tasks}
    assert [len(of[name]) for name in tasks] == [36, 12, 12, 12, 8, 3]
    prompt, question, *_ = items["mmlu_anatomy/3"]
    assert prompt.endswith("Answer:")
    assert prompt.startswith(question), "the question, without choices and the prompt's frame"
    assert question.startswith("3, ")
    first, second, *_ = items["winogrande/0"]
    assert first.replace("amount", "_", 1) != first, "a sentence that an option was put in"
    assert second.replace("limit", "_", 1) != second
    assert all(len(" ".join(forms).split()) > 60 for forms in of["wikitext"])


def test_an_item_is_found_by_its_prompt_or_by_its_question(
    tmp_path: Path, lmeval_python: Path
) -> None:
    own_task(tmp_path)
    items, _ = asked_texts(suite(tmp_path, "own"), tmp_path, None, lmeval_python, fetch=False)
    assert items == {"own/0": [f"Question: {QUESTION}\nAnswer:", QUESTION]}
    assert contamination(items, [f"He said: {QUESTION} Nobody knew."]).exact == ("own/0",)
    assert contamination(items, ["Was the card that Bob used in Oslo a book?"]).overlapping == ()


def test_what_cannot_be_read_is_named_and_the_rest_is_read(
    tmp_path: Path, lmeval_python: Path
) -> None:
    own_task(tmp_path)
    own_task(tmp_path, "gone", there=False)
    found = asked_texts(suite(tmp_path, "own", "gone"), tmp_path, None, lmeval_python, fetch=False)
    assert list(found.items) == ["own/0"]
    assert list(found.unread) == ["gone"]
    assert "harness eval link" in found.unread["gone"]
    with pytest.raises(NeedError, match="gone cannot be loaded"):
        asked_texts(suite(tmp_path, "gone"), tmp_path, None, lmeval_python, fetch=False)
    with pytest.raises(SuiteError, match="lm-eval knows no task owm"):
        asked_texts(suite(tmp_path, "owm"), tmp_path, None, lmeval_python, fetch=False)


def test_where_lm_eval_is_not_there_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NeedError, match="harness engines install lm-eval"):
        asked_texts(suite(tmp_path, "own"), tmp_path, None, None, fetch=False)
    shipped = Suite.model_validate({"name": "s", "lmeval": {"tasks": {"mmlu": 5}}})
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(NeedError, match="no data set of lm-eval's is in this machine's cache"):
        asked_texts(shipped, tmp_path, None, tmp_path / "never-started", fetch=False)


def test_a_mistyped_text_of_the_hub_is_wrong_and_not_absent(tmp_path: Path) -> None:
    mistyped = Suite.model_validate({"name": "p", "perplexity": {"text": "hub:wikitext3"}})
    with pytest.raises(SuiteError, match="known are hub:c4"):
        asked_texts(mistyped, tmp_path, None, None, fetch=False)
