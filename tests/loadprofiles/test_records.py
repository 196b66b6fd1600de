from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from loadprofiles.records import (
    DRIVE_FILE,
    SAMPLES_FILE,
    DrivePlan,
    Sample,
    read_drive_report,
    read_samples,
)

if TYPE_CHECKING:
    from pathlib import Path


def sample(seq: int) -> Sample:
    return Sample(seq=seq, body=seq, request_id=f"r{seq}", phase="measured", due_ns=seq)


def test_samples_are_read_back(tmp_path: Path) -> None:
    samples = [sample(seq) for seq in range(3)]
    lines = b"".join(msgspec.json.encode(item) + b"\n" for item in samples)
    (tmp_path / SAMPLES_FILE).write_bytes(lines)
    assert list(read_samples(tmp_path)) == samples


@pytest.mark.parametrize(("cut", "whole"), [(1, [0, 1, 2]), (2, [0, 1]), (5, [0, 1]), (40, [0, 1])])
def test_half_a_line_at_the_end_is_left_out(tmp_path: Path, cut: int, whole: list[int]) -> None:
    """One that lacks but its end of line is whole."""
    lines = b"".join(msgspec.json.encode(sample(seq)) + b"\n" for seq in range(3))
    (tmp_path / SAMPLES_FILE).write_bytes(lines[:-cut])
    assert [item.seq for item in read_samples(tmp_path)] == whole


def test_a_line_that_is_no_sample_is_an_error(tmp_path: Path) -> None:
    (tmp_path / SAMPLES_FILE).write_bytes(b'{"seq": "one"}\n')
    with pytest.raises(msgspec.DecodeError, match=f"{SAMPLES_FILE}, line 1"):
        list(read_samples(tmp_path))


def test_a_missing_report_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=DRIVE_FILE):
        read_drive_report(tmp_path)


def test_a_plan_needs_its_fields() -> None:
    with pytest.raises(msgspec.ValidationError, match="host"):
        msgspec.json.decode(b"{}", type=DrivePlan)
