"""The numbers of a run computed anew, and written where they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import BadInputError
from harness.evidence.folders import EVAL, kind_of, parts
from harness.measuring.remeasure import remeasure
from harness.quality.evaluate import evaluate
from harness.quality.record import EVALUATION_FILE, read_evaluation, write_evaluation
from harness.rundir import MEASUREMENTS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.measurement import Measurements
    from harness.rundir import RunFolder


def recompute(run: RunFolder) -> Iterator[str]:
    """Compute the numbers of a run, or of each of its parts, from its samples or answers.

    Yields a sentence for each file that is written since its numbers differ.

    Raises:
        BadInputError: a manifest is missing or broken, or a folder cannot be written.
    """
    for part in parts(run):
        if kind_of(part) == EVAL:
            yield from _evaluation(part)
        else:
            yield from _measurements(part)


def numbers_of(run: RunFolder) -> Measurements:
    """Read a load run's numbers; compute them where an older harness had other fields.

    Raises:
        BadInputError: a file is missing, broken or of a newer harness.
    """
    try:
        return run.read_measurements()
    except BadInputError:
        return remeasure(run)


def _measurements(run: RunFolder) -> Iterator[str]:
    numbers = remeasure(run)
    try:
        same = numbers == run.read_measurements()
    except BadInputError:  # missing, or of an older harness whose fields were others
        same = False
    if not same:
        run.write_measurements(numbers)
        yield f"{run.path}: {MEASUREMENTS_FILE} computed anew from the samples"


def _evaluation(run: RunFolder) -> Iterator[str]:
    numbers = evaluate(run)
    there = (run.path / EVALUATION_FILE).is_file()
    try:
        same = there and numbers == read_evaluation(run)
    except BadInputError:
        same = False
    if not same:
        write_evaluation(run, numbers)
        yield f"{run.path}: {EVALUATION_FILE} computed anew from the answers"
