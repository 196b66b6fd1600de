"""From which level on the other build is the better one."""

import math

import pytest

from harness.comparing.crossover import crossovers
from harness.comparing.rows import Crossover, Difference, LevelRow, Side


def found(ratios: dict[float, float], reach: float = 0.05) -> Crossover:
    """The crossing of e2e p50 of awq, by its ratio to fp16 at each level."""
    rows = [
        LevelRow(
            build="awq", profile="closed", level={"concurrency": level}, repeats=3, valid=True,
            metrics={}, against={"e2e_p50_ms": against(ratio, reach)},
        )
        for level, ratio in ratios.items()
    ]  # fmt: skip
    [one] = crossovers(rows, "fp16", {}, ["e2e_p50_ms"])
    return one


def against(ratio: float, reach: float) -> Difference:
    low, high = ratio * math.exp(-reach), ratio * math.exp(reach)
    side: Side = "better" if high < 1 else "worse" if low > 1 else "unlike"
    return Difference(difference=ratio - 1, ratio=ratio, ratio_ci95=(low, high), side=side)


def test_where_they_cross_between_two_levels_by_the_logarithm() -> None:
    one = found({1: 0.8, 4: 0.8, 16: 1.25, 64: 1.5})
    assert (one.below, one.above) == ("awq", "fp16")
    assert one.level == pytest.approx(8)  # half way from 4 to 16
    assert one.ci95 == (4, 16), "whatever the curve does between, it crosses there"
    low, high = one.line_ci95 or (0.0, 0.0)
    # Where the line from −0.223 to 0.223 is within ± 0.05.
    assert low == pytest.approx(4 * 4 ** ((0.2231 - 0.05) / 0.4463), rel=0.02)
    assert low * high == pytest.approx(64, rel=0.02)
    assert one.text.startswith("e2e p50: awq is faster up to 4 streams, fp16 from 16 on; ")
    assert "they cross at 8 (95 % " in one.text.replace("8.00", "8")


def test_a_level_at_which_they_are_alike_widens_the_interval() -> None:
    one = found({1: 0.8, 8: 1.01, 64: 1.25})
    assert one.ci95 == (1, 64)
    low, high = one.line_ci95 or (0.0, 0.0)
    assert 1 < low < 8 < high < 64
    assert one.level is not None
    assert low < one.level < 8


def test_no_crossing_is_told_only_of_levels_that_leave_no_doubt() -> None:
    one = found({1: 0.8, 8: 0.9, 64: 0.7})
    assert one.level is None
    assert one.text.startswith(
        "e2e p50: no crossing within 1–64 streams: awq is faster at every level."
    )
    open_ = found({1: 0.8, 8: 0.9, 64: 1.02})
    assert (open_.below, open_.above, open_.level) == ("awq", None, None)
    assert "at 64 no difference is shown, so whether they cross cannot be told" in open_.text


def test_what_cannot_be_told_is_said() -> None:
    assert "cannot be told" in found({1: 0.99, 64: 1.01}).text
    assert "changes more than once" in found({1: 0.8, 8: 1.25, 64: 0.8}).text


def test_throughput_counts_the_other_way() -> None:
    def tps(ratio: float) -> Difference:
        one = against(1 / ratio, 0.05)
        return Difference(
            difference=ratio - 1, ratio=ratio,
            ratio_ci95=(ratio * math.exp(-0.05), ratio * math.exp(0.05)), side=one.side,
        )  # fmt: skip

    rows = [
        LevelRow(
            build="awq", profile="closed", level={"concurrency": level}, repeats=2, valid=True,
            metrics={}, against={"aggregate_tps": tps(ratio)},
        )
        for level, ratio in ((1.0, 1.3), (16.0, 0.7))
    ]  # fmt: skip
    [one] = crossovers(rows, "fp16", {}, ["aggregate_tps"])
    assert (one.below, one.above) == ("awq", "fp16")
    assert 1 < (one.level or 0) < 16
