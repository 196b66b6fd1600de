"""Where a run was made and with what. Environment variables are never read into it."""

from __future__ import annotations

import os
import platform
import pwd
import re
import subprocess
from importlib import metadata
from pathlib import Path

from harness import __version__
from launchers.telemetry.records import GIB

PACKAGES = (
    "cyclopts",
    "gevent",
    "httptools",
    "httpx",
    "locust",
    "msgspec",
    "numpy",
    "psutil",
    "pydantic",
    "tokenizers",
)
"""Distributions whose version can change a number."""

_LIMIT_S = 10
"""No question to git or the GPU's driver may hold a run up for longer."""
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


def provenance(folder: Path) -> dict[str, object]:
    """The manifest's `host`, `git` (of `folder`; None outside a repository) and `packages`."""
    return {"host": host(), "git": git(folder), "packages": packages()}


def host() -> dict[str, object]:
    """The machine: CPU, memory (GiB), kernel, GPUs; a limit of its container where there is one."""
    return {
        **machine(),
        "cpu_flags": _cpu()[1],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 2),
        "memory_limit_gib": _cgroup_memory_gib(),
        "gpus": gpus(),
    }


def machine() -> dict[str, object]:
    """What decides how fast a program of ours runs: CPU, limit of the container, kernel, Python."""
    return {
        "cpu": _cpu()[0],
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "cpu_limit": _cgroup_cpus(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def gpus() -> list[dict[str, object]]:
    """Each NVIDIA GPU's name, memory (GiB) and driver, as `nvidia-smi` says; empty without it."""
    found = _output(
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader,nounits",
    )
    rows = [[cell.strip() for cell in line.split(",")] for line in (found or "").splitlines()]
    return [
        {
            "name": name,
            "memory_gib": round(int(mib) / 1024, 2) if mib.isdigit() else None,
            "driver": driver,
        }
        for name, mib, driver in (row for row in rows if len(row) == 3)  # noqa: PLR2004
    ]


def git(folder: Path) -> dict[str, object] | None:
    """`{"commit", "dirty"}` of the repository around `folder`; None where there is none.

    `commit` is None before the first one.
    """
    status = _output("git", "-C", str(folder), "--no-optional-locks", "status", "--porcelain")
    if status is None:
        return None
    commit = _output("git", "-C", str(folder), "rev-parse", "--verify", "--quiet", "HEAD")
    return {"commit": (commit or "").strip() or None, "dirty": bool(status.strip())}


def user(folder: Path) -> str | None:
    """Who runs this: the name and address that git has, else the account's name."""
    asked = [
        _output("git", "-C", str(folder), "config", f"user.{key}") for key in ("name", "email")
    ]
    name, address = ((text or "").strip() for text in asked)
    if name and address:
        return f"{name} <{address}>"
    try:
        return name or address or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an account without a name, as containers have
        return None


def packages() -> dict[str, str]:
    """Versions of the harness and of the installed distributions in `PACKAGES`."""
    found = {"serving-load-harness": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpu() -> tuple[str, list[str]]:
    """Model name, and those of its flags that decide which kernels an engine picks."""
    text = _read(Path("/proc/cpuinfo"))
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    name = model[1].strip() if model else platform.processor() or platform.machine()
    return name, [flag for flag in _CPU_FLAGS if flag in known]


def _cgroup_cpus() -> float | None:
    quota, _, period = _read(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    return int(quota) / int(period) if quota.isdigit() else None


def _cgroup_memory_gib() -> float | None:
    limit = _read(Path("/sys/fs/cgroup/memory.max")).strip()
    return round(int(limit) / GIB, 2) if limit.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _output(*argv: str) -> str | None:
    """What a command prints; None if it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
