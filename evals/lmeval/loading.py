"""lm-eval's tasks by name: few-shot examples, subsets, and how much there is to ask."""

from __future__ import annotations

import difflib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from lm_eval.api.task import ConfigurableTask
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.tasks import TaskManager

from evals.errors import NeedError, RouteError, SuiteError
from evals.lmeval.packing import Pack, Prompt, by_owner, route_of
from evals.lmeval.plan import Sized
from evals.lmeval.subset import draw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lm_eval.api.task import Task

    from evals.lmeval.plan import Plan
    from evals.lmeval.tokens import Tokens
    from evals.records import Route

GENERATION = "generate_until"
_LOOKED_AT = 4
"""Documents of each task whose prompts are built to estimate how long all are."""


class Items(list[int]):
    """Numbers of documents, ascending; lm-eval looks up each document of a data set in it."""

    def __init__(self, numbers: Sequence[int]) -> None:
        super().__init__(numbers)
        self._set = frozenset(numbers)

    def __contains__(self, number: object) -> bool:
        return number in self._set


@dataclass
class Entry:
    """One name of the suite: a task, or a group of them."""

    name: str
    tasks: dict[str, Task]
    """By name; only those with items in the subset."""
    items: dict[str, Items]
    metric: str | None
    notes: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Items."""
        return sum(map(len, self.items.values()))

    def category(self, task: str) -> str:
        """Name a task among those of its group; empty where there is but one."""
        if task == self.name:
            return ""
        return task.removeprefix(f"{self.name}_")


def seed_everything() -> None:
    """Do what `lm_eval.simple_evaluate` does first, so that few-shot examples are the same."""
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)  # noqa: NPY002 - tasks draw from it


def load(plan: Plan) -> list[Entry]:
    """Load all tasks of a plan.

    Raises:
        SuiteError: a name or metric is unknown.
        NeedError: a data set is not there.
        RouteError: a task needs what the route has not.
    """
    known = manager(plan)
    seed_everything()
    entries = [load_entry(known, plan, name) for name in plan.tasks]
    twice = _in_two(entries)
    if twice:
        raise SuiteError(f"lmeval.tasks: {twice} is in two of them; leave one out")
    if plan.route == "generative":
        _refuse_scoring(entries)
    return entries


def size(entries: Sequence[Entry], plan: Plan, tokens: Tokens, window: int) -> Sized:
    """Say how much would be asked; lengths are estimated from a few documents of each task."""
    requests = 0.0
    prompt_tokens = 0.0
    for entry in entries:
        for name, task in entry.tasks.items():
            looked = entry.items[name][:_LOOKED_AT]
            task.build_all_requests(samples=Items(looked), rank=0, world_size=1)
            times = len(entry.items[name]) / len(looked)
            lengths = _lengths(task, plan.route, tokens)
            prompt_tokens += times * sum(lengths)
            if task.OUTPUT_TYPE == GENERATION:
                requests += times * len(lengths)
            elif task.OUTPUT_TYPE == "loglikelihood_rolling":
                requests += times * sum(1 + length // (window - 2) for length in lengths)
            else:
                requests += times * len(lengths) / plan.pack
    return Sized(
        items=sum(entry.count for entry in entries),
        requests=max(round(requests), 1),
        prompt_tokens=round(prompt_tokens),
        categories={entry.name: entry.count for entry in entries},
    )


def _lengths(task: Task, route: Route, tokens: Tokens) -> list[int]:
    """Return how many tokens each prompt has that is sent for a task's requests."""
    if task.OUTPUT_TYPE not in {"multiple_choice", "loglikelihood"}:
        texts = ["".join(_texts(instance.args)) for instance in task.instances]
        return [len(ids) for ids in tokens.encode(texts, bos=True)]
    pairs = tokens.encode_pairs([instance.args for instance in task.instances])
    prompts = [
        Prompt(
            owner=(str(instance.task_name), int(instance.doc_id or 0)),
            place=0,
            ids=context + more,
            scored_from=len(context),
        )
        for instance, (context, more) in zip(task.instances, pairs, strict=True)
    ]
    sent: list[int] = []
    for item in by_owner(prompts):
        pack = Pack(route_of(item, route), greedy=False)
        pack.take(item, len(item))
        sent += map(len, pack.sent)
    return sent


def asks_greedy(task: Task) -> bool:
    """Whether a task's metrics may ask if a text would be written greedily.

    lm-eval 0.4.13, `ConfigurableTask.process_results`: of multiple-choice tasks exact_match alone.
    """
    names = [str(one["metric"]) for one in task.get_config("metric_list") or ()]
    own = callable(task.get_config("process_results")) or (
        type(task).process_results is not ConfigurableTask.process_results
    )
    known = bool(names) and "exact_match" not in names
    return task.OUTPUT_TYPE != "multiple_choice" or own or not known


