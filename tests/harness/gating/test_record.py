"""A gate's manifest is read whichever harness wrote it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness.gating.record import TurnRecord, read_gate_manifest
from harness.rundir import RunFolder
from tests.harness.gating.test_judge import manifest

if TYPE_CHECKING:
    from pathlib import Path

import msgspec


def test_turns_of_an_older_gate_had_a_list_of_repeats(tmp_path: Path) -> None:
    told = msgspec.to_builtins(manifest())
    told["turns"] = [{"role": "baseline", "repeats": [1, 2]}, {"role": "candidate", "repeat": 2}]
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    assert read_gate_manifest(RunFolder(tmp_path)).turns == [
        TurnRecord(role="baseline"), TurnRecord(role="candidate", repeat=2),
    ]  # fmt: skip
