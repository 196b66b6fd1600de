"""What the soak reads out of a run's samples: a request that is missing, twice, or beyond count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import soak

from loadprofiles.records import SAMPLES_FILE, Sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def sample(seq: int, sent_ns: int, done_ns: int, phase: str = "measured") -> Sample:
    return Sample(
        seq=seq, body=seq, request_id=f"m{seq}", phase=phase, due_ns=sent_ns - 2000,
        sent_ns=sent_ns, done_ns=done_ns, lag_us=[3, 7],
    )  # fmt: skip


def reading(folder: Path, samples: Sequence[Sample]) -> soak.Read:
    lines = (msgspec.json.encode(one) + b"\n" for one in samples)
    (folder / SAMPLES_FILE).write_bytes(b"".join(lines))
    return soak.read(folder, 3)


def test_each_exactly_once_or_not(tmp_path: Path) -> None:
    warm, first = sample(0, 10_000, 20_000, "warmup"), sample(0, 100_000, 190_000)
    second, third = sample(1, 150_000, 300_000), sample(2, 190_000, 200_000)
    whole = reading(tmp_path, [warm, first, third, second])
    assert (whole.once, whole.lines, whole.errors) == (True, 3, {})
    assert whole.at_once == 2, "the third was sent when the first had ended"
    assert whole.lag_us.tolist() == [7, 7, 7]
    assert whole.late_us.tolist() == [2, 2, 2]
    assert not reading(tmp_path, [first, second]).once
    assert not reading(tmp_path, [first, second, second]).once
    assert not reading(tmp_path, [first, second, third, third]).once
    failed = msgspec.structs.replace(third, error="reset")
    assert reading(tmp_path, [first, second, failed]).errors == {"reset": 1}


def test_tenths_of_the_time() -> None:
    at = np.array([0, 5, 11, 95, 100])
    parts = soak.tenths(np.arange(5), at)
    assert [part.tolist() for part in parts] == [[0, 1], [2], [], [], [], [], [], [], [], [3, 4]]
