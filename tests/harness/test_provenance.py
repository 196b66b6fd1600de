from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from harness import __version__
from harness.provenance import git, gpus, host, packages, provenance

if TYPE_CHECKING:
    from pathlib import Path


def test_host_is_plain_json_and_plausible() -> None:
    found = json.loads(json.dumps(host()))
    assert found["cores"] == os.cpu_count()
    assert 0 < found["cores_usable"] <= found["cores"]
    assert 0.1 < found["memory_gib"] < 100_000
    assert found["cpu"]
    assert found["kernel"] == os.uname().release


def test_packages_hold_the_harness_and_what_moves_numbers() -> None:
    found = packages()
    assert found["serving-load-harness"] == __version__
    assert {"locust", "gevent", "httptools", "msgspec"} <= found.keys()


def test_no_environment_variable_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hidden-value-1")
    monkeypatch.setenv("OPENAI_API_KEY", "hidden-value-2")
    assert "hidden-value" not in json.dumps(provenance(tmp_path))


def test_git_before_and_after_the_first_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    repository = tmp_path / "repository"
    repository.mkdir()
    assert git(repository) is None

    def run(*argv: str) -> str:
        command = ["git", "-C", str(repository), "-c", "user.name=n", "-c", "user.email=e@x"]
        done = subprocess.run([*command, *argv], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    run("init", "--quiet")
    assert git(repository) == {"commit": None, "dirty": False}
    (repository / "file").write_text("1")
    run("add", "file")
    run("commit", "--quiet", "--no-verify", "--message=m")
    commit = run("rev-parse", "HEAD")
    assert git(repository) == {"commit": commit, "dirty": False}
    (repository / "file").write_text("2")
    assert git(repository) == {"commit": commit, "dirty": True}


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (
            "echo 'NVIDIA H200, 143771, 580.65.06'",
            [{"name": "NVIDIA H200", "memory_gib": 140.4, "driver": "580.65.06"}],
        ),
        ("echo 'GH200, [N/A], 1'", [{"name": "GH200", "memory_gib": None, "driver": "1"}]),
        ("echo 'No devices were found'", []),
        ("exit 9", []),
    ],
    ids=["one", "memory unknown", "none", "driver broken"],
)
def test_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: list[dict[str, object]]
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus() == found


def test_without_any_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    assert git(tmp_path) is None
