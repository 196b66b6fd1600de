from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
PACKAGES = ("harness", "launchers", "loadprofiles", "evals")
MAX_LINES = 400
MAX_ENGINE_LINES = 120
ENGINES_PAGE = ROOT / "docs/engines.md"
HEAVY = ("locust", "gevent", "torch", "pydantic", "numpy", "httpx")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_the_checkout_is_what_is_tested() -> None:
    assert Path(harness.__file__).parents[1] == ROOT
    assert len(SOURCES) > 20


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert {str(path): n for path, n in lengths.items() if n > MAX_LINES} == {}


def test_an_engine_is_one_short_file() -> None:
    engines = [path for path in (ROOT / "launchers/engines").glob("*.py") if path.stem[0] != "_"]
    assert len(engines) > 1
    lengths = {path.name: len(path.read_text().splitlines()) for path in engines}
    assert {name: n for name, n in lengths.items() if n > MAX_ENGINE_LINES} == {}
    told = re.findall(r"^ +(\d+) launchers/engines/(\S+)$", ENGINES_PAGE.read_text(), re.MULTILINE)
    assert {name: int(n) for n, name in told} == lengths


def test_no_utils() -> None:
    vague = re.compile(r"(utils?|helpers?|common|misc)(\.py)?")
    folders = {folder for path in SOURCES for folder in path.relative_to(ROOT).parents}
    names = [*SOURCES, *folders]
    assert [str(path) for path in names if vague.fullmatch(path.name)] == []


def test_only_harness_prints() -> None:
    children = {"loadprofiles/drive.py", "loadprofiles/driving/session.py"}
    prints = re.compile(r"^\s*print\(", re.MULTILINE)
    leaves = [path.relative_to(ROOT) for path in SOURCES if ROOT / "harness" not in path.parents]
    loud = {str(path) for path in leaves if prints.search((ROOT / path).read_text())}
    assert loud <= children, "programs of their own may print; nothing else outside harness"


def test_imports_keep_to_the_layers() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", ["harness", "harness.__main__", "harness.cli"])
def test_the_command_line_imports_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded.isdisjoint(HEAVY)
    assert loaded.isdisjoint({"launchers", "loadprofiles", "evals"})


def test_no_command_imports_what_patches_the_process() -> None:
    commands = sorted(path.stem for path in (ROOT / "harness" / "cli").glob("[a-z]*.py"))
    assert "load" in commands
    code = (
        "import importlib, json, sys\n"
        "def heavy(name):\n"
        "    importlib.import_module(name)\n"
        "    return [one for one in ('locust', 'gevent', 'torch') if one in sys.modules]\n"
        "print(json.dumps({name: heavy(name) for name in sys.argv[1:]}))\n"
    )
    names = ["harness.load.run", *(f"harness.cli.{command}" for command in commands)]
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {name: [] for name in names}


def schema_generator() -> ModuleType:
    path = ROOT / "docs" / "generate_schemas.py"
    spec = importlib.util.spec_from_file_location("generate_schemas", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_schemas_are_up_to_date() -> None:
    assert schema_generator().outdated() == [], "run python docs/generate_schemas.py"
