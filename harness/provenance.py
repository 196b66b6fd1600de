"""Where a run was made and with what. Environment variables are never read into it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from harness import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

MASK = "***"
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

_GIB = 1 << 30
_LIMIT_S = 10
"""No question to git or the GPU's driver may hold a run up for longer."""
_SECRET_WORDS = frozenset(
    {
        *("apikey", "auth", "authorization", "cookie", "credential", "credentials", "key"),
        *("passwd", "password", "secret", "signature", "token"),
    }
)
_PAIR = re.compile(r"(?s)(?P<name>-{0,2}[A-Za-z][\w.-]*)(?P<mark>[=:]\s*)(?P<value>.+)")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+\S+")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_QUERY = re.compile(r"(?<=[?&])([\w.-]+)=([^&\s#]*)")
_KNOWN_KEY = re.compile(r"\b(sk-|hf_|ghp_|xox[a-z]-)[\w-]{8,}")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")


def provenance(folder: Path) -> dict[str, object]:
    """The manifest's `host`, `git` (of `folder`; None outside a repository) and `packages`."""
    return {"host": host(), "git": git(folder), "packages": packages()}


def host() -> dict[str, object]:
    """The machine: CPU, memory (GiB), kernel, GPUs; a limit of its container where there is one."""
    cpu, flags = _cpu()
    return {
        "cpu": cpu,
        "cpu_flags": flags,
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "cpu_limit": _cgroup_cpus(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 2),
        "memory_limit_gib": _cgroup_memory_gib(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "gpus": gpus(),
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


def packages() -> dict[str, str]:
    """Versions of the harness and of the installed distributions in `PACKAGES`."""
    found = {"serving-load-harness": __version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def mask_command(argv: Sequence[str]) -> list[str]:
    """The command line with every secret's value as `***`.

    The value of every `--header` is hidden. Secret, too, is the value of an option or query
    parameter whose name has a word such as key, token, secret, password, cookie or authorization;
    whatever follows `Bearer`; a URL's user; and what begins like a well-known service's key.
    `--api-key-env VAR` names no secret.
    """
    masked: list[str] = []
    hide_next = False
    for word in argv:
        bare_option = word.startswith("--") and "=" not in word
        if masked and masked[-1] == "--header":
            masked.append(_hide_value(word))
        elif word.startswith("--header="):
            masked.append("--header=" + _hide_value(word.removeprefix("--header=")))
        else:
            masked.append(MASK if hide_next and not bare_option else mask_text(word))
        hide_next = bare_option and is_secret(word)
    return masked


def _hide_value(header: str) -> str:
    """`K=V` or `K: V` without V."""
    name = re.match(r"[^=:]*[=:]\s*", header)
    return f"{name[0] if name else ''}{MASK}"


def mask_text(text: str) -> str:
    """One argument, header (`K=V` or `K: V`) or URL with its secrets as `***`."""
    pair = _PAIR.fullmatch(text)
    if pair and not pair["value"].startswith("//"):
        if is_secret(pair["name"]):
            return f"{pair['name']}{pair['mark']}{MASK}"
        if pair["name"].startswith("-"):  # --header=Authorization=…
            return f"{pair['name']}{pair['mark']}{mask_text(pair['value'])}"
    text = _BEARER.sub(rf"\1 {MASK}", text)
    text = _USERINFO.sub(f"{MASK}@", text)
    text = _QUERY.sub(lambda m: f"{m[1]}={MASK}" if is_secret(m[1]) else m[0], text)
    return _KNOWN_KEY.sub(MASK, text)


def is_secret(name: str) -> bool:
    """Whether an option, header, parameter or variable of this name holds a secret."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower())
    return bool(_SECRET_WORDS.intersection(words)) and words[-1] != "env"


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
    return round(int(limit) / _GIB, 2) if limit.isdigit() else None


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