def manager(plan: Plan) -> TaskManager:
    """Find the task files; lm-eval's own 14,000 take seconds to read, and may not be needed.

    Raises:
        SuiteError: a name of the plan is unknown.
    """
    names = list(plan.tasks)
    if plan.include_path is not None:
        own = TaskManager(include_path=plan.include_path, include_defaults=False)
        if all(_is_whole(own.task_index, name) for name in names):
            return own
    found = TaskManager(include_path=plan.include_path)
    unknown = [name for name in names if name not in found.task_index]
    if unknown:
        raise SuiteError("\n".join(_unknown(name, found.all_tasks) for name in unknown))
    return found


def _is_whole(index: Mapping[str, Any], name: str) -> bool:
    """Whether a task, or a group with all of its tasks, is in an index."""
    if name not in index:
        return False
    of_group = (index[name].cfg or {}).get("task")
    return not isinstance(of_group, list) or all(
        isinstance(child, str) and child in index for child in of_group
    )


def _texts(arguments: tuple[Any, ...]) -> list[str]:
    return [text for text in arguments if isinstance(text, str)]


def load_entry(manager: TaskManager, plan: Plan, name: str) -> Entry:
    """Load one name of a plan.

    Raises:
        SuiteError: its task cannot be asked, or has not the metric that is wanted.
        NeedError: its data set is not there.
    """
    try:
        tasks: dict[str, Task] = manager.load([name])["tasks"]
    except Exception as error:
        raise NeedError(
            f"lmeval.tasks: {name} cannot be loaded: {type(error).__name__}: {error}\n"
            "A data set that is not in the cache needs a network; files of your own are made known "
            "to lm-eval by `harness eval link`, whose folder is the suite's lmeval.include_path"
        ) from error
    for task in tasks.values():
        if task.OUTPUT_TYPE not in {
            *(GENERATION, "multiple_choice", "loglikelihood", "loglikelihood_rolling"),
        }:
            raise SuiteError(f"lmeval.tasks: {name}: {task.OUTPUT_TYPE} cannot be asked over HTTP")
    drawn = draw(
        {task_name: len(task.eval_docs) for task_name, task in tasks.items()},
        plan.limit,
        plan.seed,
    )
    entry = Entry(
        name=name,
        tasks={task_name: tasks[task_name] for task_name in drawn},
        items={task_name: Items(numbers) for task_name, numbers in drawn.items()},
        metric=plan.metrics.get(name),
    )
    _set_few_shot(entry, plan.tasks[name])
    _check_metric(entry)
    return entry


def _set_few_shot(entry: Entry, wanted: int | None) -> None:
    """Set the number of examples by lm-eval's rule, and note where it is not what was asked."""
    kept: dict[int, list[str]] = {}
    for name, task in entry.tasks.items():
        own = task.get_config("num_fewshot")
        if wanted is None or own == 0:
            if own is None:
                task.set_config(key="num_fewshot", value=0)
            if wanted:
                kept.setdefault(0, []).append(name)
        else:
            task.set_config(key="num_fewshot", value=wanted)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    for names in kept.values():
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")  # noqa: PLR2004
        entry.notes.append(
            f"{wanted} few-shot examples were asked for, but the task file of {shown} fixes 0: "
            "0 are given"
        )


def _check_metric(entry: Entry) -> None:
    if entry.metric is None:
        return
    for name, task in entry.tasks.items():
        own = [str(one["metric"]) for one in task.get_config("metric_list") or ()]
        if own and entry.metric not in own and not callable(task.get_config("process_results")):
            raise SuiteError(
                f"lmeval.metrics: {name} has no metric {entry.metric}; it has {', '.join(own)}"
            )


def _in_two(entries: Sequence[Entry]) -> str | None:
    seen: set[str] = set()
    for entry in entries:
        for name in entry.tasks:
            if name in seen:
                return name
            seen.add(name)
    return None


def _refuse_scoring(entries: Sequence[Entry]) -> None:
    scoring = [
        name
        for entry in entries
        for name, task in entry.tasks.items()
        if task.OUTPUT_TYPE != GENERATION
    ]
    if scoring:
        raise RouteError(
            f"{', '.join(scoring[:5])} need{'s' if len(scoring) == 1 else ''} log-probabilities of "
            "the prompt, which this server was not proved to give; tasks that are graded by what "
            "is written (such as gsm8k) can be asked"
        )


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return f"lmeval.tasks: lm-eval knows no task {name}{meant}"
