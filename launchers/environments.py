"""Managed environments: a virtual environment of its own for an engine that pip can install.

One file of `launchers/requirements/` describes one environment, every package pinned; a name that
ends in `.txt` is the path of such a file elsewhere. The harness's own environment never sees any
of it. What has to be compiled is a source distribution among the pins; lines `#: NAME=VALUE` set
variables that tell pip and the package's build how.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from launchers.errors import InstallError, RequirementsError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REQUIREMENTS = Path(__file__).parent / "requirements"
MARKER = "installed-from"
"""Holds the digest of the requirements; written last, so an interrupted install has none."""
TAIL_LINES = 15
KEPT_LINES = 80
"""Before what pip itself says of a build that failed is cut off."""
VERDICT = "subprocess-exited-with-error"
STEP = re.compile(r"\[(\d+)/(\d+)\] ")
"""How ninja begins a line for each file that it compiles."""
STEPS_TOLD = 20
SETTING = "#: "
PINNED = re.compile(r"[A-Za-z0-9][\w.-]*(?:\[[^\]]*\])?==[^\s=*;]+(?=[\s;]|$)")
ISOLATED = {"PYTHONSAFEPATH": "1", "PYTHONPATH": "", "PYTHONHOME": ""}
"""Keeps modules of the current folder and of the user's shell from a managed Python, and from all
that it starts: not all of them inherit its option -P."""
# Settings of the user's shell with which pip would install something else, or somewhere else.
FOREIGN = {"PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PIP_PYTHON", "PIP_DRY_RUN"}
FOREIGN |= {"PIP_REQUIREMENT", "PIP_EDITABLE"}
# Constraints, which pip's own settings may hold too, could but contradict exact pins.
UNCONSTRAINED = {"PIP_CONSTRAINT": os.devnull}
CHECK = """
import sys
from importlib.metadata import PackageNotFoundError, version
from pip._vendor.packaging.requirements import Requirement

def is_there(pin):
    try:
        return pin.specifier.contains(version(pin.name), prereleases=True)
    except PackageNotFoundError:
        return False

pins = map(Requirement, sys.argv[1:])
wanted = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
missing = [str(pin) for pin in wanted if not is_there(pin)]
sys.exit("not there: " + ", ".join(missing) if missing else 0)
"""
"""Run by the environment's Python with the pins as arguments."""
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def environments() -> dict[str, Path]:
    """Name → requirements file of every environment that can be installed."""
    return {path.stem: path for path in sorted(REQUIREMENTS.glob("*.txt"))}


def environment_folder(name: str) -> Path:
    """Where the environment lies once installed: a folder of its own for each set of pins.

    Raises:
        UnknownNameError: no requirements file has that name.
    """
    return _folder(name, _pins(name))


def installed(name: str) -> Path | None:
    """The environment's Python, or None when it is missing or half-made."""
    pins = _pins(name)
    return _installed(_folder(name, pins), pins)


def install(name: str, on_line: Callable[[str], None]) -> Path:
    """Make the environment unless it is there, and return its Python.

    Takes minutes and gigabytes. `on_line` hears how far pip is. Two installs at once are safe:
    the second waits for the first.

    Raises:
        UnknownNameError: no requirements file has that name.
        InstallError: pip failed, with its last lines; or the cache cannot be written.
    """
    pins = _pins(name)
    folder = _folder(name, pins)
    try:
        if python := _installed(folder, pins):
            return python
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(folder.name + ".lock"), on_line) as lock:
            if python := _installed(folder, pins):
                return python
            if folder.exists():
                on_line(f"removing the unfinished environment {folder}")
                shutil.rmtree(folder)
            _make(name, folder, pins, lock, on_line)
    except BrokenPipeError:  # nobody listens to `on_line` any more
        raise
    except OSError as error:
        raise InstallError(
            f"cannot install {name} into {folder}: {error}; set HARNESS_CACHE to a folder that can "
            "be written"
        ) from error
    return folder / "bin" / "python"


def _make(name: str, folder: Path, pins: str, lock: int, on_line: Callable[[str], None]) -> None:
    python = str(folder / "bin" / "python")
    on_line(f"making {folder}")
    argv = [sys.executable, "-m", "venv", str(folder)]
    _run(argv, lock, on_line, f"cannot make {folder}")
    _run(
        [
            *(python, "-m", "pip", "install", "--no-deps", "--no-input"),
            *("--disable-pip-version-check", "--progress-bar", "off"),
            *("-r", str(_requirements(name))),
        ],
        lock,
        _progress(pins, on_line),
        f"pip could not install {name} into {folder}",
        _settings(pins),
    )
    argv = [python, "-c", CHECK, *_lines(pins)]
    _run(argv, lock, on_line, f"pip said that {name} is in {folder}, and it is not")
    written = folder / f"{MARKER}.new"
    written.write_text(_digest(pins))
    written.rename(folder / MARKER)


