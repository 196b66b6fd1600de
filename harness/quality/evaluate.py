"""An evaluation's numbers, from what lies in its folder alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from evals.errors import DamagedError
from evals.store import ANSWERS_FILE, cut_bytes, read_answers
from harness.errors import BadInputError, ExitCode
from harness.evidence.model_code import model_code
from harness.evidence.weights import weights_of
from harness.gap import RESUMED, words
from harness.measuring.measurement import Caveat
from harness.measuring.remeasure import measure_folder
from harness.quality import scores
from harness.quality.evaluation import (
    Evaluation,
    Evaluations,
    ServerInfo,
    SuiteResult,
    each,
)
from harness.quality.passes import EVALS, Pass, PassRecord, read_pass
from harness.quality.probing import card_of, drift_caveats
from harness.quality.record import read_manifest
from harness.quality.underload import load_effect
from harness.rundir import CELLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from evals.compare import QualityScore
    from evals.records import Answer
    from harness.measuring.measurement import CellMeasurement
    from harness.quality.evaluation import Result
    from harness.quality.passes import What
    from harness.quality.record import EvalManifest, SuiteFacts
    from harness.rundir import RunFolder


_AGAIN = "the baseline asked again"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One pass, as its folder has it."""

    folder: Path
    record: PassRecord
    answers: list[Answer]


def evaluate(run: RunFolder) -> Result:
    """Compute all numbers of a run.

    Raises:
        BadInputError: the manifest or a pass's record is missing or broken.
    """
    manifest = read_manifest(run)
    found = [_build(run, manifest, build) for build in manifest.builds]
    if len(found) == 1:
        [one] = found
        caveats = [*manifest.problems, *_gaps(manifest), *one.caveats]
        valid = one.valid and not any(caveat.invalidates for caveat in caveats)
        return msgspec.structs.replace(one, caveats=caveats, valid=valid)
    caveats = [*manifest.problems, *_gaps(manifest), *_baseline_caveats(run, manifest)]
    return Evaluations(
        run=manifest.run,
        evaluations=found,
        valid=all(one.valid for one in found) and not any(caveat.invalidates for caveat in caveats),
        caveats=caveats,
    )


def _gaps(manifest: EvalManifest) -> Iterator[Caveat]:
    for gap in manifest.resumed:
        yield Caveat(
            RESUMED,
            f"{words(gap)}: {gap.kept} of {gap.planned} passes were done, and answers that were "
            "given stayed as they were.",
        )


def exit_code(result: Result, so_far: ExitCode, *, gated: bool) -> ExitCode:
    """Return what the process answers; what went wrong on the way comes first.

    Gated, what was lost to the load fails as well as what was lost to the build.
    """
    if so_far is not ExitCode.OK:
        return so_far
    if not result.valid:
        return ExitCode.INVALID
    if not gated:
        return ExitCode.OK
    verdicts = {
        suite.baseline.verdict
        for one in each(result)
        for suite in one.suites
        if suite.baseline is not None
    }
    lost = any(
        suite.load is not None and suite.load.causes.by_load.finding == "lost"
        for one in each(result)
        for suite in one.suites
    )
    if lost or "FAIL" in verdicts:
        return ExitCode.FAIL
    return ExitCode.INCONCLUSIVE if verdicts - {"PASS"} else ExitCode.OK


def _build(run: RunFolder, manifest: EvalManifest, build: str) -> Evaluation:
    cells = {cell.id: cell for cell in _cells(run, manifest, build)}
    suites = [
        result
        for facts in manifest.suites
        if (result := _suite(run, manifest, build, facts, cells)) is not None
    ]
    caveats = [*drift_caveats(run, build), *_tokenizer_caveats(manifest, build)]
    if build in manifest.servers:
        caveats += model_code(build, manifest.servers[build].provenance)
    if len(manifest.builds) == 1:
        caveats += _baseline_caveats(run, manifest)
    invalid = any(caveat.invalidates for caveat in caveats) or any(
        caveat.invalidates for suite in suites for caveat in suite.caveats
    )
    server = manifest.servers.get(build)
    return Evaluation(
        run=manifest.run,
        server=ServerInfo(build=build)
        if server is None
        else ServerInfo(
            build=build,
            engine=server.engine,
            engine_version=server.engine_version,
            model=server.model,
            weights=weights_of(server.provenance),
            identity=server.identity,
        ),
        probe=card_of(run, build),
        suites=suites,
        quality=_quality(run, manifest, build, suites),
        load=list(cells.values()),
        valid=not invalid and len(suites) == len(manifest.suites),
        caveats=caveats,
    )


def _tokenizer_caveats(manifest: EvalManifest, build: str) -> Iterator[Caveat]:
    """Tell of a build whose tokenizer is not the baseline's, whether or not ids were sent."""
    name = None if manifest.baseline is None else manifest.baseline.build
    facts = manifest.servers
    if name not in facts or build not in facts:
        return
    ours, theirs = facts[build].tokenizer_sha256, facts[name].tokenizer_sha256
    if ours and theirs and ours != theirs:
        yield Caveat(
            "other_tokenizer",
            f"{build} and {name} have different tokenizer.json files: the same text may be other "
            "tokens to each, and what differs need not be due to the weights. Give both the "
            "model's own, or see that the files differ in form alone.",
        )


def _baseline_caveats(run: RunFolder, manifest: EvalManifest) -> list[Caveat]:
    """Return what is wrong with a baseline that is not itself under examination."""
    if manifest.baseline is None or manifest.baseline.build in manifest.builds:
        return []
    return drift_caveats(run, manifest.baseline.build)


