from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness import rundir
from harness.errors import BadInputError
from harness.measuring.measurement import Caveat, Measurements, RunInfo
from harness.rundir import RunFolder, write_atomically


def measurements(*, valid: bool = True) -> Measurements:
    run = RunInfo(
        id="r", path="p", started="2026-11-21T00:00:00Z", command="c", seed=1, harness_version="0"
    )
    return Measurements(run=run, cells=[], valid=valid, caveats=[Caveat("few", "too few")])


def test_create_names_the_folder_by_time_and_slug(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "new" / "runs", "Bursty: AWQ/x")
    assert re.fullmatch(r"\d{8}T\d{6}Z-bursty-awq-x", folder.path.name)
    assert list(folder.path.iterdir()) == []


def test_create_finds_a_free_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [rundir._make_free(tmp_path, "same").name for _ in range(3)]
    assert made == ["same", "same-2", "same-3"]
    monkeypatch.chdir(tmp_path)
    assert RunFolder.create(Path("runs"), "x").path.is_absolute()


@pytest.mark.parametrize("slug", ["", "///", "…"])
def test_slug_without_letters(tmp_path: Path, slug: str) -> None:
    assert RunFolder.create(tmp_path, slug).path.name.endswith("Z-run")


def test_create_under_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match=r"cannot write .*file") as caught:
        RunFolder.create(tmp_path / "file" / "runs", "x")
    assert caught.value.exit_code == 2
    assert "--out" in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_create_on_a_full_disk_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def full(path: Path, *args: str) -> object:
        return real(Path("/dev/full"), "wb") if path.name.endswith(".tmp") else real(path, *args)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(BadInputError, match="No space left"):
        RunFolder.create(tmp_path, "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_create_in_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(BadInputError, match="Permission denied"):
        RunFolder.create(tmp_path, "x")


def test_open_suggests_the_nearest_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "bursty")
    folder.write_manifest({})
    assert RunFolder.open(folder.path).path == folder.path
    with pytest.raises(BadInputError, match=f'did you mean "{folder.path.name}"'):
        RunFolder.open(Path(f"{folder.path}x"))
    with pytest.raises(BadInputError, match="no run folder"):
        RunFolder.open(tmp_path / "none" / "none")


def test_open_refuses_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no manifest\.json"):
        RunFolder.open(tmp_path)


def test_manifest_round_trip(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    folder.write_manifest({"path": Path("a/b"), "rate": float("inf"), "cells": [{"id": "c"}]})
    expected = {"schema": 1, "path": "a/b", "rate": None, "cells": [{"id": "c"}]}
    assert folder.read_manifest() == expected
    assert json.loads((folder.path / "manifest.json").read_text()) == expected


def test_manifest_with_what_json_cannot_hold_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="object"):
        RunFolder.create(tmp_path, "x").write_manifest({"x": object()})


def test_measurements_round_trip(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    folder.write_measurements(measurements(valid=False))
    assert folder.read_measurements() == measurements(valid=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "truncated"),
        (b'{"schema": 2}', "schema 2; this harness knows 1"),
        (b'{"schema": 1, "run": 3}', r"Expected `object`, got `int` - at `\$.run`"),
        (b"{}", "missing required field `schema`"),
    ],
    ids=["half a file", "newer", "wrong type", "no schema"],
)
def test_broken_measurements_say_where(tmp_path: Path, content: bytes, message: str) -> None:
    folder = RunFolder.create(tmp_path, "x")
    (folder.path / "measurements.json").write_bytes(content)
    with pytest.raises(BadInputError, match=message) as caught:
        folder.read_measurements()
    assert "measurements.json" in str(caught.value)


def test_cells_and_servers_are_created_and_cannot_leave_the_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    cell = folder.cell("awq-bursty-r10.5-1")
    assert cell.is_dir()
    assert cell == folder.path / "cells" / "awq-bursty-r10.5-1" == folder.cell(cell.name)
    assert folder.server("awq") == folder.path / "servers" / "awq"
    for name in ("../x", "", ".hidden", "a/b", "/etc"):
        with pytest.raises(BadInputError, match="cannot name a folder"):
            folder.cell(name)


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "measurements.json"
    write_atomically(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BadInputError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["measurements.json"]


def test_the_file_is_whole_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        steps.append("fsync")
        real_fsync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        steps.append(f"replace {path.read_bytes()!r}")
        return real_replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_atomically(tmp_path / "f", b"data")
    assert steps == ["fsync", "replace b'data'", "fsync"]


def test_what_a_killed_writer_left_is_gone_once_a_run_goes_on(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    cell = folder.cell("awq-closed-c1-1")
    for pid in (died.pid, os.getpid()):
        (cell / f".plan.json.{pid}.tmp").touch()
    (cell / "notes.tmp").touch()
    with folder.claimed():
        assert {path.name for path in cell.iterdir()} == {
            f".plan.json.{os.getpid()}.tmp", "notes.tmp",
        }  # fmt: skip


def test_measurements_on_disk_are_plain_json(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    folder.write_measurements(measurements())
    text = (folder.path / "measurements.json").read_bytes()
    assert text.endswith(b"}\n")
    assert msgspec.json.decode(text)["caveats"] == [
        {"code": "few", "text": "too few", "invalidates": False}
    ]
