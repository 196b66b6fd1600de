"""An evaluation as JUnit XML: a suite each build, a case each verdict and each category."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.quality.evaluation import each
from harness.quality.record import read_evaluation
from harness.reports.evaluation import words
from harness.reports.testcases import Case, as_junit, verdict_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.measurement import Caveat
    from harness.quality.evaluation import Against, Evaluation, SuiteResult
    from harness.reports import Report
    from harness.rundir import RunFolder


class Junit:
    """A build that lost too much fails; what may not be believed is an error."""

    suffix = ".xml"

    def render(self, run: RunFolder) -> str:
        """Return the file's text."""
        result = read_evaluation(run)
        info = result.run
        builds = each(result)
        cases = [case for one in builds for case in _of_build(one)]
        whole = [caveat for caveat in result.caveats if len(builds) > 1 and caveat.invalidates]
        if whole:
            cases.insert(0, _valid("run", whole, valid=False))
        facts = {"command": info.command, "seed": str(info.seed), "harness": info.harness_version}
        return as_junit(info.id, info.started, cases, facts)


def _valid(group: str, caveats: list[Caveat], *, valid: bool) -> Case:
    text = "\n".join(caveat.text for caveat in caveats if caveat.invalidates)
    return Case(group=group, name="valid", outcome="passed" if valid else "error", text=text)


def _of_build(one: Evaluation) -> Iterator[Case]:
    build = one.server.build
    every = [*one.caveats, *(caveat for suite in one.suites for caveat in suite.caveats)]
    yield _valid(build, every, valid=one.valid)
    for suite in one.suites:
        if suite.baseline is None:
            text = f"{words.metric(suite)} {words.score(suite, suite.score)}, without a baseline"
            yield Case(group=build, name=suite.suite, outcome="passed", text=text)
        else:
            yield from _against(build, suite, suite.baseline, valid=one.valid)


def _against(build: str, suite: SuiteResult, against: Against, *, valid: bool) -> Iterator[Case]:
    """The suite's verdict, then a case each category; of an invalid evaluation none can fail."""
    change, interval = words.change(suite, against)
    text = f"{change} against {against.build}" + (
        f" (95 % interval {interval})" if interval else ""
    )
    verdict = against.verdict
    if verdict is None or not valid:
        reason = "it has no verdict" if valid else "the evaluation may not be believed"
        yield verdict_case(build, suite.suite, "INCONCLUSIVE", f"{text}; {reason}")
    else:
        told = f"{text}; {words.verdict(suite, against)}"
        yield verdict_case(build, suite.suite, verdict, told)
    for name, part in against.categories.items():
        told = f"{words.difference(suite, part.difference)} against {against.build}"
        lost = name in against.regressed
        yield verdict_case(
            build,
            f"{suite.suite}: {name}",
            "PASS" if not lost else "FAIL" if valid else "INCONCLUSIVE",
            f"{told}: more than noise" if lost else told,
        )


REPORT: Report = Junit()
