"""A run's numbers, from what lies in its folder: the samples, and what was known of each cell."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.errors import BadInputError
from harness.measuring.measure import CellFacts, measure
from harness.measuring.measurement import SCHEMA as MEASUREMENTS_SCHEMA
from harness.measuring.measurement import Caveat, CellMeasurement, Measurements, measurements
from harness.measuring.outputs import Answers, compare, stops_early
from harness.measuring.repeats import REPEATS_DIFFER, repeats_differ
from harness.measuring.samples import Samples
from harness.measuring.slo import parse_slo
from harness.measuring.sweep import SweepPlan
from harness.rundir import CELLS, MEASUREMENTS_FILE, read_json, write_atomically
from launchers.telemetry.records import TELEMETRY_FILE, read_telemetry
from loadprofiles.decoding import decoded
from loadprofiles.errors import RecordError
from loadprofiles.records import (
    DRIVE_FILE,
    SAMPLES_FILE,
    cut_bytes,
    read_drive_report,
    read_plan,
    read_samples,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.measuring.measurement import Client
    from harness.measuring.slo import Slo
    from harness.measuring.sweep import Sweep
    from harness.rundir import RunFolder
    from launchers.telemetry.records import Reading
    from loadprofiles.records import DriveReport

FACTS_FILE = "facts.json"
_LONGEST_NS: Final = 92 * 86_400 * 10**9
_STAMPS: Final = (
    "due_ns", "submitted_ns", "sent_ns", "first_ns", "first_answer_ns", "last_ns", "end_ns",
    "done_ns",
)  # fmt: skip
DAMAGED: Final = "damaged"
"""The code of the caveat about a cell whose files are not as they were written."""


def write_facts(folder: Path, facts: CellFacts) -> None:
    """Keep beside a cell's samples what they do not say.

    Raises:
        BadInputError: the folder cannot be written (any more).
    """
    write_atomically(folder / FACTS_FILE, msgspec.json.format(msgspec.json.encode(facts)) + b"\n")


def read_facts(folder: Path) -> CellFacts:
    """Read what is kept beside a cell's samples.

    Raises:
        OSError: the file cannot be read.
        RecordError: it is not what it should be.
    """
    return decoded((folder / FACTS_FILE).read_bytes(), CellFacts, FACTS_FILE)


def measure_folder(folder: Path, slo: Slo | None, baseline: Path | None = None) -> CellMeasurement:
    """Compute a cell's numbers from its folder alone.

    Args:
        folder: the cell's.
        slo: limits for goodput.
        baseline: folder of the cell whose build's answers to the same prompts are compared with
            this one's; None for none.

    Raises:
        OSError: a file cannot be read.
        msgspec.DecodeError: a file is not what it should be.
    """
    facts = read_facts(folder)
    samples = Samples.of(read_samples(folder))
    readings, problem = _readings(folder)
    plan, drive = read_plan(folder), read_drive_report(folder)
    _check_times(drive, samples)
    found = measure(facts, plan, samples, drive, slo, readings, problem)
    if cut := cut_bytes(folder):
        caveat = Caveat(
            "cut_line",
            f"{SAMPLES_FILE} ends in the first {cut} bytes of a sample, as a killed driver leaves "
            "them: that request is in no number.",
        )
        found = msgspec.structs.replace(found, client=_more_caveats(found, [caveat]))
    if baseline is None:
        return found
    own = Answers.of(samples.measured, plan.asked_digest)
    del samples  # one cell's at a time
    return _with_baseline(found, own, baseline)


def _check_times(drive: DriveReport, samples: Samples) -> None:
    """Find times that no run has: what is computed over a window must not take years of it.

    Raises:
        RecordError: there are some.
    """
    start_ns, end_ns = drive.window_start_ns, drive.window_end_ns
    if not 0 <= end_ns - start_ns <= _LONGEST_NS:
        raise RecordError(
            f"{DRIVE_FILE}: window_end_ns lies {(end_ns - start_ns) / 1e9:.0f} s after "
            "window_start_ns"
        )
    for name in _STAMPS:
        times = samples.column(name)[samples.has(name)]
        if times.size and not (
            start_ns - _LONGEST_NS <= times.min() and times.max() <= end_ns + _LONGEST_NS
        ):
            raise RecordError(f"{SAMPLES_FILE}: a {name} lies months from the window")


def _readings(folder: Path) -> tuple[list[Reading], str]:
    """Read the readings of a cell's server, or say why that cannot be: they are no part of load."""
    try:
        return read_telemetry(folder), ""
    except OSError as error:
        return [], f"{TELEMETRY_FILE} cannot be read: {error.strerror}."
    except msgspec.DecodeError as error:
        return [], f"{TELEMETRY_FILE} is damaged: {error}."