def _progress(pins: str, on_line: Callable[[str], None]) -> Callable[[str], None]:
    """Turn pip's lines, some hundreds, into what a person wants to know."""
    total = len(_lines(pins))
    seen = told = 0

    def hear(line: str) -> None:
        nonlocal seen, told
        if step := STEP.match(line.strip()):
            done, of = map(int, step.groups())
            if done * STEPS_TOLD // of != told:
                told = done * STEPS_TOLD // of
                on_line(f"compiled {done} of {of} parts")
            return
        word, _, rest = line.strip().partition(" ")
        package = rest.partition(" ")[0].rpartition("/")[2]
        if line.startswith(" ") and word != "Downloading":
            return  # what a package's own build wants or says
        if word in {"Collecting", "Processing"}:
            seen += 1
            on_line(f"package {seen} of about {total}: {package}")
        elif word == "Downloading":
            on_line(f"downloading {rest}")
        elif word == "Installing":
            on_line("unpacking and compiling: some minutes without a word from pip")
        elif word == "Successfully":
            on_line(f"{seen} packages installed")

    return hear


def _run(
    argv: Sequence[str],
    lock: int,
    on_line: Callable[[str], None],
    failure: str,
    more: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run a command, of which nothing is left when this raises or this process is killed.

    It has this process's environment with `more`, and without what would lead pip astray.

    Its standard input is the lock, which so reaches all of its descendants: other descriptors are
    closed on the way.
    """
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    tail: deque[str] = deque(maxlen=KEPT_LINES)
    # fmt: off
    with subprocess.Popen(
        argv, stdin=lock, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", env={**environment, **ISOLATED, **UNCONSTRAINED, **more},
        start_new_session=True, preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call
    ) as process:
        # fmt: on
        try:
            for line in process.stdout or ():
                text = line.rstrip()
                if text and "neither a file nor a directory" not in text:
                    tail.append(text)
                    on_line(text)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise InstallError(f"{failure} (exit status {process.returncode}):\n" + _explain([*tail]))


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _explain(tail: Sequence[str]) -> str:
    if any("See above for output" in line for line in tail):
        # What pip adds to a build's own words says nothing.
        end = next((n for n, line in enumerate(tail) if VERDICT in line), len(tail))
        tail = tail[:end]
    text = "\n".join(f"  {line}" for line in tail[-TAIL_LINES:])
    if any("CMAKE_C_COMPILER" in line or "CMAKE_CXX_COMPILER" in line for line in tail):
        text += (
            "\nIt is compiled here, and there is no compiler: install one for C and C++ "
            "(Debian and Ubuntu: apt install build-essential; Fedora: dnf install gcc-c++)."
        )
    elif any("No matching distribution found for torch" in line for line in tail):
        text += (
            "\nThe package index in use has no CPU build of torch. Point pip at one that has it "
            "(PIP_EXTRA_INDEX_URL, or PIP_FIND_LINKS for a folder of wheels) and try again."
        )
    elif any("ensurepip" in line for line in tail):
        text += "\nThis Python cannot make virtual environments: install its venv package."
    return text


@contextmanager
def _locked(path: Path, on_line: Callable[[str], None]) -> Iterator[int]:
    """Hold the lock file and yield its descriptor.

    The kernel lets go of it when this process has ended, in whatever way, and so have all that
    inherit the descriptor: they could go on writing after a SIGKILL of this process.
    """
    with path.open("a+") as file:  # as an input it is at its end
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_line(f"waiting for another install to finish ({path})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _folder(name: str, pins: str) -> Path:
    name = Path(name).name.removesuffix(".txt")
    versions = dict(line.split()[0].split(";")[0].split("==") for line in _lines(pins))
    # Of a program that comes in a package of another name, that package's: the first one.
    version = versions.get(name) or next(iter(versions.values()))
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    parts = (name, version, python, platform.machine(), _digest(pins)[:8])
    return _cache() / "engines" / "-".join(parts)


def _installed(folder: Path, pins: str) -> Path | None:
    python = folder / "bin" / "python"
    try:
        complete = (folder / MARKER).read_text() == _digest(pins)
    except OSError:
        return None
    return python if complete and python.exists() else None


def _requirements(name: str) -> Path:
    if name.endswith(".txt"):
        return Path(name)
    known = environments()
    if name not in known:
        raise UnknownNameError("environment", name, known)
    return known[name]


def _pins(name: str) -> str:
    path = _requirements(name)
    try:
        pins = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RequirementsError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(pins.splitlines(), 1):
        if line in _lines(line) and not PINNED.match(line):
            raise RequirementsError(
                f"{path}:{number}: {line.strip()!r} pins no version: write NAME==VERSION, as "
                "`pip freeze` does, for every package"
            )
    if not _lines(pins):
        raise RequirementsError(f"{path} names no package")
    return pins


def _lines(pins: str) -> list[str]:
    """Return the pins alone, without comments and pip's options."""
    return [line for line in pins.splitlines() if line and line[0] not in "#-"]


def _settings(pins: str) -> dict[str, str]:
    lines = (line for line in pins.splitlines() if line.startswith(SETTING))
    return dict(line.removeprefix(SETTING).split("=", 1) for line in lines)


def _digest(pins: str) -> str:
    return hashlib.sha256(pins.encode()).hexdigest()


def _cache() -> Path:
    if own := os.environ.get("HARNESS_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "serving-load-harness"
