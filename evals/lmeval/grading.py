"""What lm-eval's metrics say of each document, as answers."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

from evals.errors import SuiteError
from evals.lmeval.loading import GENERATION
from evals.records import Answer, Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.lmeval.asking import Record
    from evals.lmeval.loading import Entry
    from evals.records import Outcome

SHOWN = 4000
"""Characters of a prompt that are kept."""
INVALID = "[invalid]"
"""What lm-eval's filters give where they find nothing."""
_SUMS = {"word_perplexity", "byte_perplexity", "bits_per_byte"}
_OWN = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}

Sample = dict[str, Any]
"""Of lm-eval's log: one document by one filter."""


def answers(
    entry: Entry,
    task: str,
    samples: Sequence[Sample],
    records: Sequence[Sequence[Record]],
) -> list[Answer]:
    """Return one answer a document.

    Args:
        entry: the suite's name that the task belongs to.
        task: its name.
        samples: all of lm-eval's samples of it, each filter's documents in order.
        records: what came of each document's requests, in the same order.
    """
    count = len(records)
    by_filter = [samples[start : start + count] for start in range(0, len(samples), count)]
    return [
        _answer(entry, task, [of_filter[n] for of_filter in by_filter], records[n])
        for n in range(count)
    ]


def _answer(entry: Entry, task: str, samples: list[Sample], records: Sequence[Record]) -> Answer:
    sample = samples[0]
    generates = entry.tasks[task].OUTPUT_TYPE == GENERATION
    said = [r.answer for r in records if not isinstance(r.answer, Failure)]
    failures = [r.answer for r in records if isinstance(r.answer, Failure)]
    answer = Answer(
        item=f"{task}/{sample['doc_id']}-{sample['doc_hash'][:8]}",
        task=entry.name,
        category=entry.category(task),
        prompt_hash=_hash(records),
        route=records[0].route if records else "generative" if generates else "echo",
        metric=entry.metric or _first_metric(sample),
        prompt=str(sample["arguments"][0][0])[-SHOWN:],
        expected=_expected(entry, task, sample),
        prompt_tokens=sum(len(r.prompt.ids) for r in records),
        sent_ns=min((one.sent_ns for one in said), default=0),
        latency_ms=max((one.latency_ms for one in said), default=0.0),
        attempts=max([one.attempts for one in said + failures], default=1),
    )
    if failures:
        answer.outcome = "error"
        answer.error = f"{failures[0].code}: {failures[0].text}"
        return answer
    if generates:
        answer.text = said[0].text
        answer.finish_reason = said[0].finish_reason
        answer.output_tokens = said[0].output_tokens
    else:
        answer.loglikelihoods = [one.loglikelihood for one in said]
        if entry.tasks[task].OUTPUT_TYPE == "multiple_choice":
            _choose(answer, sample)
    _score(answer, samples, entry.metric)
    if generates:
        answer.outcome = _outcome(answer, sample)
        if answer.outcome != "scored":
            answer.score = 0.0
    return answer


def _choose(answer: Answer, sample: Sample) -> None:
    values = answer.loglikelihoods
    answer.choice = values.index(max(values))
    contexts = {arguments[0] for arguments in sample["arguments"]}
    # WinoGrande's choices are contexts, and their continuation the same.
    which = 1 if len(contexts) == 1 else 0
    answer.text = str(sample["arguments"][answer.choice][which])[-SHOWN:]


def _score(answer: Answer, samples: Sequence[Sample], metric: str | None) -> None:
    """Fill in score, weight, metric and the other metrics.

    Raises:
        SuiteError: the metric has no value for a single item.
    """
    values: dict[str, Any] = {}
    for number, sample in enumerate(samples):
        for name in sample["metrics"]:
            values[name if number == 0 else f"{name},{sample['filter']}"] = sample[name]
    for name, value in values.items():
        if name in _SUMS and isinstance(value, tuple):
            answer.scores[_unit(name)] = float(value[1])
        elif isinstance(value, bool | int | float) and math.isfinite(value):
            answer.scores[name] = float(value)
    name = answer.metric
    value = values.get(name)
    if name in _SUMS and isinstance(value, tuple):
        answer.score, answer.weight = -float(value[0]), float(value[1])
    elif name == "perplexity" and isinstance(value, float):
        answer.score = -value
    elif name in answer.scores:
        answer.score = answer.scores.pop(name)
    else:
        told = ", ".join(answer.scores) or "none"
        raise SuiteError(
            f"lmeval.metrics: {answer.task}: {name} has no value for a single item "
            f"{'' if metric else '(it is the first of the task) '}; those that have: {told}"
        )
    if answer.loglikelihoods and answer.choice is not None:
        answer.scores["chance"] = 1.0 / len(answer.loglikelihoods)


def _unit(metric: str) -> str:
    return "words" if metric == "word_perplexity" else "bytes"


def _outcome(answer: Answer, sample: Sample) -> Outcome:
    if not (answer.text or "").strip():
        return "empty"
    found = sample["filtered_resps"][0]
    nothing = found == INVALID
    if answer.finish_reason == "length" and (nothing or (answer.score == 0 and _whole(sample))):
        return "truncated"
    return "unparsed" if nothing else "scored"


def _whole(sample: Sample) -> bool:
    """Whether the whole answer is graded: cut off, it is another one."""
    return bool(sample["filtered_resps"][0] == sample["resps"][0][0])


def _first_metric(sample: Sample) -> str:
    return str(sample["metrics"][0])


def _expected(entry: Entry, task: str, sample: Sample) -> str:
    target = sample["target"]
    if isinstance(target, int) and entry.tasks[task].OUTPUT_TYPE == "multiple_choice":
        choices = entry.tasks[task].doc_to_choice(sample["doc"])
        if 0 <= target < len(choices):
            return str(choices[target])
    return str(target)[:SHOWN]


def _hash(records: Sequence[Record]) -> str:
    digest = hashlib.sha256()
    for record in records:
        digest.update(repr(record.prompt.decides).encode())
    return digest.hexdigest()[:16]
