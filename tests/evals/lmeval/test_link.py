"""Task files for local copies: every layout, by lm-eval itself, without a network."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from evals.errors import NeedError
from evals.lmeval.layouts import SUBJECTS
from evals.lmeval.link import MANIFEST_FILE, link
from harness.cli.eval_link import link_copies
from harness.errors import BadInputError
from tests.evals.lmeval.conftest import (
    write_arc,
    write_hellaswag,
    write_mmlu_csv,
    write_wikitext,
    write_winogrande,
)

if TYPE_CHECKING:
    from pathlib import Path

# Prints each task's first prompt with its few-shot examples, its choices and targets.
LOOK = """
import json, sys
from lm_eval.tasks import TaskManager
folder, names = sys.argv[1], sys.argv[2:]
found = {}
manager = TaskManager(include_path=folder, include_defaults=False)
for name, task in manager.load(names)["tasks"].items():
    task.set_config(key="num_fewshot", value=int(name not in {"wikitext", "c4"}))
    task.set_fewshot_seed(seed=1234)
    task.build_all_requests(limit=2, rank=0, world_size=1)
    found[name] = {
        "docs": len(task.eval_docs),
        "asked": [instance.args for instance in task.instances],
        "targets": [task.doc_to_target(doc) for doc in list(task.eval_docs)[:2]],
        "metrics": sorted(one["metric"] for one in task.get_config("metric_list")),
    }
json.dump(found, sys.stdout)
"""
TO_PARQUET = """
import sys
from datasets import load_dataset
for source, target in zip(sys.argv[1::2], sys.argv[2::2]):
    load_dataset("json", data_files=source, split="train").to_parquet(target)
