"""Write the JSON Schemas of what the harness reads and writes into docs/schemas/.

Usage: python docs/generate_schemas.py [--check]    --check only says what is out of date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from evals.probe.card import Card
from evals.records import Answer
from evals.suite import Suite
from harness.calibration import Calibration
from harness.capacity.result import Capacity
from harness.comparing.comparison import Comparison
from harness.configschema import DRAFT, json_schema
from harness.explaining.explanation import Explanation
from harness.gating.result import GateResult
from harness.gating.rules import Rules
from harness.history.baselines import Baseline
from harness.history.history import History
from harness.measuring.measurement import Measurements
from harness.quality.evaluation import Evaluation, Evaluations
from harness.quality.passes import PassRecord
from harness.quantizing.card import Quantization
from harness.simulating.simulate import Simulation
from launchers.build import Build
from launchers.telemetry.records import Reading
from loadprofiles.profile import Profile
from loadprofiles.records import DrivePlan, DriveReport, Sample

FOLDER = Path(__file__).parent / "schemas"
RECORDS: dict[str, type[msgspec.Struct]] = {
    "measurements.json": Measurements,
    "capacity.json": Capacity,
    "plan.json": DrivePlan,
    "samples.jsonl": Sample,
    "drive.json": DriveReport,
    "telemetry.jsonl": Reading,
    "calibration.json": Calibration,
    "probe.json": Card,
    "evaluation.json": Evaluation,
    "evaluation-of-several.json": Evaluations,
    "comparison.json": Comparison,
    "answers.jsonl": Answer,
    "pass.json": PassRecord,
    "history.json": History,
    "baseline.json": Baseline,
    "gate.json": GateResult,
    "explanation.json": Explanation,
    "simulation.json": Simulation,
    "quantization.json": Quantization,
}
MODELS: dict[str, type[Build | Profile | Suite | Rules]] = {
    "build.toml": Build,
    "profile.toml": Profile,
    "suite.toml": Suite,
    "rules.toml": Rules,
}


def schemas() -> dict[str, str]:
    """File name → text of every schema."""
    found = {name: msgspec.json.schema(kind) for name, kind in RECORDS.items()}
    found |= {name: model.model_json_schema() for name, model in MODELS.items()}
    found["harness.toml"] = json_schema()
    return {
        f"{name}.schema.json": json.dumps(
            {"$schema": DRAFT, "title": name, **schema}, indent=2, ensure_ascii=False
        )
        + "\n"
        for name, schema in found.items()
    }


def outdated() -> list[str]:
    """Names of schemas that are missing, old, or of nothing."""
    wanted = schemas()
    there = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    return sorted(name for name in wanted | there if wanted.get(name) != there.get(name))


def main() -> int:
    """Write what is out of date, or with --check only name it."""
    names = outdated()
    if "--check" not in sys.argv[1:]:
        wanted = schemas()
        FOLDER.mkdir(exist_ok=True)
        for name in names:
            if name in wanted:
                (FOLDER / name).write_text(wanted[name])
            else:
                (FOLDER / name).unlink()
    for name in names:
        print(name)
    return 1 if names and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
