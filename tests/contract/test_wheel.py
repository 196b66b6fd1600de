from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"harness", "launchers", "loadprofiles", "evals"}
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv*", ".*cache", ".hypothesis", "__pycache__"),
    *("runs", "dist", "build", "tests", "benchmarks", "demo_model"),
)  # .gitignore comes along: hatchling obeys it
# Settings that would let pip or Python look into the checkout.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER", "PIP_PREFIX", "PIP_ROOT")


def clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key not in FOREIGN}


def run(*argv: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves nothing behind in the checkout."""
    source = tmp_path_factory.mktemp("source") / "copy"
    shutil.copytree(ROOT, source, ignore=LEFT_OUT)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", out, ".", cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `harness` command of an environment with the wheel, and our dependencies behind it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    scheme = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    command = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    run(*command, "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    # Behind it in the search order: a checkout installed there as editable stays unseen.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "harness"


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_exactly_the_four_packages(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in names(wheel)}
    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES
    assert len(top) == len(PACKAGES) + 1


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    tracked = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert tracked - set(names(wheel)) == set()
    for needed in ("launchers/builds/awq.toml", "loadprofiles/profiles/bursty.toml"):
        assert needed in tracked
    for model in ("fp16", "gptq", "awq", "int8", "fp8", "damaged"):
        assert f"launchers/models/demo-{model}/model.safetensors" in tracked
    assert any(name.startswith("launchers/requirements/") for name in tracked)
    assert "harness/reports/page/page.js" in tracked
    assert "harness/reports/page/templates/page.html.j2" in tracked


def test_no_path_of_this_machine_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        found = [n for n in archive.namelist() if str(ROOT).encode() in archive.read(n)]
    assert found == []


def test_the_installed_command_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    from harness import __version__

    assert run(installed, "--version", cwd=tmp_path).strip() == __version__
    code = "import harness, launchers, loadprofiles, evals\n" + "\n".join(
        f"print({name}.__file__)" for name in sorted(PACKAGES)
    )
    python = installed.with_name("python")
    places = run(python, "-c", code, cwd=tmp_path).splitlines()
    assert len(places) == len(PACKAGES)
    assert all(Path(place).is_relative_to(installed.parents[1]) for place in places)


def test_its_data_came_along(installed: Path, tmp_path: Path) -> None:
    servers = json.loads(run(installed, "list", "servers", "--json", cwd=tmp_path))
    assert {server["name"] for server in servers} >= {"fp16", "gptq", "awq", "nf4", "damaged"}
    problems = [str(server["problem"]) for server in servers]
    assert not any("no demo model" in problem for problem in problems), problems
    profiles = json.loads(run(installed, "list", "profiles", "--json", cwd=tmp_path))
    assert {profile["name"] for profile in profiles} >= {"bursty", "steady", "closed", "batch1"}
