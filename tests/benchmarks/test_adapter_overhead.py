"""What the verdict on the dialects is made of, and one short run of all of them."""

from __future__ import annotations

import os

import adapter_overhead
import numpy as np
import pytest
from adapter_overhead import Turn, differences, judge, verdict
from medians import Middle
from rig import Served

from loadprofiles.dialects import dialect_names
from tests.harness.cells import T0, answer


def test_two_mirrored_rounds_make_one_difference() -> None:
    ours = [Turn(0, 0, kernel, 0) for kernel in (10.0, 14.0, 20.0, 20.0)]
    theirs = [Turn(0, 0, kernel, 0) for kernel in (8.0, 8.0, 25.0, 15.0)]
    assert differences(ours, theirs, "kernel") == [4.0, 0.0]


def test_within_means_the_whole_interval() -> None:
    assert verdict(Middle(1.0, -20.0, 20.0)) == "PASS"
    assert verdict(Middle(1.0, -20.1, 5.0)) == "INCONCLUSIVE"
    assert verdict(Middle(-25.0, -30.0, -20.1)) == "FAIL"
    assert verdict(Middle(25.0, 20.1, 30.0)) == "FAIL"
    assert verdict(Middle(0.0, float("nan"), float("nan"))) == "INCONCLUSIVE"


def test_what_the_server_took_is_not_ours() -> None:
    """The answer says 50 ms; the server had the request 0.1 ms later and sent after 49.8 ms."""
    sample = answer(0, 0.0)
    received = sample.sent_ns + 100_000
    sent = np.array([received + 49_800_000])
    turn = judge([sample], {sample.request_id: Served(sample.request_id, received, sent)})
    assert turn.ttft == pytest.approx(50_000)
    assert turn.served == pytest.approx(49_800)
    assert turn.kernel == pytest.approx(200)
    assert turn.read == pytest.approx(200 + sample.lag_us[0])
    assert sample.sent_ns >= T0


def test_every_dialect_has_its_turns() -> None:
    cpus = (min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0)))
    found = adapter_overhead.measure(cpus, rounds=2, requests=5)
    assert {name: len(turns) for name, turns in found.items()} == dict.fromkeys(dialect_names(), 2)
    for turns in found.values():
        for one in turns:
            assert one.ttft >= one.served >= 2_000
            assert 0 < one.kernel <= one.read
