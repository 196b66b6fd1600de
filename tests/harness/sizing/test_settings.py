from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.cli.sizing import SizingFlags, asked_of
from harness.config import Config, load_config
from harness.errors import BadInputError
from harness.sizing.sizing import check_builds

if TYPE_CHECKING:
    from pathlib import Path

TOML = """
[capacity]
demand = "day.csv"
peak_window_s = 5
headroom = 0.3
price_per_gpu_hour = { fp16 = 4, awq = 2.5 }
gpus_per_replica = 2
"""
TRACE = "timestamp,prompt_tokens,output_tokens\n" + "".join(f"{n},10,5\n" for n in range(20))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "harness.toml").write_text(TOML)
    (tmp_path / "day.csv").write_text(TRACE)
    return load_config(tmp_path / "harness.toml")


def test_nothing_said_nothing_sized() -> None:
    assert asked_of(None, Config()) is None
    assert asked_of(SizingFlags(), Config()) is None


def test_harness_toml_and_a_trace_beside_it(config: Config) -> None:
    asked = asked_of(None, config)
    assert asked is not None
    assert asked.demand is not None
    assert asked.demand.peak_rate == 1.0
    assert asked.terms.headroom == 0.3
    assert (asked.terms.price("awq"), asked.terms.price("nf4")) == (2.5, None)
    assert asked.terms.gpus("awq") == 2
    assert asked.terms.spare == 1


def test_flags_come_first(config: Config) -> None:
    flags = SizingFlags(headroom=0.0, price_per_gpu_hour="3", gpus_per_replica="awq=4", spare=2)
    asked = asked_of(flags, config)
    assert asked is not None
    assert (asked.terms.headroom, asked.terms.spare) == (0.0, 2)
    assert asked.terms.price("fp16") == 3.0
    assert (asked.terms.gpus("awq"), asked.terms.gpus("fp16")) == (4, None)


def test_a_rate_of_the_flags_needs_no_window_of_the_file(config: Config) -> None:
    asked = asked_of(SizingFlags(demand="7/s"), config)
    assert asked is not None
    assert asked.demand is not None
    assert asked.demand.peak_rate == 7.0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"headroom": 1.0}, "--headroom: should be less than 1, not 1.0"),
        ({"headroom": -0.1}, "--headroom: should be greater than or equal to 0, not -0.1"),
        ({"spare": -1}, "--spare: should be greater than or equal to 0, not -1"),
        ({"months": 121}, "--months: should be less than or equal to 120, not 121"),
        ({"growth_per_month": -1.0}, "--growth-per-month: should be greater than -1"),
        ({"price_per_gpu_hour": "free"}, '--price-per-gpu-hour: "free" is no price above 0'),
        ({"price_per_gpu_hour": "a=1,a=2"}, '--price-per-gpu-hour: "a" is there twice'),
        ({"gpus_per_replica": "1.5"}, "--gpus-per-replica: should be a valid integer"),
        ({"output_price_ratio": 0.0}, "--output-price-ratio: should be greater than 0"),
        ({"gpu_memory_gib": -1.0}, "--gpu-memory-gib: should be greater than 0"),
        ({"context": 0}, "--context: should be greater than or equal to 1, not 0"),
        ({"peak_window": 0.0, "demand": "x.csv"}, "--peak-window: should be greater than 0"),
        ({"demand": "x.csv"}, "--demand: 'x.csv' is neither a rate nor a file that is there"),
    ],
)
def test_flags_that_cannot_be(flags: dict[str, Any], said: str) -> None:
    flags = {"demand": "10"} | flags
    with pytest.raises(BadInputError) as caught:
        asked_of(SizingFlags(**flags), Config())
    assert said in str(caught.value)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(BadInputError) as caught:
        asked_of(SizingFlags(demand="1", headroom=2.0, spare=-1), Config())
    assert "--headroom" in str(caught.value)
    assert "--spare" in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "flag"),
    [({"months": 3}, "--months"), ({"mean_demand": "3"}, "--mean-demand")],
)
def test_what_goes_with_a_demand(flags: dict[str, Any], flag: str) -> None:
    with pytest.raises(BadInputError, match=f"{flag} goes with --demand"):
        asked_of(SizingFlags(**flags), Config())


def test_mistakes_of_the_file_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "harness.toml"
    path.write_text("[capacity]\nheadrom = 0.2\nspare = -1\n")
    with pytest.raises(BadInputError) as caught:
        load_config(path)
    assert 'harness.toml:2: capacity.headrom: unknown field (did you mean "headroom"?)' in str(
        caught.value
    )
    assert "harness.toml:3: capacity.spare: should be greater than or equal to 0, not -1" in str(
        caught.value
    )


def test_a_file_prices_builds_that_are_not_measured(config: Config) -> None:
    settings = config.capacity
    assert settings is not None
    with pytest.raises(BadInputError, match="is not among the builds: other"):
        check_builds(["other"], settings.terms)
    check_builds(["other"], settings.terms, besides=config.priced)
