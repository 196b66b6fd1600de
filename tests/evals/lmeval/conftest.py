"""Small copies of data sets in the layouts that `harness eval link` knows, and the child."""

from __future__ import annotations

import csv
import json
import random
import subprocess
from pathlib import Path
from typing import Any, Protocol

import pytest

from evals.endpoint import Endpoint
from evals.kinds import Job
from evals.lmeval.link import link
from evals.suite import Suite
from launchers.environments import installed

TOKENIZER = Path(__file__).parents[3] / "launchers" / "models" / "demo-fp16"
WORDS = "transfer amount limit card account fraud review city hours over under yes no"


def python() -> Path:
    found = installed("lm-eval")
    if found is None:
        pytest.skip("the managed environment is missing: run `harness engines install lm-eval`")
    return found


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def lmeval_python() -> Path:
    return python()


@pytest.fixture(scope="session")
def lmeval_tasks(lmeval_python: Path) -> Path:
    """Folder of lm-eval's own task files."""
    lib = lmeval_python.parents[1] / "lib"
    (found,) = lib.glob("python3.*/site-packages/lm_eval/tasks")
    return found


def dice(seed: object) -> random.Random:
    return random.Random(str(seed))  # noqa: S311 - no secret


def sentence(chance: random.Random, words: int = 8) -> str:
    return " ".join(chance.choices(WORDS.split(), k=words))


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def write_mmlu_csv(folder: Path, subjects: tuple[str, ...], count: int = 12) -> None:
    """The layout of the original tar: data/{test,dev}/SUBJECT_{test,dev}.csv, no header."""
    for subject in subjects:
        for split, number in (("dev", 5), ("test", count)):
            chance = dice(f"{subject}{split}")
            path = folder / "data" / split / f"{subject}_{split}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                for n in range(number):
                    choices = [sentence(chance, 2) for _ in range(4)]
                    writer.writerow([f"{n}, {sentence(chance)}?", *choices, chance.choice("ABCD")])


def write_hellaswag(folder: Path, count: int = 12) -> None:
    for split in ("train", "val"):
        chance = dice(split)
        records = [
            {
                "ind": n,
                "activity_label": "Paying",
                "ctx_a": sentence(chance),
                "ctx_b": "then",
                "ctx": "",
                "split": split,
                "label": n % 4,
                "endings": [sentence(chance, 1 + n % 5) for _ in range(4)],
            }
            for n in range(count)
        ]
        lines(folder / f"hellaswag_{split}.jsonl", records)


def write_arc(folder: Path, name: str = "ARC-Challenge", count: int = 12) -> None:
    """AI2's own layout: question and choices nested."""
    for split in ("Train", "Dev", "Test"):
        chance = dice(split)
        records = [
            {
                "id": f"{split}{n}",
                "question": {
                    "stem": sentence(chance),
                    "choices": [{"text": sentence(chance, 3), "label": one} for one in "ABCD"],
                },
                "answerKey": "ABCD"[n % 4],
            }
            for n in range(count)
        ]
        lines(folder / name / f"{name}-{split}.jsonl", records)


def write_winogrande(folder: Path, count: int = 12) -> None:
    for name in ("train_xl", "dev"):
        chance = dice(name)
        records = [
            {
                "qID": str(n),
                "sentence": f"{sentence(chance)} because _ was {sentence(chance, 2)}.",
                "option1": "amount",
                "option2": "limit",
                "answer": str(1 + n % 2),
            }
            for n in range(count)
        ]
        lines(folder / f"{name}.jsonl", records)


def write_gsm8k(folder: Path, count: int = 8) -> None:
    for split in ("train", "test"):
        chance = dice(split)
        records = [
            {"question": sentence(chance), "answer": f"{sentence(chance, 3)}\n#### {n}"}
            for n in range(count)
        ]
        lines(folder / f"{split}.jsonl", records)


