from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import BadInputError
from harness.sizing.demand import demand_of, read_demand
from loadprofiles.profile import builtin_profiles
from tests.harness.sizing.made import trace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "rate"),
    [("12", 12.0), ("12/s", 12.0), ("90/min", 1.5), (" 7200 per hour ", 2.0), ("1.5e2", 150.0)],
)
def test_a_rate(text: str, rate: float) -> None:
    assert read_demand(text).peak_rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "no rate above 0"),
        ("-3/s", "no rate above 0"),
        ("nan", "neither a rate nor a file"),
        ("1.2.3", "no rate above 0"),
        ("1e6/day", "says nothing of the peak"),
        ("1e6 per month", "says nothing of the peak"),
        ("12/parsec", 'unknown unit "parsec"'),
        ("no-such.csv", "neither a rate nor a file"),
    ],
)
def test_what_is_no_demand(text: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as caught:
        read_demand(text)
    assert str(caught.value).startswith("--demand")


def test_a_mean_beside_a_peak() -> None:
    assert read_demand("10", mean="120/min").mean_rate == 2.0
    with pytest.raises(BadInputError, match="--mean-demand: 11 is more than the peak"):
        read_demand("10", mean="11")
    with pytest.raises(BadInputError, match="--peak-window goes with a trace"):
        read_demand("10", window_s=60)


def test_a_trace_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [(0, 10, 5), (4, 20, 5), (9, 30, 5), (11, 40, 5), (13, 900, 100), (40, 20, 0)]
    lines = [",".join(map(str, row)) for row in rows]
    path.write_text("\n".join(["timestamp,prompt_tokens,output_tokens", *lines]) + "\n")
    found = read_demand("t.csv", base=tmp_path, window_s=10)
    assert found.peak_rate == 0.4, "4, 9, 11 and 13 lie within 10 s; no fixed grid has them so"
    assert found.rates == [0.3, 0.2, 0.0, 0.0]
    assert (found.requests, found.span_s, found.mean_rate) == (6, 40.0, 6 / 40)
    assert (found.prompt_tokens, found.output_tokens) == (170.0, 20.0)
    assert found.longest_tokens == 1000
    with pytest.raises(BadInputError, match="--mean-demand: a trace has its own"):
        read_demand(str(path), mean="1")
    with pytest.raises(BadInputError, match=r"--peak-window: 60 s must lie .* which lasts 40 s"):
        read_demand(str(path))


def test_the_layouts_that_a_replay_reads() -> None:
    shipped = builtin_profiles()["replay"].parent / "synthetic-trace.csv"
    found = read_demand(str(shipped))
    assert found.requests == 900
    assert found.mean_rate is not None
    assert found.peak_rate >= found.mean_rate


def test_a_broken_trace_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("timestamp,prompt_tokens,output_tokens\n0,1,1\nnever,1,1\n")
    with pytest.raises(BadInputError, match=r"--demand: .*line 3.*no time"):
        read_demand(str(path))


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 1000), min_size=2, max_size=60).filter(lambda at: max(at) > min(at)),
    st.integers(1, 1000),
)
def test_the_peak_is_that_of_every_window(at: list[int], window: int) -> None:
    times = np.sort(np.asarray(at, dtype=np.float64))
    times -= times[0]
    window = min(window, int(times[-1]))
    found = demand_of(trace(times.tolist()), "t", float(window))
    starts = np.arange(0, 1001)
    most = max(int(((times >= t) & (times < t + window)).sum()) for t in starts)
    assert found.peak_rate == pytest.approx(most / window)
    assert all(rate <= found.peak_rate + 1e-9 for rate in found.rates)
