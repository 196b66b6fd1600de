"""What this machine has of what a run needs, and how to get what it has not."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.calibration import find, sentence, summarize
from harness.config import Config, find_build, load_config
from harness.errors import BadInputError
from harness.provenance import PACKAGES, gpus, host
from launchers.engines import engines
from launchers.environments import environment_folder, environments, installed
from launchers.errors import LauncherError
from launchers.launch import plan_start
from launchers.model import builtin_builds
from launchers.telemetry.records import GIB
from loadprofiles.wire.clock import SO_TIMESTAMPNS, kernel_stamp_ns

if TYPE_CHECKING:
    from launchers.build import Build

MIN_PYTHON = (3, 11)
MAIN_BUILD = "awq"
"""The build of the first command in the README; `doctor` answers whether it can be served."""
_RENDERERS = ("jinja2", "rich")
_MIN_MEMORY_GIB = 4
_MIN_DISK_GIB = 0.1
_ENVIRONMENT_GIB = 5
_REINSTALL = "Install the package again; in a checkout, make the demo model."
_COMMANDS = (
    *("vllm", "llama-server", "transformers", "text-generation-launcher", "sglang"),
    *("docker", "podman"),
)
"""Programs on PATH that bring engines up."""
_INSTALL = "harness engines install"
_MIN_DESCRIPTORS = 4096
_STAMP_LIMIT_S = 2
_STAMP_TRIES, _STAMP_PAUSE_S = 20, 0.005


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warning", "missing"]
    """missing: a run on this machine cannot work without it."""
    text: str
    fix: str | None = None


def examine(config_path: Path | None = None) -> list[Check]:
    """Look at everything; starts no server and installs nothing."""
    config, configured = _configuration(config_path)
    return [
        _python(),
        *_packages(),
        _cpu(),
        _memory(),
        _kernel_stamps(),
        _calibration(),
        _descriptors(),
        _gpu(),
        *_engines(),
        *_builds(config),
        _disk(),
        configured,
    ]


def start_error(build: Build, base_dir: Path) -> LauncherError | None:
    """Why a build cannot be started on this machine as it is now; None if it can.

    Only its model, engine and arguments are looked at: nothing is started or installed.
    """
    try:
        plan_start(build, base_dir)
    except LauncherError as error:
        return error
    return None


def _python() -> Check:
    text = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info < MIN_PYTHON:
        return Check(name="python", status="missing", text=text, fix="Use Python 3.11 or newer.")
    return Check(name="python", status="ok", text=text)


def _packages() -> list[Check]:
    found, missing = [], []
    for name in (*PACKAGES, *_RENDERERS):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    checks = [Check(name="packages", status="ok", text=", ".join(found))] if found else []
    if missing:
        fix = f"{sys.executable} -m pip install {' '.join(missing)}"
        text = f"not installed: {', '.join(missing)}"
        checks.append(Check(name="packages", status="missing", text=text, fix=fix))
    return checks


def _cpu() -> Check:
    machine = host()
    usable = machine["cores_usable"]
    limit = machine["cpu_limit"]
    text = f"{machine['cpu']}, {usable} of {machine['cores']} cores usable"
    text += f", limited to {limit:g} by the container" if isinstance(limit, float) else ""
    if usable == 1 or (isinstance(limit, float) and limit < 2):  # noqa: PLR2004 - one for each side
        fix = "Give it two cores, or drive a server on another machine with --url."
        return Check(name="cpu", status="warning", text=text, fix=fix)
    return Check(name="cpu", status="ok", text=text)


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    text = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available"
    if memory.available < _MIN_MEMORY_GIB * GIB:
        fix = f"vLLM on the CPU wants {_MIN_MEMORY_GIB} GiB; stop other programs or use --url."
        return Check(name="memory", status="warning", text=text, fix=fix)
    return Check(name="memory", status="ok", text=text)


def _kernel_stamps() -> Check:
    delay_us = kernel_stamp_delay_us()
    if delay_us is None:
        text = "the kernel gives no receive stamps on loopback TCP"
        fix = "Runs still work, with the client's own clock; each report says so."
        return Check(name="kernel stamps", status="warning", text=text, fix=fix)
    text = f"receive stamps work (read {delay_us:.0f} us after the kernel's)"
    return Check(name="kernel stamps", status="ok", text=text)


def kernel_stamp_delay_us() -> float | None:
    """Send a byte over loopback TCP; how long after its `SO_TIMESTAMPNS` it was read, in us.

    None where the kernel gives no stamp, or one that lies outside sending and reading. It begins
    to stamp a little after the first socket of the machine has asked for it: hence several bytes.
    """
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname(), timeout=_STAMP_LIMIT_S) as sender,
        ):
            receiver, _ = listener.accept()
            with receiver:
                receiver.settimeout(_STAMP_LIMIT_S)
                receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                for _ in range(_STAMP_TRIES):
                    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
                    sender.sendall(b"x")
                    _, ancillary, _, _ = receiver.recvmsg(1, 64)
                    after = time.clock_gettime_ns(time.CLOCK_REALTIME)
                    if before <= (stamp := kernel_stamp_ns(ancillary)) <= after:
                        return (after - stamp) / 1000
                    time.sleep(_STAMP_PAUSE_S)
    except OSError:
        pass
    return None


def _calibration() -> Check:
    found = find()
    text = sentence(summarize(found)) if found else "not calibrated on this machine"
    if found is None or found.floor is None:
        fix = "harness calibrate   (reports then say how exact the client is here)"
        return Check(name="calibration", status="warning", text=text, fix=fix)
    return Check(name="calibration", status="ok", text=text)


def _descriptors() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{_limit(soft)} open files (at most {_limit(hard)})"
    if soft != resource.RLIM_INFINITY and soft < _MIN_DESCRIPTORS:
        fix = "ulimit -n 65536   (each stream is one open file)"
        return Check(name="file descriptors", status="warning", text=text, fix=fix)
    return Check(name="file descriptors", status="ok", text=text)


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else str(value)


def _gpu() -> Check:
    found = gpus()
    if not found:
        return Check(name="gpu", status="ok", text="no NVIDIA GPU; engines run on the CPU")
    text = "; ".join(f"{g['name']}, {g['memory_gib']} GiB, driver {g['driver']}" for g in found)
    return Check(name="gpu", status="ok", text=text)


def _engines() -> list[Check]:
    """Where engines could come from. That one is missing here is no failure by itself."""
    checks = [Check(name="engines", status="ok", text=", ".join(engines()))]
    for command in _COMMANDS:
        found = shutil.which(command)
        text = f"{command}: {found or 'not on PATH'}"
        checks.append(Check(name="engine", status="ok", text=text))
    for name in environments():
        python = installed(name)
        text = f"{name}: {python.parents[1] if python else 'not installed'}"
        if python is None:
            fix = f"{_INSTALL} {name}"
            checks.append(Check(name="engine", status="warning", text=text, fix=fix))
        else:
            checks.append(Check(name="engine", status="ok", text=text))
    return checks


def _builds(config: Config) -> list[Check]:
    """The demo model's builds; without `MAIN_BUILD` the first command fails."""
    names = [*builtin_builds()]
    checks = [_build(name, config) for name in names]
    if MAIN_BUILD not in names:
        text = f"the demo model's build {MAIN_BUILD} is not in the package"
        checks.append(Check(name="build", status="missing", text=text, fix=_REINSTALL))
    return checks