def write_wikitext(folder: Path) -> None:
    chance = dice("wikitext")
    pages = [
        f" = {sentence(chance, 2)} = \n\n {sentence(chance, 60)} . \n\n"
        f" = = {sentence(chance, 2)} = = \n\n {sentence(chance, 200 * n)} , {sentence(chance)} \n"
        for n in range(1, 4)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wiki.test.raw").write_text("\n".join(pages))


SUBJECTS = ("anatomy", "astronomy", "philosophy")


@pytest.fixture(scope="session")
def linked(tmp_path_factory: pytest.TempPathFactory, lmeval_tasks: Path) -> Path:
    """Folder of task files for small copies of all data sets."""
    folder = tmp_path_factory.mktemp("copies")
    write_mmlu_csv(folder / "mmlu", SUBJECTS)
    write_hellaswag(folder / "hellaswag")
    write_arc(folder / "arc")
    write_arc(folder / "arc", "ARC-Easy", 24)
    write_winogrande(folder / "winogrande")
    write_gsm8k(folder / "gsm8k")
    write_wikitext(folder / "wikitext")
    (folder / "c4").mkdir()
    lines(folder / "c4" / "validation.jsonl", [{"text": sentence(dice(4), 50)}] * 2)
    names = ("mmlu", "hellaswag", "winogrande", "gsm8k", "wikitext", "c4")
    sources = {name: folder / name for name in names}
    sources |= {"arc_challenge": folder / "arc", "arc_easy": folder / "arc"}
    return link(sources, folder / "linked", lmeval_tasks).folder


class MakeJob(Protocol):
    def __call__(self, tasks: dict[str, int], **settings: object) -> Job: ...


@pytest.fixture
def make_job(tmp_path: Path, linked: Path, lmeval_python: Path) -> MakeJob:
    def make(tasks: dict[str, int], **settings: object) -> Job:
        of_job = {
            key: settings.pop(key)
            for key in ("folder", "limit", "seed", "route")
            if key in settings
        }
        table = {"tasks": tasks, "include_path": str(linked), **settings}
        suite = Suite.model_validate({"name": "small", "lmeval": table})
        defaults = {"folder": tmp_path / "job", "route": "echo"}
        return Job(suite=suite, base_dir=tmp_path, python=lmeval_python, **defaults | of_job)

    return make


def endpoint(url: str, **more: object) -> Endpoint:
    settings: dict[str, Any] = {
        "base_url": url,
        "model": "mock",
        "engine": "mock",
        "identity": "one build",
        "tokenizer": str(TOKENIZER),
        "max_model_len": 2048,
        "concurrency": 8,
    }
    return Endpoint(**settings | more)


STOCK = """
import json, logging, sys
import lm_eval
from lm_eval.tasks import TaskManager
plan = json.load(sys.stdin)
arguments = plan["model_args"]
found = {}
manager = TaskManager(include_path=plan["include_path"], include_defaults=False)
for name, shots in plan["tasks"].items():
    one = lm_eval.simple_evaluate(
        model="local-completions", model_args=arguments, tasks=[name], num_fewshot=shots,
        task_manager=manager, bootstrap_iters=0,
        batch_size=plan.get("batch_size", 1), samples=plan.get("samples"))
    found |= one["results"]
    for task, samples in one["samples"].items():
        found[task]["lls"] = [sample["resps"] for sample in samples]
json.dump(found, sys.stdout)
"""


def stock(
    python: Path, url: str, model: str, tasks: dict[str, int], include: Path, **more: object
) -> dict[str, Any]:
    """Let lm-eval's own `local-completions` evaluate, and return its results by task."""
    arguments = {
        "model": model,
        "base_url": f"{url}/completions",
        "tokenizer": str(TOKENIZER),
        "tokenizer_backend": "huggingface",
        "tokenized_requests": True,
        "num_concurrent": more.pop("num_concurrent", 8),
        "max_length": 2048,
        "max_retries": 1,
    }
    plan = {"model_args": arguments, "tasks": tasks, "include_path": str(include), **more}
    done = subprocess.run(
        [str(python), "-P", "-c", STOCK],
        input=json.dumps(plan),
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "HOME": str(Path.home())},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found
