"""What lm-eval's tasks ask, as texts: to be held against calibration texts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from evals.errors import NeedError
from evals.lmeval import loading
from evals.lmeval.plan import Texts, Unread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lm_eval.api.task import Task

    from evals.lmeval.plan import Event, Plan


def read(plan: Plan) -> Iterator[Event]:
    """Yield each task's items, or why they cannot be read, one name of the plan after the other.

    Raises:
        SuiteError: a name is unknown.
    """
    manager = loading.manager(plan)
    for name in plan.tasks:
        try:
            entry = loading.load_entry(manager, plan, name)
        except NeedError as error:
            text = str(error).partition("\n")[0].removeprefix("lmeval.tasks: ")
            yield Unread(task=name, text=text)
            continue
        for task_name, task in entry.tasks.items():
            yield Texts(task=task_name, items=[_forms(task, doc) for doc in task.eval_docs])


def _forms(task: Task, doc: Any) -> list[str]:  # noqa: ANN401 - a data set's own
    """Return an item as it is asked, and its parts as the data set has them.

    A prompt's frame ("Question: … Answer:") stands in no calibration text; what it was made of may.
    A part that is asked nowhere (a source, an explanation) is none.
    """
    asked = list(_asked(task, doc))
    together = "\n".join(asked)
    parts = [part for part in _strings(doc) if part.strip() in together]
    with suppress(Exception):  # a template of the task file's own, which lm-eval itself may not use
        if getattr(task.config, "should_decontaminate", False):
            parts.append(str(task.doc_to_decontamination_query(doc)))
    return list(dict.fromkeys(text for text in (*asked, *parts) if text.strip()))


def _asked(task: Task, doc: Any) -> Iterator[str]:  # noqa: ANN401
    """Yield its prompt; where the prompt is one of several beginnings (WinoGrande), all of them."""
    text, target = task.doc_to_text(doc), task.doc_to_target(doc)
    if isinstance(text, str) and text.strip():
        yield text
        return
    end = target if isinstance(target, str) else ""
    beginnings = task.doc_to_choice(doc) if isinstance(text, int) else [""]
    yield from (f"{beginning} {end}" for beginning in beginnings)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
