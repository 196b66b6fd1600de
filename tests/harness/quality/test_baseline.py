from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.made.evaluation import MadeRun, answers
from harness.errors import BadInputError
from harness.quality.baseline import check_run, copy_baseline, find_run
from harness.quality.evaluate import evaluate
from harness.quality.passes import Pass, check_folders, passes, read_pass
from harness.quality.request import EarlierRun
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def earlier(tmp_path: Path) -> RunFolder:
    """A run of two builds; the second one's second suite was not finished."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    run = MadeRun(folder, builds=["fp16", "gptq"], suites=["domain", "more"])
    for build in ("fp16", "gptq"):
        run.add(build, answers([True] * 50))
    run.add("fp16", answers([True] * 50), suite="more")
    run.add("gptq", answers([True] * 9), suite="more", ended="under_way", items=50)
    return run.folder()


def test_a_build_of_a_run_is_found(earlier: RunFolder) -> None:
    found = find_run(f"{earlier.path}:fp16")
    assert found is not None
    assert (found.run.path, found.build) == (earlier.path, "fp16")


def test_what_is_no_run_is_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fp16").mkdir()  # a folder of that name, but no run
    assert find_run("fp16") is None
    assert find_run("gptq") is None


def test_one_build_needs_no_name(tmp_path: Path) -> None:
    run = MadeRun(tmp_path).add("gptq", answers([True] * 5)).folder()
    found = find_run(str(run.path))
    assert found is not None
    assert found.build == "gptq"


@pytest.mark.parametrize(
    ("suffix", "text"),
    [("", "has several builds: fp16, gptq"), (":fp61", 'did you mean "fp16"')],
)
def test_a_run_must_say_which_build(earlier: RunFolder, suffix: str, text: str) -> None:
    with pytest.raises(BadInputError, match=text):
        find_run(f"{earlier.path}{suffix}")


def test_a_load_run_is_no_baseline(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_manifest({"request": {}})
    with pytest.raises(BadInputError, match="harness load"):
        find_run(str(tmp_path))


def test_all_suites_must_be_there_and_finished(earlier: RunFolder) -> None:
    check_run(EarlierRun(run=earlier, build="fp16"), ["domain", "more"])
    check_run(EarlierRun(run=earlier, build="gptq"), ["domain"])
    with pytest.raises(BadInputError, match="no finished answers of gptq to more"):
        check_run(EarlierRun(run=earlier, build="gptq"), ["domain", "more"])
    with pytest.raises(BadInputError, match="to other"):
        check_run(EarlierRun(run=earlier, build="fp16"), ["other"])


def test_a_copied_baseline_makes_the_folder_whole(earlier: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    new = MadeRun(tmp_path / "new", builds=["gptq"], baseline="baseline-fp16")
    new.add("gptq", answers([number > 4 for number in range(50)]))
    new.passes.append(Pass(suite="domain", build="baseline-fp16"))
    run = new.folder()
    name, facts = copy_baseline(EarlierRun(run=earlier, build="fp16"), new.passes, run)
    assert (name, facts.identity) == ("baseline-fp16", "fp16")
    record = read_pass(run.path / "evals" / "domain" / "baseline-fp16")
    assert (record.ended, record.copied_from) == ("done", "earlier")
    found = evaluate(run)
    against = found.suites[0].baseline  # type: ignore[union-attr]
    assert against is not None
    assert against.difference == pytest.approx(-0.1)


def test_passes_of_baseline_and_candidates() -> None:
    def whats(**fields: bool) -> list[str]:
        return [one.what for one in passes(["s"], "b", **fields)]

    assert whats(baseline=True, candidate=False, under_load=False) == ["idle"]
    assert whats(baseline=True, candidate=False, under_load=True) == ["idle", "again"]
    assert whats(baseline=False, candidate=True, under_load=True) == ["idle", "again", "load"]


def test_two_builds_never_share_a_folder() -> None:
    planned = [Pass(suite="s", build="a", what="load"), Pass(suite="s", build="a-load")]
    with pytest.raises(BadInputError, match="another name"):
        check_folders(planned)
