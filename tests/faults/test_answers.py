"""What a server answers, or does not: a cell of which some requests are hit, and one of none."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.after import check_kept, check_numbers, check_ordinary, ordinary
from tests.faults.table import Row, rows

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

TIMING = ("--ttft-ms=10", "--itl-ms=5")
SHARE, SEED = 0.3, 2


def hit() -> list[bool]:
    """Which requests the mock hits, in the order in which they come."""
    draw = random.Random(SEED).random  # noqa: S311 - the mock's own draw
    return [draw() < SHARE for _ in range(20)]


@pytest.mark.parametrize("row", rows("answers"))
def test_answers(row: Row, workplace: Workplace, mock: StartMock, shared_mock: StartMock) -> None:
    truth = workplace.path / "truth.jsonl"
    told = (f"--fault={row.name}:{SHARE}", f"--seed={SEED}", f"--truth={truth}")
    # A byte every 5 ms would be so many reads without a body that nobody waits for the time-out.
    faulty = mock(*TIMING[:1], "--itl-ms=25" if row.name == "slow_loris" else TIMING[1], *told)
    (workplace.path / "harness.toml").write_text(
        f'[servers.faulty]\nurl = "{faulty}"\n[servers.good]\nurl = "{shared_mock(*TIMING)}"\n'
    )
    limit_s = "3" if row.error == "timeout" else "60"
    done = ordinary(workplace, "--server", "faulty,good", "--timeout", limit_s)
    assert done.went_well if row.code == 0 else done.code == row.code, done.err
    bad, good = done.cells
    measured = check_numbers(done.run, bad)
    check_kept(measured, truth)
    hits = [sample for sample in measured if sample["error"]]
    if row.error is not None:
        assert len(hits) == sum(hit())
        assert {(sample["status"], sample["error"]) for sample in hits} == {(row.status, row.error)}
        assert any(row.says in sample["detail"] for sample in hits)
    else:
        assert hits == []
        assert {sample["status"] for sample in measured} == {row.status}
    report = (done.run / "report.md").read_text().replace("\\", "")
    assert row.says in report
    assert row.error is None or f"{row.error} {len(hits)}" in report
    check_ordinary(done, good)
    assert workplace.processes() == []
