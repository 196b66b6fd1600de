"""A load run as JUnit XML: for each cell whether it may be believed, and each limit of the SLO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.measuring.measurement import Stat
from harness.measuring.slo import WHOLE_CELL, observed, parse_slo
from harness.reports.figures import UNSTABLE, figure
from harness.reports.testcases import Case, as_junit, verdict_case
from harness.reports.words import has_repeats, in_order, label, missing, table, validity, warnings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evals.compare.records import Verdict
    from harness.measuring.measurement import CellMeasurement, Measurements
    from harness.measuring.slo import Limit
    from harness.reports import Report
    from harness.rundir import RunFolder


class Junit:
    """One suite a cell, one test case a limit; an invalid cell is an error, not a failure."""

    suffix = ".xml"

    def render(self, run: RunFolder) -> str:
        """Return the file's text."""
        measurements, manifest = run.read_measurements(), run.read_manifest()
        info = measurements.run
        asked = table(manifest, "request").get("slo")
        limits = parse_slo(asked).limits if isinstance(asked, str) else ()
        repeats = has_repeats(measurements)
        cases = [_whole(measurements, missing(measurements, manifest))]
        for cell in in_order(measurements):
            cases += _of_cell(cell, label(cell, repeats=repeats), limits)
        facts = {"command": info.command, "seed": str(info.seed), "harness": info.harness_version}
        return as_junit(info.id, info.started, cases, facts)


def _whole(measurements: Measurements, absent: list[str]) -> Case:
    reasons = [one.text for one in warnings(measurements) if one.invalidates]
    if absent:
        reasons.append(f"Planned, but not measured: {', '.join(absent)}.")
    bad = not measurements.valid or bool(absent)
    text = "\n".join([validity(measurements), *reasons])
    return Case(group="run", name="valid", outcome="error" if bad else "passed", text=text)


def _of_cell(cell: CellMeasurement, name: str, limits: tuple[Limit, ...]) -> Iterator[Case]:
    reasons = [caveat.text for caveat in cell.client.caveats if caveat.invalidates]
    outcome, text = ("passed", "") if cell.client.valid else ("error", "\n".join(reasons))
    yield Case(group=name, name="valid", outcome=outcome, text=text, seconds=cell.window_s)  # type: ignore[arg-type]
    for limit in limits:
        verdict, finding = hold(limit, cell)
        yield verdict_case(name, limit.text, verdict, finding)


def hold(limit: Limit, cell: CellMeasurement) -> tuple[Verdict, str]:
    """Hold one limit to one cell: the verdict and its reason.

    With an interval: PASS where all of it is within the limit, FAIL where all of it is beyond,
    else INCONCLUSIVE. Without one (percentiles but p50 and p95, and values of the whole cell) the
    value alone decides, and the text says so. An invalid cell is INCONCLUSIVE.
    """
    value = observed(limit, cell)
    if not cell.client.valid:
        return "INCONCLUSIVE", "the cell's numbers may not be believed (see its case `valid`)"
    if value is None:
        return "INCONCLUSIVE", "there are too few values for it"
    stat = None if limit.metric in WHOLE_CELL else getattr(cell.metrics, limit.metric)
    ends = stat.ci95.get(limit.statistic or "p95") if isinstance(stat, Stat) else None
    if ends is not None:
        within = [limit.holds(end) for end in ends]
        text = f"{figure(value)}, 95 % interval {figure(ends[0])}–{figure(ends[1])}"
        if any(within) and not all(within):
            return "INCONCLUSIVE", f"{text}, holds the limit: measure longer"
        return ("PASS" if all(within) else "FAIL"), text
    text = f"{figure(value)}; it has no interval, so one run's value decides"
    if isinstance(stat, Stat) and stat.unstable:
        text = f"{UNSTABLE}: the queue grew throughout the window"
    return ("PASS" if limit.holds(value) else "FAIL"), text


REPORT: Report = Junit()
