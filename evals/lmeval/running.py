"""The child's work: load, ask, grade, write."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lm_eval
import msgspec
from lm_eval import evaluator
from lm_eval.api.metrics import mean

from evals.lmeval import loading, texts
from evals.lmeval.asking import Asker
from evals.lmeval.cache import Cache
from evals.lmeval.grading import answers
from evals.lmeval.model import StrictCompletions
from evals.lmeval.plan import REQUESTS_FILE, RESULTS_FILE, Asked, Plan
from evals.lmeval.results import Results, TaskResult
from evals.lmeval.tokens import Tokens
from evals.records import Failure
from evals.store import AnswerStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evals.lmeval.asking import Record
    from evals.lmeval.loading import Entry
    from evals.lmeval.plan import Event

WINDOW = 2048
"""lm-eval's own `max_length`."""


def run(plan: Plan, tell: Callable[[Event], None]) -> None:
    """Do what the plan says.

    Raises:
        EvalError: something that is needed is not there, or the endpoint is gone.
    """
    if plan.do == "read":
        for event in texts.read(plan):
            tell(event)
        return
    tokens = Tokens(plan.endpoint, plan.bos)
    window = plan.window or min(plan.endpoint.max_model_len or WINDOW, WINDOW)
    entries = loading.load(plan)
    if plan.do == "size":
        tell(loading.size(entries, plan, tokens, window))
        return
    folder = Path(plan.folder)
    total = sum(entry.count for entry in entries)
    done = 0

    def heard(more: int) -> None:
        nonlocal done
        done += more
        tell(Asked(done=done, total=total))

    with (
        AnswerStore(folder, _settled(plan, tokens, window)) as store,
        Cache(folder / REQUESTS_FILE, plan.endpoint) as cache,
    ):
        results = Results(
            lm_eval=lm_eval.__version__,
            bos="before each prompt" if tokens.adds_bos else "not added",
            window=window,
            notes=[note for entry in entries for note in entry.notes],
        )
        for entry in entries:
            asker = Asker(plan.endpoint, plan.route, cache, plan.pack, heard)
            results.tasks |= _evaluate(entry, asker, tokens, window, store)
            _write(folder / RESULTS_FILE, results)


def _evaluate(
    entry: Entry, asker: Asker, tokens: Tokens, window: int, store: AnswerStore
) -> dict[str, TaskResult]:
    """Let lm-eval evaluate one entry, keep its items' answers, and return its own results."""
    loading.seed_everything()
    bare = {name for name, task in entry.tasks.items() if not loading.asks_greedy(task)}
    found = evaluator.evaluate(
        lm=StrictCompletions(asker, tokens, window, bare),
        task_dict={"tasks": entry.tasks, "groups": {}},
        samples=entry.items,
        bootstrap_iters=0,
        log_samples=True,
    )
    results: dict[str, TaskResult] = {}
    for name, task in entry.tasks.items():
        records = [asker.records.get((name, n), []) for n in range(len(entry.items[name]))]
        samples = found["samples"][name]
        graded = answers(entry, name, samples, records)
        store.add(answer for answer in graded if (answer.task, answer.item) not in store.done)
        results[name] = TaskResult(
            entry=entry.name,
            few_shot=int(task.get_config("num_fewshot") or 0),
            version=found["versions"].get(name),
            items=len(records),
            errors=sum(map(_failed, records)),
            metrics=_metrics(task, samples, records, found["results"][name]),
        )
    return results


def _metrics(
    task: Any,  # noqa: ANN401 - lm-eval's
    samples: Sequence[dict[str, Any]],
    records: Sequence[Sequence[Record]],
    own: dict[str, Any],
) -> dict[str, float]:
    """Return lm-eval's aggregated metrics; over the items without an error where there are any."""
    if not any(map(_failed, records)):
        values = {key: value for key, value in own.items() if "," in key and "_stderr" not in key}
        return {key: float(v) for key, v in values.items() if isinstance(v, int | float)}
    kept: dict[str, list[Any]] = {}
    for number, sample in enumerate(samples):
        if not _failed(records[number % len(records)]):
            for name in sample["metrics"]:
                kept.setdefault(f"{name},{sample['filter']}", []).append(sample[name])
    how = task.aggregation()
    found = {key: how.get(key.partition(",")[0], mean)(of) for key, of in kept.items()}
    return {key: float(value) for key, value in found.items() if math.isfinite(value)}


def _failed(records: Sequence[Record]) -> bool:
    return any(isinstance(record.answer, Failure) for record in records)


def _settled(plan: Plan, tokens: Tokens, window: int) -> dict[str, object]:
    """All that decides the answers."""
    return {
        "kind": "lmeval",
        "lm_eval": lm_eval.__version__,
        "tasks": plan.tasks,
        "metrics": plan.metrics,
        "include_path": plan.include_path,
        "limit": plan.limit,
        "seed": plan.seed,
        "route": plan.route,
        "bos": tokens.adds_bos,
        "window": window,
        "model": plan.endpoint.model,
        "identity": plan.endpoint.identity,
        "tokenizer": hashlib.sha256(tokens.file.read_bytes()).hexdigest()[:16],
    }


def _write(path: Path, results: Results) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    temporary.replace(path)