def _build(name: str, config: Config) -> Check:
    error: Exception | None
    try:
        error = start_error(*find_build(name, config))
    except BadInputError as mistake:
        error = mistake
    if error is None:
        return Check(name="build", status="ok", text=f"{name} can be served")
    severity: Literal["missing", "warning"] = "missing" if name == MAIN_BUILD else "warning"
    install = next(
        (f"{_INSTALL} {n}" for n in environments() if f"{_INSTALL} {n}" in str(error)), ""
    )
    if install and (room := _cache_room_gib()) >= _ENVIRONMENT_GIB:
        fix = f"The first run installs it; or do so now: {install}"
        return Check(name="build", status="warning", text=f"{name}: {error}", fix=fix)
    if install:
        fix = f"An engine wants {_ENVIRONMENT_GIB} GiB, there are {room:.1f}; set HARNESS_CACHE."
        return Check(name="build", status=severity, text=f"{name}: {error}", fix=fix)
    own = f"Correct [builds.{name}] in {config.path}."
    fix = own if name in config.builds else _REINSTALL
    return Check(name="build", status=severity, text=f"{name}: {error}", fix=fix)


def _cache_room_gib() -> float:
    """Free space where engines are installed, whether that folder exists yet or not."""
    folder = environment_folder(next(iter(environments())))
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / GIB


def _disk() -> Check:
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free / GIB
    text = f"{free:.1f} GiB free in {folder}"
    if not os.access(folder, os.W_OK):
        fix = "Change to a folder that you may write, or give --out DIR."
        return Check(name="disk", status="warning", text=f"{folder} cannot be written", fix=fix)
    if free < _MIN_DISK_GIB:
        fix = "Free some space, or give --out DIR."
        return Check(name="disk", status="missing", text=text, fix=fix)
    return Check(name="disk", status="ok", text=text)


def _configuration(path: Path | None) -> tuple[Config, Check]:
    try:
        config = load_config(path)
    except BadInputError as error:
        fix = "Correct the lines named."
        return Config(), Check(name="harness.toml", status="missing", text=error.text, fix=fix)
    if config.path is None:
        text = "none found upwards from here; only shipped builds and profiles have names"
        return config, Check(name="harness.toml", status="ok", text=text)
    text = f"{config.path}: {len(config.builds)} builds, {len(config.profiles)} profiles"
    return config, Check(name="harness.toml", status="ok", text=text)
