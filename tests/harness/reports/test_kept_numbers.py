"""What kept run folders say stays what it was, and is the same bytes whoever renders it.

tests/fixtures/numbers holds the numbers of every folder in tests/fixtures/runs, as `harness report
--format json` and `--format csv` printed them when the folder was kept. What a report says beyond
them may grow; a kept number that changes is a definition that changed. Where that is meant, say so
in docs/method.md and write them anew: python -m tests.harness.reports.test_kept_numbers
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.evidence.folders import kind_of
from harness.reports.anew import recompute
from harness.reports.kinds import package_of
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures"
RUNS = sorted(path.name for path in (FIXTURES / "runs").iterdir())
RELATIVE = 1e-9
ABSOLUTE = 1e-9
FORMATS = {"csv", "html", "json", "junit", "markdown", "terminal"}
PLACES = (
    {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
    {"PYTHONHASHSEED": "77", "TZ": "America/New_York", "LC_ALL": "C.UTF-8"},
)


def flat(value: Any, at: str = "") -> Iterator[tuple[str, float]]:  # noqa: ANN401 - JSON
    """Yield path and value of every number; caveats are words, and more may come."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name != "caveats":
                yield from flat(one, f"{at}.{name}")
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from flat(one, f"{at}.{place}")
    elif isinstance(value, int | float):
        yield at, value


def table(text: str) -> Iterator[tuple[str, float]]:
    """Yield row and column, and value, of every number in a CSV."""
    for place, row in enumerate(csv.DictReader(io.StringIO(text))):
        for column, word in row.items():
            try:
                yield f"{place}.{column}", float(word)
            except (TypeError, ValueError):
                continue


def numbers(run: RunFolder) -> dict[str, dict[str, float]]:
    """All numbers of a run, by format and place."""
    list(recompute(run))
    package = package_of(kind_of(run))
    return {
        "json": dict(flat(json.loads(package.load_report("json").render(run)))),
        "csv": dict(table(package.load_report("csv").render(run))),
    }


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every format of every run in a folder, computed anew from samples and answers."""
    found = {}
    for path in sorted(folder.iterdir()):
        run = RunFolder.open(path)
        list(recompute(run))
        package = package_of(kind_of(run))
        for name in package.NAMES:
            data = package.load_report(name).render(run)
            found[f"{path.name}, {name}"] = hashlib.sha256(data.encode()).hexdigest()
    return found


def keep() -> None:
    """Write the kept numbers anew."""
    with tempfile.TemporaryDirectory() as folder:
        for name in RUNS:
            copy = shutil.copytree(FIXTURES / "runs" / name, Path(folder) / name)
            kept = FIXTURES / "numbers" / f"{name}.json"
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(numbers(RunFolder.open(copy)), indent=0) + "\n")


@pytest.mark.parametrize("name", RUNS)
def test_every_number_is_the_kept_one(name: str, tmp_path: Path) -> None:
    kept = json.loads((FIXTURES / "numbers" / f"{name}.json").read_text())
    assert min(len(kept["json"]), len(kept["csv"])) > 10
    copy = shutil.copytree(FIXTURES / "runs" / name, tmp_path / name)
    found = numbers(RunFolder.open(copy))
    for format_, wanted in kept.items():
        there = {at: found[format_].get(at) for at in wanted}
        assert there == pytest.approx(wanted, rel=RELATIVE, abs=ABSOLUTE), format_


def test_a_changed_number_would_be_seen(tmp_path: Path) -> None:
    """A cell lacks its last answer."""
    kept = json.loads((FIXTURES / "numbers" / "schema-1-load.json").read_text())["json"]
    copy = shutil.copytree(FIXTURES / "runs" / "schema-1-load", tmp_path / "schema-1-load")
    [path, *_] = sorted(copy.glob("cells/*/samples.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    found = numbers(RunFolder.open(copy))["json"]
    assert sum(found.get(at) != pytest.approx(value) for at, value in kept.items()) > 5


def test_all_kinds_of_runs_are_kept() -> None:
    kinds = [kind_of(RunFolder.open(FIXTURES / "runs" / name)) for name in RUNS]
    assert {kind: kinds.count(kind) >= 2 for kind in kinds} == dict.fromkeys(
        ("load", "eval", "comparison", "gate", "capacity"), True
    )


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the hash seed, the time zone and the locale."""
    told = []
    for number, place in enumerate(PLACES):
        # Folders that are read at two places, but are called the same: reports may name them.
        where = tmp_path / "runs"
        shutil.copytree(FIXTURES / "runs", where)
        done = subprocess.run(
            [sys.executable, "-m", "tests.harness.reports.test_kept_numbers", str(where)],
            cwd=ROOT,
            env=os.environ | place | {"COLUMNS": "120"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        told.append(json.loads(done.stdout))
        where.rename(tmp_path / f"done-{number}")
    assert told[0] == told[1]
    assert len(told[0]) >= len(RUNS) * len(FORMATS)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(digests(Path(sys.argv[1]))))
    else:
        keep()
