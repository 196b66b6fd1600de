from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from launchers import interpreters
from launchers.environments import ISOLATED
from launchers.interpreters import inherited, interpreter, package_versions

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write_program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_what_the_shell_sets_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("SHELL", "/bin/sh")
    found = inherited({"VLLM_LOGGING_LEVEL": "INFO"})
    assert found["OMP_NUM_THREADS"] == "2"
    assert "hf_secret" not in str(found)
    assert not found.keys() & {"SHELL", "VLLM_LOGGING_LEVEL"}


def test_versions_of_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "platform.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = package_versions(sys.executable, ("pytest", "no-such"), ISOLATED)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found.keys() == {"python", "pytest"}
    assert package_versions("/bin/false", (), {}) == {}
    assert package_versions("/no/such/python", (), {}) == {}
    monkeypatch.setattr(interpreters, "QUERY_LIMIT_S", 0.1)
    slow = write_program(tmp_path / "slow", "#!/bin/sh\nexec sleep 9\n")
    assert package_versions(slow, (), {}) == {}


def test_the_interpreter_of_a_command(tmp_path: Path) -> None:
    script = write_program(tmp_path / "vllm", "#!/opt/py/bin/python3.12\n")
    assert interpreter(["nice", script, "serve"], "vllm") == "/opt/py/bin/python3.12"
    write_program(tmp_path / "vllm", "#!/bin/sh\n")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "vllm").symlink_to(script)
    assert interpreter([str(tmp_path / "link" / "vllm")], "vllm") == str(tmp_path / "python")
    assert interpreter(["/x/python3", "-m", "vllm"], "vllm") == "/x/python3"
    assert interpreter(["/x/python-wrapper", "/no/such/vllm"], "vllm") is None


def test_a_managed_python_and_its_children_see_no_strangers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    code = (
        "import json, multiprocessing, os, subprocess, sys\n"
        "assert os.getcwd() not in sys.path and '' not in sys.path\n"
        "subprocess.run([sys.executable, '-c', 'import json'], check=True)\n"
        "context = multiprocessing.get_context('spawn')\n"
        "child = context.Process(target=__import__, args=('json',))\n"
        "child.start(); child.join(); sys.exit(child.exitcode)\n"
    )
    argv = [sys.executable, "-c", code]
    subprocess.run(argv, cwd=tmp_path, env=os.environ | ISOLATED, check=True)
