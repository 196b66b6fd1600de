"""What pairs of requests tell of interleaved builds."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from harness.comparing.pairs import LEAST, one_start, pair_rows, ratio_of
from harness.evidence.evidence import Evidence
from loadprofiles.records import SAMPLES_FILE, Sample
from tests.harness.comparing.made import cell, load

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000


def drive(folder: Path, ttft_ms: list[float], **changes: dict[int, Any]) -> None:
    """Write the samples of a cell with these TTFTs; each answer takes 100 ms more."""
    folder.mkdir(parents=True)
    lines = []
    for seq, one in enumerate(ttft_ms):
        due = seq * 1000 * MS
        first, last = due + round(one * MS), due + round((one + 100) * MS)
        sample = Sample(
            seq=seq, body=seq, request_id=f"{seq}", phase="measured", due_ns=due, submitted_ns=due,
            sent_ns=due, first_ns=first, last_ns=last, done_ns=last, status=200, output_tokens=11,
            chunk_ns=[10 * MS] * 10, lag_us=[1] * 11,
        )  # fmt: skip
        fields = {name: by_seq[seq] for name, by_seq in changes.items() if seq in by_seq}
        lines.append(msgspec.json.encode(msgspec.structs.replace(sample, **fields)) + b"\n")
    (folder / SAMPLES_FILE).write_bytes(b"".join(lines))


def interleaved(folder: Path) -> Evidence:
    """A run of two builds by turns, twice."""
    cells = [
        cell(build, 1, repeat, interleaved_with=[other])
        for repeat in (1, 2)
        for build, other in (("fp16", "awq"), ("awq", "fp16"))
    ]
    return Evidence(load=[load(cells, str(folder))], quality=[])


def test_pairs_of_all_repeats_are_one_lot(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for repeat in (1, 2):
        shared = rng.lognormal(np.log(50), 0.5, 20)  # what the machine does to both of a pair
        drive(tmp_path / f"cells/fp16-1-{repeat}", shared.tolist())
        drive(tmp_path / f"cells/awq-1-{repeat}", (1.03 * shared).tolist())
    [row] = pair_rows(interleaved(tmp_path), "fp16")
    assert (row.build, row.profile, row.level) == ("awq", "closed", {"concurrency": 1})
    ttft = row.ratios["ttft_ms"]
    assert (ttft.pairs, ttft.ratio) == (40, pytest.approx(1.03, rel=1e-4))
    assert ttft.ci95 == pytest.approx((1.03, 1.03), rel=1e-4)  # nothing of the machine's noise
    assert row.ratios["tpot_ms"].ratio == pytest.approx(1.0)
    assert 1.0 < row.ratios["e2e_ms"].ratio < 1.03


def test_only_prompts_that_both_have_answered_are_pairs(tmp_path: Path) -> None:
    for repeat in (1, 2):
        drive(tmp_path / f"cells/fp16-1-{repeat}", [50.0] * 12, error={3: "timeout"})
        drive(tmp_path / f"cells/awq-1-{repeat}", [60.0] * 11, phase={5: "warmup"})
    [row] = pair_rows(interleaved(tmp_path), "fp16")
    assert row.ratios["ttft_ms"].pairs == 2 * (11 - 2)


def test_no_pairs_where_builds_were_up_apart_or_samples_are_gone(tmp_path: Path) -> None:
    evidence = interleaved(tmp_path)
    assert pair_rows(evidence, "fp16") == []  # no samples there
    drive(tmp_path / "cells/fp16-1-1", [50.0] * 12)
    drive(tmp_path / "cells/awq-1-1", [50.0] * 12)
    assert [row.ratios["ttft_ms"].pairs for row in pair_rows(evidence, "fp16")] == [12]
    shutil.rmtree(tmp_path / "cells/awq-1-1")
    assert pair_rows(evidence, "fp16") == []
    apart = Evidence(load=[load([cell("fp16", 1, 1), cell("awq", 1, 1)])], quality=[])
    assert pair_rows(apart, "fp16") == []
    assert one_start(apart) == []
    assert [caveat.code for caveat in one_start(evidence)] == ["one_start"]


def test_too_few_pairs_have_no_interval() -> None:
    assert ratio_of(np.log(np.full(LEAST - 1, 1.1))).ci95 is None
    assert ratio_of(np.log(np.full(LEAST, 1.1))).ci95 == pytest.approx((1.1, 1.1))


def test_the_interval_is_the_order_statistics_of_the_binomial() -> None:
    """Conover (1999), table A3: of 10 values the 2nd and the 9th, 1 − 2 · 11 ÷ 1024 = 97.9 %."""
    logs = np.log(np.arange(1.0, 11.0))
    assert ratio_of(logs).ci95 == pytest.approx((2.0, 9.0))


@pytest.mark.parametrize("pairs", [8, 24, 100])
def test_the_interval_holds_the_truth_as_often_as_it_says(pairs: int) -> None:
    """Heavy-tailed noise (Student's t of 2 degrees of freedom), 3 % of the time tenfold."""
    rng = np.random.default_rng(pairs)
    held, tries = 0, 400
    for _ in range(tries):
        noise = 0.02 * rng.standard_t(2, pairs) * np.where(rng.random(pairs) < 0.03, 10, 1)
        ci95 = ratio_of(np.log(1.03) + noise).ci95
        assert ci95 is not None
        held += ci95[0] <= 1.03 <= ci95[1]
    assert held / tries > 0.925
