"""Servers of a URL that are not there, or not any more."""

from __future__ import annotations

import random
import re
import socket
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.faults.after import (
    PATH,
    check_kept,
    check_next,
    check_numbers,
    lines_of,
    ordinary,
    samples_of,
)
from tests.faults.apart import once, run_apart
from tests.faults.table import Row, rows

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

TIMING = ("--ttft-ms=10", "--itl-ms=5")
CLOSED = ("--profile", "closed", "--output-tokens", "6", "--warmup", "0", "--json")


@pytest.mark.parametrize("row", rows("connections", "refused_at_start", "unknown_host"))
def test_at_start(row: Row, workplace: Workplace, shared_mock: StartMock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"127.0.0.1:{listener.getsockname()[1]}"
    at = {"refused_at_start": dead, "unknown_host": "no-such-host.invalid:8000"}[row.name]
    done = ordinary(workplace, "--url", f"http://{at}/v1")
    assert (done.code, done.out) == (row.code, "")
    assert re.search(row.says, done.err)
    assert at in done.err
    assert workplace.runs == []
    check_next(workplace, shared_mock(*TIMING))


def black_hole(after: int) -> tuple[str, str]:
    """The mock's options with which so many requests go well before it is one."""
    for seed in count():
        draw = random.Random(seed).random  # noqa: S311 - the mock's own draw
        if [draw() < 0.1 for _ in range(after + 1)] == [False] * after + [True]:
            break
    return "--fault=black_hole:0.1", f"--seed={seed}"


@pytest.mark.parametrize("row", rows("connections", "refused_in_mid_run", "black_hole"))
def test_in_mid_run(
    row: Row, workplace: Workplace, mock: StartMock, shared_mock: StartMock
) -> None:
    truth = workplace.path / "truth.jsonl"
    fault = ("--die-after=20",) if row.name == "refused_in_mid_run" else black_hole(20)
    url = mock(*TIMING, *fault, f"--truth={truth}")
    asked = ("--url", url, *CLOSED, "--level", "4", "--duration", "4", "--timeout", "1.5")
    done = workplace.inside("load", *asked, environment=PATH)
    assert done.code == row.code, done.err
    [cell] = done.cells
    measured = check_numbers(done.run, cell)
    check_kept(samples_of(done.run, cell["id"]), truth)
    assert cell["requests"]["ok"] == len(lines_of(truth))
    assert cell["window_s"] == pytest.approx(4)
    hits = [sample for sample in measured if sample["error"] == row.error]
    assert {sample["status"] for sample in hits} <= {row.status, 200}
    assert row.status in {sample["status"] for sample in hits}
    assert row.says in (done.run / "report.md").read_text()
    if row.name == "black_hole":
        assert any(sample["detail"] == "not connected after 1.5 s" for sample in hits)
    check_next(workplace, shared_mock(*TIMING))


@pytest.mark.parametrize("row", rows("connections", "unknown_host_in_mid_run"))
def test_a_name(row: Row, workplace: Workplace, mock: StartMock) -> None:
    """It comes back, too: the cell after the one that it costs is whole."""
    url = mock(*TIMING).replace("127.0.0.1", "served.test")
    (workplace.path / "hosts").write_text("127.0.0.1 served.test\n")
    cells = "grep -qs url-closed-c{}-1 runs/*/measurements.json"
    done = run_apart(
        workplace,
        f"mount --bind hosts /etc/hosts\n{once(cells.format(1), ': > hosts')}\n"
        + once(cells.format(2), "echo 127.0.0.1 served.test > hosts"),
        "",
        *("load", "--url", url, *CLOSED, "--level", "1,2,3", "--requests", "4"),
    )
    assert done.code == row.code, done.err
    assert re.search(row.says, (done.run / "report.md").read_text())
    for cell, ok in zip(done.cells, (4, 0, 4), strict=True):
        measured = check_numbers(done.run, cell)
        assert cell["requests"]["ok"] == ok
        assert {sample["error"] for sample in measured} == ({None} if ok else {"connect"})
    check_next(workplace, url.replace("served.test", "127.0.0.1"))
