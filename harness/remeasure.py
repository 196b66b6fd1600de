"""A run's numbers, from what lies in its folder: the samples, and what was known of each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.measure import CellFacts, measure
from harness.measurement import measurements
from harness.rundir import CELLS, write_atomically
from harness.slo import parse_slo
from loadprofiles.records import read_drive_report, read_plan, read_samples

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measurement import CellMeasurement, Measurements
    from harness.rundir import RunFolder
    from harness.slo import Slo

FACTS_FILE = "facts.json"


def write_facts(folder: Path, facts: CellFacts) -> None:
    """Keep beside a cell's samples what they do not say.

    Raises:
        BadInputError: the folder cannot be written (any more).
    """
    write_atomically(folder / FACTS_FILE, msgspec.json.format(msgspec.json.encode(facts)) + b"\n")


def measure_folder(folder: Path, slo: Slo | None) -> CellMeasurement:
    """Compute a cell's numbers from its folder alone.

    Raises:
        OSError: a file cannot be read.
        msgspec.DecodeError: a file is not what it should be.
    """
    facts = msgspec.json.decode((folder / FACTS_FILE).read_bytes(), type=CellFacts)
    return measure(facts, read_plan(folder), read_samples(folder), read_drive_report(folder), slo)


def remeasure(run: RunFolder) -> Measurements:
    """Compute all numbers of a run anew; those of a cell whose files are damaged or gone stay.

    A cell that was under way when the harness was killed has its files, and gets numbers here.

    Raises:
        BadInputError: `manifest.json` or `measurements.json` is missing or broken.
    """
    before, manifest = run.read_measurements(), run.read_manifest()
    request: Any = manifest.get("request") or {}
    slo = parse_slo(request["slo"]) if request.get("slo") else None
    planned = [cell["id"] for cell in manifest.get("cells") or []]  # type: ignore[attr-defined]
    known = {cell.id: cell for cell in before.cells}
    for cell_id in planned:
        try:
            known[cell_id] = measure_folder(run.path / CELLS / cell_id, slo)
        except (OSError, msgspec.DecodeError):
            continue
    cells = [known[cell_id] for cell_id in planned if cell_id in known]
    return measurements(before.run, cells, len(planned), before.caveats)
