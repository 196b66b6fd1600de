"""Sizing of whole run folders: a search on paper, and load runs beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.capacity.result import CAPACITY_FILE
from harness.capacity.weigh import weigh
from harness.cli.sizing import show_sizing, size_runs_at
from harness.errors import BadInputError, ExitCode
from harness.reports.figures import figure
from harness.rundir import RunFolder
from harness.sizing.asked import Asked
from harness.sizing.record import Demand, Terms
from harness.sizing.searched import of_most_servers
from tests.harness.capacity.test_run import asked, queue, search  # noqa: F401 - a fixture is used
from tests.harness.evidence.runs import load_run
from tests.harness.sizing.made import opened, supply

if TYPE_CHECKING:
    from pathlib import Path

SIZED = Asked(
    demand=Demand(source="500", peak_rate=500.0),
    terms=Terms(price_per_gpu_hour={"": 2.0}),
)
REQUEST = {"slo": "ttft_due_p95_ms<=200"}


@pytest.mark.usefixtures("queue")
def test_a_search_is_sized_and_sized_again_for_another_demand(tmp_path: Path) -> None:
    """8 slots of 80 ms hold 78.2/s; with a fifth left free 500/s take 8 of them, and a spare."""
    found, code = search(asked(probes=7, sizing=SIZED), tmp_path)
    assert code == ExitCode.OK
    assert 8 <= found.replicas <= 10
    low, high = found.replicas_range
    assert low <= found.replicas <= high
    assert found.sizing.demand == SIZED.demand
    [run] = tmp_path.iterdir()
    assert weigh(RunFolder(run)) == found, "a pure function of the folder"
    assert f"| url | {figure(found.max_rate)}/s (" in (run / "sizing.md").read_text()
    text = json.loads((run / CAPACITY_FILE).read_text())
    assert text["replicas"] == found.replicas
    assert text["cost_per_million_tokens"]["at"] == "demand"
    same = size_runs_at([run], None, SIZED)
    assert same.builds == found.sizing.builds
    assert same.builds[0].supply.rate_ci95 == found.max_rate_ci95
    other = size_runs_at([run], "ttft_due_p95_ms<=90", SIZED)
    assert other.builds[0].supply.basis == "open levels", "its probes are levels as any others"
    with pytest.raises(BadInputError, match="several searches of url"):
        size_runs_at([run, run], None, None)


@pytest.mark.usefixtures("queue")
def test_a_search_that_met_the_limits_nowhere_takes_no_number(tmp_path: Path) -> None:
    found, code = search(asked("ttft_due_p95_ms<=40", sizing=SIZED), tmp_path)
    assert (code, found.replicas) == (ExitCode.FAIL, None)
    assert "No rate is known that holds" in found.sizing.builds[0].text


@pytest.mark.usefixtures("queue")
def test_levels_of_a_build_that_a_search_tells_of_are_left_out_with_a_word(tmp_path: Path) -> None:
    search(asked(probes=7), tmp_path)
    [run] = tmp_path.iterdir()
    levels = load_run(tmp_path / "levels", [opened(10.0, 50.0, build="url")], request=REQUEST)
    slo = str(json.loads((run / CAPACITY_FILE).read_text())["slo"])
    found = size_runs_at([run, levels.path], slo, SIZED)
    [told] = [one for one in found.caveats if one.code == "levels_left_out"]
    assert "levels" in told.text
    assert found.builds[0].supply.basis == "search"


def test_of_several_deployments_the_largest_counts_and_tells_how_they_add_up() -> None:
    alone, pair = supply("url", 10.0), supply("url", 18.0, servers=2)
    [one] = of_most_servers([pair, alone])
    assert (one.servers, one.per_server, one.efficiency) == (2, 9.0, 0.9)
    [none] = of_most_servers([pair])
    assert none.efficiency is None
    [left] = of_most_servers([alone, supply("url", None, servers=2)])
    assert left.servers == 1, "two that hold nothing say nothing"


def test_load_runs_by_the_limits_that_they_were_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = load_run(tmp_path / "a", [opened(4, 50), opened(8, 300)], request=REQUEST)
    two = load_run(tmp_path / "b", [opened(9, 50, build="fp16")], request=REQUEST)
    sizing = size_runs_at([one.path, two.path], None, SIZED)
    assert [(b.build, b.supply.rate) for b in sizing.builds] == [("awq", 4.0), ("fp16", 9.0)]
    assert sizing.cheapest == "fp16"
    assert show_sizing(sizing, json=True, markdown=tmp_path / "sizing.md") == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["replicas"] == sizing.replicas == 158  # 500 / 3.2 = 156.25, and a spare
    assert {"slo", "max_rate", "replicas", "cost_per_million_tokens", "caveats"} <= shown.keys()
    assert "| fp16 | 9.00/s (at least 9.00) |" in (tmp_path / "sizing.md").read_text()
    strict = size_runs_at([one.path], "ttft_due_p95_ms<=10", SIZED)
    assert show_sizing(strict, json=False, markdown=None) == ExitCode.FAIL
    assert "No measured level held the limits" in capsys.readouterr().out


def test_limits_that_nobody_said_or_that_differ(tmp_path: Path) -> None:
    one = load_run(tmp_path / "a", [opened(4, 50)])
    with pytest.raises(BadInputError, match="asked for no limits"):
        size_runs_at([one.path], None, SIZED)
    two = load_run(tmp_path / "b", [opened(4, 50)], request=REQUEST)
    three = load_run(tmp_path / "c", [opened(4, 50)], request={"slo": "e2e_p95_ms<=9"})
    with pytest.raises(BadInputError, match="different limits"):
        size_runs_at([two.path, three.path], None, SIZED)
    with pytest.raises(BadInputError, match=r'"fp16" is not among the builds: awq'):
        size_runs_at(
            [two.path], None, Asked(demand=None, terms=Terms(gpus_per_replica={"fp16": 2}))
        )
