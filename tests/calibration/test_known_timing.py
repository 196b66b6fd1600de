"""The driver's stamps against a server that wrote down when it sent what.

Loose bounds, for a machine that others use too: exact figures are those of
`benchmarks/figures.py`. What no neighbour can excuse is exact here: nothing lost, nothing
doubled, no stamp before the truth.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from loadprofiles.records import read_drive_report, read_samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.calibration

MS = 1_000_000
LOADS = {
    "closed": {"mode": "closed", "streams": 16, "duration_ns": 2000 * MS},
    "open": {
        "mode": "open",
        "due_ns": [n * 10 * MS for n in range(200)],
        "duration_ns": 2000 * MS,
    },
}


@pytest.mark.parametrize("load", LOADS)
def test_stamps_are_the_servers(
    mock: Callable[..., str],
    make_cell: Callable[..., Path],
    run_driver: Callable[[Path], object],
    tmp_path: Path,
    load: str,
) -> None:
    truth_file = tmp_path / "truth.jsonl"
    url = mock("--ttft-ms", "30", "--itl-ms", "15", "--jitter-ms", "15", "--truth", str(truth_file))
    fields: dict[str, Any] = LOADS[load]
    folder = make_cell(url, tokens=20, **fields)
    run_driver(folder)
    truth = {
        entry["request_id"]: np.array(entry["sent_ns"])
        for entry in map(json.loads, truth_file.read_text().splitlines())
    }
    samples, report = list(read_samples(folder)), read_drive_report(folder)
    answered = [sample for sample in samples if sample.error is None]
    ids = [sample.request_id for sample in answered]
    assert len(samples) == report.samples
    assert sorted(ids) == sorted(set(ids))
    assert set(ids) <= set(truth)
    assert {s.error for s in samples if s.phase != "cooldown"} == {None}
    assert {s.output_tokens for s in answered} == {20}
    if load == "open":
        assert sorted(s.seq for s in samples if s.phase == "measured") == list(range(200))

    assert report.clock == "kernel"
    ttft_errors, gap_errors = [], []
    for sample in answered:
        stamps = np.cumsum([sample.first_ns, *sample.chunk_ns])
        errors = stamps - truth[sample.request_id]
        assert len(stamps) == 20
        assert errors.min() > -20_000, "a stamp before the bytes were sent"
        ttft_errors.append(errors[0])
        gap_errors += np.diff(errors).tolist()
    assert np.median(np.abs(ttft_errors)) < 200_000
    assert np.median(np.abs(gap_errors)) < 200_000
