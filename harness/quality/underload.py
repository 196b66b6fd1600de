"""What a load did to graded answers: idle, idle again and under load, on the same items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evals.compare.noise import under_load
from evals.errors import PairError
from harness.measuring.measurement import Caveat
from harness.quality import scores
from harness.quality.evaluation import Latency, LoadEffect
from harness.rundir import CELLS
from loadprofiles.records import read_drive_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evals.compare import Comparison
    from evals.compare.noise import Cause, UnderLoad
    from evals.records import Answer
    from harness.measuring.measurement import CellMeasurement
    from harness.quality.evaluate import Asked
    from harness.quality.record import EvalManifest, SuiteFacts
    from harness.rundir import RunFolder

_NS_PER_MS = 1e6
_BESIDE = 0.9
"""Share of the items that must have been asked while the load was measured."""


def load_effect(
    run: RunFolder,
    manifest: EvalManifest,
    facts: SuiteFacts,
    *,
    idle: Asked,
    again: Asked | None,
    load: Asked | None,
    baseline: tuple[Asked, Asked | None] | None,
    cells: Mapping[str, CellMeasurement],
) -> tuple[LoadEffect | None, list[Caveat]]:
    """Compare the passes of one suite; None where it was not asked under load."""
    if load is None or not load.answers:
        text = f"{facts.name} was not asked under load."
        return None, [Caveat("no_load", text, invalidates=True)]
    profile, _, level = str(manifest.request.get("under_load")).rpartition("@")
    used = [cells[cell_id] for cell_id in load.record.cells if cell_id in cells]
    beside = _beside(run, load)
    caveats = []
    theirs, theirs_again = baseline or (None, None)
    try:
        causes = under_load(
            idle=idle.answers,
            load=load.answers,
            idle_again=None if again is None else again.answers,
            baseline=None if theirs is None else theirs.answers,
            baseline_again=None if theirs_again is None else theirs_again.answers,
            margin=manifest.margin / 100,
            perplexity_margin=manifest.perplexity_margin / 100,
            build="" if manifest.baseline is None else manifest.baseline.build,
        )
    except PairError as error:
        text = f"{facts.name}: idle and under load cannot be compared: {error}"
        return None, [Caveat("no_pairs", text, invalidates=True)]
    errors = sum(answer.outcome == "error" for answer in load.answers)
    if load.record.ended != "done" or errors > manifest.max_fail_ratio * len(load.answers):
        causes.by_load.finding = "unknown"  # who has answered may be who was not hit
    if beside < _BESIDE:
        caveats.append(
            Caveat(
                "graded_without_load",
                f"{facts.name}: only {beside:.0%} of the items were asked while the load was being "
                "measured; the others saw less load than was asked for.",
            )
        )
    valid = bool(used) and all(cell.client.valid for cell in used)
    if not valid:
        caveats.append(
            Caveat(
                "load_invalid",
                f"{facts.name}: the load cell's own figures are not valid; its caveats say why. "
                "The answers are graded all the same, under the load that there was.",
            )
        )
    effect = LoadEffect(
        profile=used[0].profile if used else profile,
        level=float(level),
        cells=load.record.cells,
        beside=beside,
        score=scores.summary(load, facts).score,
        causes=causes,
        statement=statement(causes),
        truncated_idle=sum(answer.finish_reason == "length" for answer in idle.answers),
        truncated=sum(answer.finish_reason == "length" for answer in load.answers),
        output_tokens_idle=_mean_tokens(idle.answers),
        output_tokens=_mean_tokens(load.answers),
        latency_idle_ms=_latency(idle.answers),
        latency_ms=_latency(load.answers),
        valid=valid,
    )
    return effect, caveats


def statement(causes: UnderLoad) -> str:
    """Say in words what was lost to what."""
    said = [_said(causes.by_load, "the load")]
    if causes.by_build is not None:
        build = causes.by_build.comparison.build
        said.append(_said(causes.by_build, f"the build (against {build}, both idle)"))
    return " ".join(said)


def _said(cause: Cause, by: str) -> str:
    lost = _loss(cause.comparison)
    floor = cause.floor
    noise = (
        ""
        if floor is None
        else (
            f"; {floor.rate:.1%} of the answers changed, and {floor.floor:.1%} do where nothing is "
            "changed"
        )
    )
    return {
        "lost": f"Lost to {by}: {lost}{noise}.",
        "changed": f"No loss to {by} is shown ({lost}), but more answers change than the noise "
        f"floor explains{noise}.",
        "none": f"Nothing is lost to {by}: {lost}{noise}.",
        "unknown": f"Whether anything is lost to {by} is open: {lost}{noise}; more items would "
        "tell.",
    }[cause.finding]


def _loss(found: Comparison) -> str:
    """A loss with its interval: points, or per cent by which a perplexity rose."""
    if found.perplexity is not None:
        value, unit = found.perplexity.ratio - 1, "% of perplexity"
        ci95 = found.perplexity.ci95
        ends = None if ci95 is None else (ci95[0] - 1, ci95[1] - 1)
    else:
        value, unit = 0.0 - (found.difference or 0.0), "points"
        ci95 = found.difference_ci95
        ends = None if ci95 is None else (-ci95[1], -ci95[0])
    spread = "" if ends is None else f" (95 % interval {100 * ends[0]:.2f} to {100 * ends[1]:.2f})"
    return f"{100 * value + 0.0:.2f} {unit}{spread}"


def _beside(run: RunFolder, load: Asked) -> float:
    """Return the share of the items whose request lay within a measured window of the load."""
    windows = []
    for cell_id in load.record.cells:
        try:
            drive = read_drive_report(run.path / CELLS / cell_id)
        except (OSError, ValueError):
            continue
        windows.append((drive.window_start_ns, drive.window_end_ns))
    inside = sum(
        any(
            start <= answer.sent_ns and answer.sent_ns + answer.latency_ms * _NS_PER_MS <= end
            for start, end in windows
        )
        for answer in load.answers
    )
    return inside / len(load.answers)


def _mean_tokens(answers: Sequence[Answer]) -> float | None:
    tokens = [answer.output_tokens for answer in answers if answer.output_tokens is not None]
    return float(np.mean(tokens)) if tokens else None


def _latency(answers: Sequence[Answer]) -> Latency:
    values = [answer.latency_ms for answer in answers if answer.outcome != "error"]
    if not values:
        return Latency()
    p50, p95 = np.percentile(values, [50, 95])
    return Latency(p50=float(p50), p95=float(p95))
