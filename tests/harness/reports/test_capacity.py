"""Reports of a search: every format says what it came to, and is computed of the folder alone."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import msgspec
import pytest

import harness
import harness.reports.capacity as package
from harness.capacity.result import CAPACITY_FILE
from harness.capacity.weigh import found_in, read_capacity, write_capacity
from harness.cli import run as cli
from harness.evidence.evidence import read_evidence
from harness.evidence.folders import CAPACITY, kind_of
from harness.explaining.explain import explain
from harness.reports.capacity import NAMES, load_report, words
from harness.reports.figures import figure
from harness.rundir import RunFolder
from harness.sizing.wording import replicas_of
from tests.harness.capacity.test_run import asked, in_place, search
from tests.harness.reports.searched import search_run

SCHEMA = Path(harness.__file__).parents[1] / "docs" / "schemas" / "capacity.json.schema.json"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return search_run(tmp_path_factory.mktemp("search"))


def test_the_formats_are_the_modules() -> None:
    modules = [one.name for one in pkgutil.iter_modules(package.__path__)]
    there = [name for name in modules if hasattr(
        importlib.import_module(f"{package.__name__}.{name}"), "REPORT")]  # fmt: skip
    assert sorted(there) == sorted(NAMES)


def test_a_first_probe_without_shares_leaves_the_table_its_columns(run: RunFolder) -> None:
    found = read_capacity(run)
    [one] = found.builds
    first, *others = one.probes
    empty = msgspec.structs.replace(first, met=None, limits=[])
    whole = words.probes(one, found)
    sheet = words.probes(msgspec.structs.replace(one, probes=[empty, *others]), found)
    assert sheet.columns == whole.columns
    assert {len(row) for row in sheet.rows} == {len(sheet.columns)}
    assert sheet.rows[1:] == whole.rows[1:]


def test_a_search_is_a_kind_of_run_that_is_a_load_run_too(run: RunFolder) -> None:
    assert kind_of(run) == CAPACITY
    assert explain(run, "vllm").cells, "its probes are an ordinary run's"


@pytest.mark.parametrize("name", ["terminal", "markdown", "html"])
def test_people_are_told_rate_probes_replicas_and_the_simulators_errors(
    run: RunFolder, name: str
) -> None:
    found, text = read_capacity(run), load_report(name).render(run)
    assert found.sizing is not None
    assert found.prediction is not None
    assert f"{found.max_rate:.4g} requests/s" in text
    for probe in found.probes:
        assert (f"{probe.rate:g}/s" if probe.rate else f"{probe.streams} stream") in text
    assert f" {replicas_of(found.sizing.builds[0].fleets[-1])} replicas" in text
    assert figure(found.sizing.builds[0].fleets[-1].usd_per_month) in text
    for one in found.prediction.held_out:  # on the terminal the largest error is enough
        assert figure(one.predicted) in text or name == "terminal"
    assert "with 1 down" in text
    assert "that it had not seen" in text


def test_the_answer_stands_first_on_a_terminal_and_nothing_twice(run: RunFolder) -> None:
    found, text = read_capacity(run), load_report("terminal").render(run)
    rate, replicas, *rest = [line for line in text.splitlines() if line.strip()]
    [one] = found.builds
    assert rate.startswith(f"{one.build}: {one.text[:60]}")
    assert replicas.startswith(f"{one.build}: {found.sizing.builds[0].text[:60]}")
    sentences = [line for line in rest if line.endswith(".")]
    assert len(sentences) == len(set(sentences))
    assert text.count("Could not be told") == 1


def test_weights_and_kernel_stand_with_the_answer(run: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(Path(shutil.copytree(run.path, tmp_path / "run")))
    server = {"scheme": "4-bit, group 128", "reported": {"linear_kernel": "MarlinLinearKernel"}}
    [one] = found_in(*read_evidence([copy]).load).builds
    copy.write_manifest({**copy.read_manifest(), "servers": {one.build: server}})
    write_capacity(copy)
    for name in ("terminal", "markdown"):
        text = load_report(name).render(copy)
        assert f"{one.build} (4-bit, group 128, MarlinLinearKernel): " in text


def test_the_markdown_ends_with_the_load_run(run: RunFolder) -> None:
    text = load_report("markdown").render(run)
    assert text.index("## Capacity: ") < text.index("## Sizing") < text.index("## Load: ")


def test_machines_get_capacity_json_samples_and_a_case_a_build(run: RunFolder) -> None:
    text = json.loads(load_report("json").render(run))
    jsonschema.validate(text, json.loads(SCHEMA.read_text()))
    held_out = text["prediction"]["held_out"]
    assert {"level", "metric", "predicted", "measured"} <= held_out[0].keys()
    rates = {probe["rate"] for probe in text["probes"]}
    assert {one["level"] for one in held_out} <= rates, "at levels that were measured"
    assert text["builds"][0]["prediction"] == text["prediction"]
    assert text["sizing"]["prediction"] == text["prediction"]
    assert len(text["prediction"]["fleets"]) == 2
    assert load_report("csv").render(run).count("\n") > 1000
    root = ET.fromstring(load_report("junit").render(run))  # noqa: S314 - our own
    [case] = root.iter("testcase")
    assert (case.get("classname"), len(list(case))) == ("url", 1)
    assert case.find("failure") is None
    assert "vllm" in NAMES


def test_a_limit_that_nothing_holds_is_a_failure(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        in_place(patch)
        search(asked("ttft_due_p95_ms<=40"), tmp_path)
    [folder] = tmp_path.iterdir()
    text = load_report("junit").render(RunFolder(folder))
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert root.get("failures") == "1"
    page = load_report("html").render(RunFolder(folder))
    assert "not met at any load" in page
    assert "no_prediction" in load_report("terminal").render(RunFolder(folder))


def test_a_search_that_was_cut_off_at_its_first_probe_has_reports(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        in_place(patch).stop_after = 0
        search(asked(), tmp_path)
    [folder] = tmp_path.iterdir()
    run = RunFolder(folder)
    assert read_capacity(run).builds == []
    for name in NAMES:
        assert len(load_report(name).render(run)) > (-1 if name == "vllm" else 50), name
    assert 'href="#capacity"' not in (folder / "report.html").read_text()


def test_it_is_computed_anew_where_it_is_gone_or_differs(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run.path / CAPACITY_FILE).read_bytes()
    (run.path / CAPACITY_FILE).unlink()
    assert cli(["report", str(run.path), "--format", "json"]) == 0
    told = capsys.readouterr()
    assert "computed anew from its probes" in told.err
    assert told.out.encode() == before == (run.path / CAPACITY_FILE).read_bytes()
    assert cli(["report", str(run.path), "--format", "markdown"]) == 0
    assert capsys.readouterr().err == ""