def _with_baseline(found: CellMeasurement, own: Answers, folder: Path) -> CellMeasurement:
    """Add how a cell's answers compare with those of the baseline's cell in `folder`.

    Where that one has no samples, nothing is added.
    """
    try:
        name = read_facts(folder).build
        asked = read_plan(folder).asked_digest
        theirs = Answers.of(Samples.of(read_samples(folder)).measured, asked)
    except (OSError, msgspec.DecodeError):
        return found
    assert found.outputs is not None  # noqa: S101 - just measured
    compared = compare(own, theirs, name)
    return msgspec.structs.replace(
        found,
        outputs=msgspec.structs.replace(found.outputs, compared=compared),
        client=_more_caveats(found, stops_early(compared)),
    )


def _more_caveats(found: CellMeasurement, caveats: Iterable[Caveat]) -> Client:
    return msgspec.structs.replace(found.client, caveats=[*found.client.caveats, *caveats])


def remeasure(run: RunFolder) -> Measurements:
    """Compute all numbers of a run anew; those of a cell whose files are damaged or gone stay.

    What is damaged, with file and line, is a caveat that makes the run invalid.

    A cell that was under way when the harness was killed has its files, and gets numbers here.

    Raises:
        BadInputError: `manifest.json` or `measurements.json` is missing or broken.
    """
    before, manifest = _earlier(run), run.read_manifest()
    request: Any = manifest.get("request") or {}
    slo = parse_slo(request["slo"], recorded=True) if request.get("slo") else None
    described: Any = manifest.get("cells") or []
    planned = [cell["id"] for cell in described]
    baselines = {cell["id"]: cell.get("baseline") for cell in described}
    known = {cell.id: cell for cell in before.cells}
    caveats = [one for one in before.caveats if one.code not in {DAMAGED, REPEATS_DIFFER}]
    for cell_id in planned:
        try:
            baseline = baselines[cell_id]
            known[cell_id] = measure_folder(
                run.path / CELLS / cell_id, slo, baseline and run.path / CELLS / baseline
            )
        except OSError:
            continue
        except msgspec.DecodeError as error:
            kept = "its earlier numbers stay" if cell_id in known else "it has no numbers"
            text = f"The cell {cell_id} cannot be measured anew, and {kept}: {error}."
            caveats.append(Caveat(DAMAGED, text, invalidates=True))
    cells = [known[cell_id] for cell_id in planned if cell_id in known]
    caveats += repeats_differ(cells)
    found = measurements(before.run, cells, len(planned), caveats, _sweeps(manifest, cells))
    if "side_by_side" not in manifest:
        return found
    from harness.comparing.sidebyside import side_by_side  # scipy: other runs do without

    return msgspec.structs.replace(found, side_by_side=side_by_side(run, found))


def _sweeps(manifest: Mapping[str, Any], cells: Sequence[CellMeasurement]) -> list[Sweep]:
    """Compute the sweeps, if it was one, of all cells."""
    swept = manifest.get("sweep")
    if not isinstance(swept, dict):
        return []
    from harness.capacity.swept import sweeps_of  # scipy: other runs do without

    return sweeps_of(msgspec.convert(swept["plan"], SweepPlan), cells, swept["ended"])


def numbers_of(run: RunFolder) -> Measurements:
    """Read a load run's numbers; compute them where an older harness had other fields.

    Raises:
        BadInputError: a file is missing, broken or of a newer harness.
    """
    try:
        return run.read_measurements()
    except BadInputError:
        return remeasure(run)


def _earlier(run: RunFolder) -> Measurements:
    """Read `measurements.json`, of an older harness without the cells whose fields were others.

    Raises:
        BadInputError: it is missing, broken, or of a newer harness.
    """
    raw = read_json(run.path / MEASUREMENTS_FILE, dict[str, Any], MEASUREMENTS_SCHEMA)
    cells = raw.get("cells")
    known = [cell for one in (cells if isinstance(cells, list) else []) for cell in _cell(one)]
    try:
        return msgspec.structs.replace(
            msgspec.convert({**raw, "cells": []}, Measurements), cells=known
        )
    except msgspec.ValidationError as error:
        raise BadInputError(
            f"{run.path / MEASUREMENTS_FILE}: {error}", hint="The file is not as harness wrote it."
        ) from error


def _cell(raw: object) -> Iterator[CellMeasurement]:
    with contextlib.suppress(msgspec.ValidationError):
        yield msgspec.convert(raw, CellMeasurement)
