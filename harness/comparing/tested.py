"""The user's limits on answers, tested as a gate tests its rules: by the very same function.

What is tested on answers lies in the runs' folders; a run without them has no tests, and its
limits are held to the intervals of its numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.comparing.comparison import LimitTest
from harness.comparing.held import speaks_of
from harness.gating.answers import tries
from harness.gating.trial import UnknownError, finding, holm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evals.records import Answer
    from harness.comparing.comparison import QualityRow
    from harness.evidence.evidence import Evidence
    from harness.evidence.limits import Limit
    from harness.gating.trial import Trial
    from harness.rundir import RunFolder


def with_tests(
    rows: Sequence[QualityRow], evidence: Evidence, baseline: str, limits: Sequence[Limit]
) -> list[QualityRow]:
    """Return the rows with what tests of the limits say of each.

    Holm's correction is for all tests of a build here, as in a gate that has these rules.
    """
    if not any(limit.kind == "quality" for limit in limits):
        return list(rows)
    folders = {
        (suite.suite, one.server.build): run.folder
        for run in evidence.quality
        for one in run.evaluations
        for suite in one.suites
    }
    found: dict[tuple[str, str], dict[str, list[LimitTest]]] = {}
    for build in dict.fromkeys(row.build for row in rows):
        tried = [
            (row, limit, trial)
            for row in rows
            if row.build == build and (row.suite, build) in folders
            for limit, trial in _trials(row, folders[row.suite, build], baseline, limits)
        ]
        known = [trial.p_fail for _, _, trial in tried if trial.p_fail is not None]
        adjusted = iter(holm(known, len(known)))
        for row, limit, trial in tried:
            p_fail = None if trial.p_fail is None else next(adjusted)
            one = LimitTest(
                part=trial.name,
                verdict=finding(trial, p_fail),
                value=trial.value,
                ci95=trial.ci95,
                p_pass=trial.p_pass,
                p_fail=p_fail,
                settle=trial.settle,
            )
            found.setdefault((row.suite, build), {}).setdefault(limit.text, []).append(one)
    return [
        msgspec.structs.replace(row, tests=found.get((row.suite, row.build), {})) for row in rows
    ]


def _trials(
    row: QualityRow, folder: RunFolder, baseline: str, limits: Sequence[Limit]
) -> Iterator[tuple[Limit, Trial]]:
    """Yield each limit on a build's answers to a suite with its tests; none where it has none."""
    wanted = [limit for limit in limits if speaks_of(limit, row)]
    ours = _answers(folder, row.suite, row.build) if wanted else []
    theirs = _answers(folder, row.suite, baseline) if wanted else []
    for limit in wanted:
        if not ours or (limit.needs_baseline and (row.build == baseline or not theirs)):
            continue
        try:
            trials = tries(limit, ours, theirs)
        except UnknownError:  # what is unknown is told of the numbers
            continue
        yield from ((limit, trial) for trial in trials)


def _answers(folder: RunFolder, suite: str, build: str) -> list[Answer]:
    from harness.quality.evaluate import asked  # with all that grades, which most limits need not

    found = asked(folder, suite, build)
    return [] if found is None else found.answers
