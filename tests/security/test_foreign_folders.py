"""Run folders and TOML from a stranger, opened by the real command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import BadInputError
from harness.foreign import LINE_BYTES, MANIFEST_BYTES, check_tree

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "tests/fixtures/runs"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUNS / "schema-1-load", tmp_path / "run"))


def report(run: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", "report", str(run), *argv],
        capture_output=True, text=True, timeout=30, check=False, cwd=run.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def refused(run: Path, *texts: str) -> None:
    done = report(run, "--format", "markdown")
    assert done.returncode == 2, done.stderr
    for text in texts:
        assert text in done.stderr
    assert done.stderr.replace("\n", "").isprintable()


def first(run: Path, name: str) -> Path:
    return min(run.rglob(name))


@pytest.mark.parametrize("name", ["measurements.json", "facts.json", "samples.jsonl", "telemetry"])
def test_a_pipe_is_refused_and_not_waited_for(run: Path, name: str) -> None:
    path = run / "cells" / "x" if name == "telemetry" else first(run, name)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    refused(run, str(path), "a pipe, a socket or a device")


@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd", "/etc", "../secret"])
def test_a_link_out_of_the_folder_is_refused(run: Path, target: str) -> None:
    (run.parent / "secret").write_text("mine\n")
    path = run / "measurements.json"
    path.unlink()
    path.symlink_to(target)
    refused(run, f"{path} is a link out of")


def test_a_link_within_the_folder_is_none_of_that(run: Path) -> None:
    (run / "measurements.json").rename(run / "numbers.json")
    (run / "measurements.json").symlink_to("numbers.json")
    (run / "gone").symlink_to("nothing")
    check_tree(run)
    assert report(run, "--format", "json").returncode == 0


def test_a_link_to_itself_ends(run: Path) -> None:
    (run / "loop").symlink_to("loop")
    with pytest.raises(BadInputError, match="cannot be looked at"):
        check_tree(run)


@pytest.mark.parametrize("cell", ["../../secret", "/etc", "..", ".", "a/b", "a\x00b", ""])
def test_a_cell_does_not_lead_out_of_the_folder(run: Path, cell: str) -> None:
    for name in ("manifest.json", "measurements.json"):
        found = json.loads((run / name).read_text())
        found["cells"][0]["id"] = cell
        (run / name).write_text(json.dumps(found))
    refused(run, "manifest.json", "cells[0].id")


@pytest.mark.parametrize("field", ["suite", "build"])
def test_a_pass_does_not_lead_out_of_the_folder(tmp_path: Path, field: str) -> None:
    run = Path(shutil.copytree(RUNS / "schema-1-eval", tmp_path / "run"))
    found = json.loads((run / "manifest.json").read_text())
    found["passes"][0][field] = "../../secret"
    (run / "manifest.json").write_text(json.dumps(found))
    refused(run, f"passes[0].{field}")


def _grow(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    ("name", "size", "text"),
    [
        ("manifest.json", MANIFEST_BYTES + 1, "more than 64 MiB"),
        ("measurements.json", 2**40, "more than 1024 MiB"),
        ("samples.jsonl", 10 * 2**30, "a line of more than 64 MiB"),
    ],
)
def test_sizes_have_limits(run: Path, name: str, size: int, text: str) -> None:
    path = first(run, name)
    _grow(path, size)
    refused(run, str(path), text)


def test_many_samples_are_no_long_line(run: Path) -> None:
    path = first(run, "samples.jsonl")
    with path.open("wb") as file:
        for _ in range(3):
            file.write(b"x" * (LINE_BYTES // 2 - 2) + b"\n")
    check_tree(run)
    with path.open("ab") as file:
        file.write(b"x" * LINE_BYTES + b"\n")
    with pytest.raises(BadInputError, match="a line of more than"):
        check_tree(run)


def _nest(text: str) -> str:
    return text.rstrip()[:-1] + ', "zq": ' + "[" * 100_000 + "]" * 100_000 + "}\n"


@pytest.mark.parametrize("name", ["manifest.json", "measurements.json", "plan.json", "facts.json"])
@pytest.mark.parametrize("change", [_nest, lambda _: "[" * 100_000], ids=["within", "all"])
def test_deep_documents_are_no_bug(run: Path, name: str, change: Callable[[str], str]) -> None:
    path = first(run, name)
    path.write_text(change(path.read_text()))
    done = report(run, "--format", "markdown")
    assert done.returncode in {0, 2}, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("depth", [500, 100_000])
def test_a_deep_toml_is_bad_input(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "run" / "deep.toml"
    path.parent.mkdir()
    path.write_text("a = " + "[" * depth + "]" * depth)
    done = subprocess.run(
        [sys.executable, "-m", "harness", "list", "servers", "--config", str(path)],
        capture_output=True, text=True, timeout=30, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["evil.py", "evil", "../evil", "os"])
def test_no_name_in_a_file_is_imported(tmp_path: Path, name: str) -> None:
    """Engines, graders, arrivals and dialects are those of the package, whatever a TOML says."""
    mark = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nENGINE = GRADER = ARRIVAL = 1\n")
    (tmp_path / "harness.toml").write_text(
        f"[builds.a]\nengine = {json.dumps(name)}\nmodel = 'm'\n"
        f"[profiles.b]\nlevels = [1]\n[profiles.b.arrival]\nkind = {json.dumps(name)}\n"
    )
    (tmp_path / "s.toml").write_text(
        f"[domain]\nitems = 'i.jsonl'\ntemplate = '{{input}}'\n"
        f"[domain.grader]\nkind = {json.dumps(name)}\n"
    )
    (tmp_path / "i.jsonl").write_text('{"id": "1", "input": "a", "expected": "b"}\n')
    for argv in (
        ["load", "--server", "a", "--profile", "b"],
        ["eval", "--url", "http://127.0.0.1:9", "--suite", "s.toml"],
        ["load", "--url", "http://127.0.0.1:9", "--profile", "steady", "--dialect", name],
    ):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "harness", *argv], cwd=tmp_path, capture_output=True,
            text=True, timeout=60, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
    assert not mark.exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    from harness.rundir import write_atomically

    mine = tmp_path / "mine"
    mine.write_text("kept")
    (tmp_path / f".report.html.{os.getpid()}.tmp").symlink_to(mine)
    write_atomically(tmp_path / "report.html", b"new")
    assert (mine.read_text(), (tmp_path / "report.html").read_text()) == ("kept", "new")
