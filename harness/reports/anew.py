"""The numbers of a run computed anew, and written where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import BadInputError
from harness.evidence.folders import CAPACITY, COMPARISON, EVAL, GATE, kind_of, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.rundir import RunFolder


def recompute(run: RunFolder) -> Iterator[str]:
    """Compute the numbers of a run, or of its parts and then its own, from samples and answers.

    Yields a sentence for each file that is written since its numbers differ.

    Raises:
        BadInputError: a manifest is missing or broken, or a folder cannot be written.
    """
    for part in parts(run):
        yield from (_evaluation if kind_of(part) == EVAL else _measurements)(part)
    if kind_of(run) == COMPARISON:
        yield from _comparison(run)
    elif kind_of(run) == GATE:
        yield from _gate(run)
    elif kind_of(run) == CAPACITY:
        yield from _capacity(run)


def _measurements(run: RunFolder) -> Iterator[str]:
    from harness.measuring.remeasure import remeasure
    from harness.rundir import MEASUREMENTS_FILE

    numbers = remeasure(run)
    if _differs(numbers, run.read_measurements):
        run.write_measurements(numbers)
        yield f"{run.path}: {MEASUREMENTS_FILE} computed anew from the samples"


def _evaluation(run: RunFolder) -> Iterator[str]:
    from harness.quality.evaluate import evaluate
    from harness.quality.record import EVALUATION_FILE, read_evaluation, write_evaluation

    numbers = evaluate(run)
    if _differs(numbers, lambda: read_evaluation(run)):
        write_evaluation(run, numbers)
        yield f"{run.path}: {EVALUATION_FILE} computed anew from the answers"


def _comparison(run: RunFolder) -> Iterator[str]:
    from harness.comparing.manifest import runs_gone, weigh
    from harness.comparing.record import read_comparison, write_comparison
    from harness.evidence.folders import COMPARISON_FILE

    if (run.path / COMPARISON_FILE).is_file() and (gone := runs_gone(run)):
        yield f"{COMPARISON_FILE} stays as it was: {', '.join(gone)} not there any more"
        return
    numbers = weigh(run)
    if _differs(numbers, lambda: read_comparison(run)):
        write_comparison(run, numbers)
        yield f"{run.path}: {COMPARISON_FILE} computed anew from its parts"


def _gate(run: RunFolder) -> Iterator[str]:
    from harness.gating.judge import judge
    from harness.gating.record import GATE_FILE, read_gate, write_gate

    result = judge(run)
    if _differs(result, lambda: read_gate(run)):
        write_gate(run, result)
        yield f"{run.path}: {GATE_FILE} computed anew from its parts"


def _capacity(run: RunFolder) -> Iterator[str]:
    from harness.capacity.result import CAPACITY_FILE
    from harness.capacity.weigh import read_capacity, weigh

    found = weigh(run)
    if _differs(found, lambda: read_capacity(run)):
        run.write_json(CAPACITY_FILE, found)
        yield f"{run.path}: {CAPACITY_FILE} computed anew from its probes"


def _differs(numbers: object, there: Callable[[], object]) -> bool:
    """Whether a file says something else; also if it is missing, or of an older harness."""
    try:
        return numbers != there()
    except BadInputError:
        return True