def asked(run: RunFolder, suite: str, build: str, what: What = "idle") -> Asked | None:
    """Read a pass; None where it has not begun, or no route was proved for it.

    Raises:
        BadInputError: its record is missing or broken, or a line of its answers is none.
    """
    folder = run.path / EVALS / suite / Pass(suite=suite, build=build, what=what).folder
    record = read_pass(folder)
    if record.route is None:
        return None
    # They lie as they came, and numbers must not depend on what came first.
    try:
        answers = sorted(read_answers(folder), key=lambda answer: (answer.task, answer.item))
    except DamagedError as error:
        raise BadInputError(str(error)) from error
    return Asked(folder=folder, record=record, answers=answers)


def _suite(
    run: RunFolder,
    manifest: EvalManifest,
    build: str,
    facts: SuiteFacts,
    cells: dict[str, CellMeasurement],
) -> SuiteResult | None:
    ours = asked(run, facts.name, build)
    if ours is None:
        return None
    result = scores.summary(ours, facts)
    caveats = list(pass_caveats(ours, manifest, facts, "idle"))
    baseline = manifest.baseline
    theirs = None
    if baseline is not None and baseline.build != build:
        theirs = asked(run, facts.name, baseline.build)
        if theirs is None:
            caveats.append(
                Caveat(
                    "no_baseline",
                    f"{facts.name} was not compared: {baseline.build} has no answers to it.",
                    invalidates=True,
                )
            )
        else:
            against, more = scores.against(ours, theirs, baseline.build, facts, manifest)
            caveats += more
            caveats += pass_caveats(theirs, manifest, facts, baseline.build)
            result = msgspec.structs.replace(result, baseline=against)
    if any(p.what == "load" and p.build == build for p in manifest.passes):
        base = None
        if theirs is not None and baseline is not None:
            base = (theirs, asked(run, facts.name, baseline.build, "again"))
        again, load = (asked(run, facts.name, build, what) for what in ("again", "load"))
        for one, who in ((again, "asked again"), (load, "under load"), (base and base[1], _AGAIN)):
            if one is not None:
                caveats += pass_caveats(one, manifest, facts, who)
        effect, more = load_effect(
            run,
            manifest,
            facts,
            idle=ours,
            again=again,
            load=load,
            baseline=base,
            cells=cells,
        )
        caveats += more
        result = msgspec.structs.replace(result, load=effect)
    return msgspec.structs.replace(result, caveats=caveats)


def pass_caveats(
    one: Asked, manifest: EvalManifest, facts: SuiteFacts, who: str
) -> Iterator[Caveat]:
    """Yield what a reader must know about the answers of one pass."""
    of = "" if who == "idle" else f"{who}: "
    errors = [answer for answer in one.answers if answer.outcome == "error"]
    if one.record.ended != "done":
        why = f" ({one.record.problem})" if one.record.problem else ""
        yield Caveat(
            "incomplete",
            f"{of}{len(one.answers)} of {one.record.items} items of {facts.name} were asked{why}.",
            invalidates=True,
        )
    if cut := cut_bytes(one.folder):
        yield Caveat(
            "cut_line",
            f"{of}{ANSWERS_FILE} of {facts.name} ends in the first {cut} bytes of an answer, as a "
            "killed process leaves them: it is in no score.",
        )
    if errors:
        ratio, limit = len(errors) / len(one.answers), manifest.max_fail_ratio
        kinds = Counter((answer.error or "").partition(":")[0] for answer in errors)
        listed = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(5))
        over = f", more than the {limit:.1%} that --max-fail-ratio allows" if ratio > limit else ""
        yield Caveat(
            "failures",
            f"{of}{len(errors)} of {len(one.answers)} items have no answer ({ratio:.1%}{over}): "
            f'{listed}. One: "{errors[0].error}". They are in no score.',
            invalidates=ratio > limit,
        )
    if part := scores.part_of_text(one, facts):
        yield Caveat("part_of_the_text", f"{of}{facts.name}: {part}.")
    for note in scores.notes(one, facts):
        yield Caveat("few_shot", f"{of}{facts.name}: {note}.")
    limited = sum(answer.outcome == "truncated" for answer in one.answers)
    if limited:
        yield Caveat(
            "truncated",
            f"{of}{limited} of {len(one.answers)} answers were cut off at the output limit before "
            "they said anything that could be graded; they count as wrong. A larger max_tokens "
            "in the suite tells whether they are.",
        )


def _quality(
    run: RunFolder, manifest: EvalManifest, build: str, suites: list[SuiteResult]
) -> QualityScore | None:
    baseline = manifest.baseline
    if baseline is None or baseline.build == build:
        return None
    pairs = {}
    for suite in suites:
        ours, theirs = asked(run, suite.suite, build), asked(run, suite.suite, baseline.build)
        if suite.baseline is not None and ours is not None and theirs is not None:
            pairs[suite.suite] = (ours, theirs)
    return scores.quality(pairs, manifest.seed) if pairs else None


def _cells(run: RunFolder, manifest: EvalManifest, build: str) -> Iterator[CellMeasurement]:
    """Yield the load cells that ran beside a build's grading; what cannot be read is left out."""
    for one in manifest.passes:
        if one.build != build or one.what != "load":
            continue
        for cell_id in read_pass(run.path / EVALS / one.suite / one.folder).cells:
            try:
                yield measure_folder(run.path / CELLS / cell_id, None)
            except (OSError, msgspec.DecodeError):
                continue