"""


def run(python: Path, program: str, *arguments: object) -> str:
    done = subprocess.run(
        [str(python), "-P", "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def look(python: Path, folder: Path, *names: str) -> dict[str, Any]:
    out = run(python, LOOK, folder, *names)
    found: dict[str, Any] = json.loads(out[out.index("{") :])
    return found


def test_every_authors_layout_is_read_by_lm_eval(linked: Path, lmeval_python: Path) -> None:
    names = ("mmlu", "hellaswag", "arc_challenge", "arc_easy", "winogrande", "gsm8k", "wikitext")
    found = look(lmeval_python, linked, *names, "c4")
    subjects = [name for name in found if name.startswith("mmlu_")]
    assert sorted(subjects) == ["mmlu_anatomy", "mmlu_astronomy", "mmlu_philosophy"]
    anatomy = found["mmlu_anatomy"]
    assert anatomy["asked"][0][0].startswith(
        "The following are multiple choice questions (with answers) about anatomy.\n\n0, "
    )
    with (linked.parent / "mmlu/data/test/anatomy_test.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert anatomy["targets"] == ["ABCD".index(row[5]) for row in rows[:2]]
    assert f"{rows[0][0]}\nA. {rows[0][1]}\n" in anatomy["asked"][0][0]
    assert anatomy["metrics"] == ["acc"]
    assert [found[name]["docs"] for name in ("hellaswag", "arc_challenge", "arc_easy")] == [
        12,
        12,
        24,
    ]
    assert found["hellaswag"]["targets"] == [0, 1]
    assert found["hellaswag"]["metrics"] == ["acc", "acc_norm"]
    assert found["arc_challenge"]["targets"] == [0, 1]
    assert "Question: " in found["arc_challenge"]["asked"][0][0]
    first, second = found["winogrande"]["asked"][:2]
    assert first[1] == second[1]  # a choice is a context here
    assert "#### " in found["gsm8k"]["asked"][0][0]
    assert found["wikitext"]["docs"] == 3
    assert found["wikitext"]["metrics"] == ["bits_per_byte", "byte_perplexity", "word_perplexity"]
    assert found["c4"]["docs"] == 2


def test_the_hubs_parquet_and_json_lines_give_the_same_prompts(
    tmp_path: Path, linked: Path, lmeval_python: Path, lmeval_tasks: Path
) -> None:
    data = linked / "data"
    copies = linked.parent
    pairs = {
        data / "mmlu_anatomy-test.jsonl": tmp_path / "mmlu/anatomy/test-00000-of-00001.parquet",
        data / "mmlu_anatomy-dev.jsonl": tmp_path / "mmlu/anatomy/dev-00000-of-00001.parquet",
        copies / "hellaswag/hellaswag_train.jsonl": tmp_path / "hellaswag/data/train-0.parquet",
        copies / "hellaswag/hellaswag_val.jsonl": tmp_path / "hellaswag/data/validation-0.parquet",
        copies / "winogrande/train_xl.jsonl": tmp_path / "winogrande/winogrande_xl/train-0.parquet",
        copies / "winogrande/dev.jsonl": tmp_path / "winogrande/winogrande_xl/validation-0.parquet",
        copies / "gsm8k/train.jsonl": tmp_path / "gsm8k/main/train-0.parquet",
        copies / "gsm8k/test.jsonl": tmp_path / "gsm8k/main/test-0.parquet",
        data / "wikitext-test.jsonl": tmp_path / "wikitext/test.parquet",
    }
    pairs |= {
        data / f"arc_challenge-{split}.jsonl": tmp_path / f"arc/ARC-Challenge/{split}-0.parquet"
        for split in ("train", "validation", "test")
    }
    for target in pairs.values():
        target.parent.mkdir(parents=True, exist_ok=True)
    run(lmeval_python, TO_PARQUET, *[path for pair in pairs.items() for path in pair])
    names = ("mmlu", "hellaswag", "winogrande", "gsm8k", "wikitext")
    sources = {name: tmp_path / name for name in names} | {"arc_challenge": tmp_path / "arc"}
    parquet = link(sources, tmp_path / "linked", lmeval_tasks)
    (note,) = parquet.notes
    assert "1 of 57 subjects" in note
    assert not (parquet.folder / "data").exists()  # nothing is written anew
    names = ("mmlu_anatomy", *names[1:], "arc_challenge")
    assert look(lmeval_python, parquet.folder, *names) == look(lmeval_python, linked, *names)


def test_57_subjects_are_a_whole_mmlu(tmp_path: Path, lmeval_tasks: Path) -> None:
    write_mmlu_csv(tmp_path / "mmlu", SUBJECTS, count=1)
    linked = link({"mmlu": tmp_path / "mmlu"}, tmp_path / "out", lmeval_tasks)
    assert len(linked.tasks) == 57
    assert linked.notes == []


def test_the_manifest_has_every_files_digest(linked: Path) -> None:
    manifest = json.loads((linked / MANIFEST_FILE).read_text())
    files = [
        file for splits in manifest["tasks"].values() for paths in splits.values() for file in paths
    ]
    assert len(files) == 3 * 2 + 2 + 3 + 3 + 2 + 2 + 1 + 1
    for file in files:
        with open(file["path"], "rb") as opened:  # noqa: PTH123 - a string, as in the manifest
            assert hashlib.file_digest(opened, "sha256").hexdigest() == file["sha256"]


def test_what_is_missing_is_told_all_at_once(tmp_path: Path, lmeval_tasks: Path) -> None:
    write_hellaswag(tmp_path / "hellaswag")
    (tmp_path / "hellaswag" / "hellaswag_val.jsonl").unlink()
    sources = {"hellaswag": tmp_path / "hellaswag", "gsm8k": tmp_path / "nothing"}
    with pytest.raises(NeedError) as caught:
        link(sources, tmp_path / "out", lmeval_tasks)
    told = str(caught.value).splitlines()
    assert told[0].startswith("hellaswag: no validation files in")
    assert "hellaswag_val.jsonl" in told[0]
    assert told[1].startswith("gsm8k: no train files in")
    assert not (tmp_path / "out").exists()


def test_a_csv_that_is_no_mmlu_is_told_with_its_line(tmp_path: Path, lmeval_tasks: Path) -> None:
    write_mmlu_csv(tmp_path, ("anatomy",))
    file = tmp_path / "data" / "test" / "anatomy_test.csv"
    file.write_text(file.read_text() + "a question,with,too,few\n")
    with pytest.raises(NeedError, match=r"anatomy_test.csv:13: no question, four choices"):
        link({"mmlu": tmp_path}, tmp_path / "out", lmeval_tasks)


def test_wikitext_is_cut_at_titles_alone(tmp_path: Path, lmeval_tasks: Path) -> None:
    write_wikitext(tmp_path / "w")
    out = link({"wikitext": tmp_path / "w" / "wiki.test.raw"}, tmp_path / "out", lmeval_tasks)
    written = (out.folder / "data" / "wikitext-test.jsonl").read_text().splitlines()
    pages = [json.loads(line)["page"] for line in written]
    assert "\n".join(pages) == (tmp_path / "w" / "wiki.test.raw").read_text()
    assert all(page.startswith(" = ") and page.count(" = = ") == 2 for page in pages)


@pytest.mark.usefixtures("lmeval_python")
def test_the_command_says_what_goes_into_a_suite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arc(tmp_path / "arc")
    write_winogrande(tmp_path / "wino")
    code = link_copies(
        arc_challenge=tmp_path / "arc", winogrande=tmp_path / "wino", out=tmp_path / "out"
    )
    assert code == 0
    said = capsys.readouterr().out
    assert f'include_path = "{tmp_path / "out"}"' in said
    assert "arc_challenge = 25\nwinogrande = 5\n" in said
    with pytest.raises(BadInputError, match="name at least one data set"):
        link_copies()
