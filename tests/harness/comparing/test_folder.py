"""A comparison's folder that `harness compare` wrote, weighed again."""

import json
import shutil
from pathlib import Path

import pytest

from harness.cli import run as cli
from harness.comparing.compare import compare
from harness.comparing.manifest import weigh
from harness.comparing.record import read_comparison
from harness.errors import BadInputError
from harness.evidence.evidence import read_evidence
from harness.rundir import RunFolder

FOLDER = Path(__file__).parents[3] / "tests/fixtures/runs/schema-1-comparison"


def test_a_real_folder_gives_the_same_numbers_from_its_samples() -> None:
    run = RunFolder(FOLDER)
    was = read_comparison(run)
    found = compare(
        read_evidence([run], anew=True),
        baseline=was.baseline,
        limits="e2e_p50_ms<=10000",
        allow_different=True,
    )
    assert found.builds == was.builds
    assert [(row.build, row.level, row.repeats) for row in found.load] == [
        (row.build, row.level, row.repeats) for row in was.load
    ]
    for row, before in zip(found.load, was.load, strict=True):
        for name, value in before.metrics.items():
            assert row.metrics[name].repeats == value.repeats, name
        for name, against in before.against.items():
            assert row.against[name].ratio == against.ratio, name
    assert {one.limit for held in found.recommendation.limits.values() for one in held} >= {
        "e2e_p50_ms<=10000"
    }
    assert all(server.ready_s is not None for server in found.servers)


def test_a_moved_folder_says_the_same_and_renders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, moved = tmp_path / "first", tmp_path / "elsewhere" / "renamed"
    shutil.copytree(FOLDER, first)
    assert cli(["report", str(first), "--format", "json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert before["runs"] == ["load", "quality"]
    moved.parent.mkdir()
    first.rename(moved)
    for name in ("json", "html", "markdown"):
        assert cli(["report", str(moved), "--format", name]) == 0
        told = capsys.readouterr()
        assert told.err == "", "nothing to compute anew"
        if name == "json":
            assert json.loads(told.out) == before
    assert (moved / "report.html").is_file()


def test_a_run_that_is_gone_is_named_and_the_comparison_of_it_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, out = tmp_path / "part", tmp_path / "out"
    shutil.copytree(FOLDER, part)
    assert cli(["compare", str(part / "load"), str(part / "quality"), "--out", str(out),
                "--allow-different", "--quiet", "--json"]) in {0, 4}  # fmt: skip
    before = json.loads(capsys.readouterr().out)
    assert before["runs"] == [str(part / "load"), str(part / "quality")]
    shutil.rmtree(part / "load")
    [folder] = out.iterdir()
    assert cli(["report", str(folder), "--format", "json"]) == 0
    told = capsys.readouterr()
    assert f"comparison.json stays as it was: {part / 'load'} not there any more" in told.err
    assert json.loads(told.out) == before
    with pytest.raises(BadInputError, match=f"are not there any more: {part / 'load'}"):
        weigh(RunFolder(folder))


def test_what_the_files_of_builds_differ_in_is_a_caveat_where_no_server_tells_of_it(
    tmp_path: Path,
) -> None:
    shutil.copytree(FOLDER, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    run.write_manifest(run.read_manifest() | {"unlike": ["environment X: fast 1, slow 2"]})
    [caveat] = [one for one in weigh(run).caveats if one.code == "unlike"]
    assert "environment X: fast 1, slow 2" in caveat.text
