"""What this machine can run a model on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

NVIDIA_PROC = Path("/proc/driver/nvidia/gpus")
SYS_CPU = Path("/sys/devices/system/cpu")


def nvidia_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that a program started now could use; empty without any."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in {"", "-1", "NoDevFiles"}:
        return []
    names = _from_nvidia_smi()
    if names is None and NVIDIA_PROC.is_dir():
        names = [_model(folder) for folder in sorted(NVIDIA_PROC.iterdir())]
    return names or []


def available_cpus() -> list[int]:
    """CPUs that this process may use, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def split_cpus(cpus: list[int]) -> tuple[list[int], list[int]]:
    """Split CPUs into the server's and the client's: the client gets the last physical core.

    With a single core of two threads the client gets the last thread. With a single CPU there
    is nothing to split, and both lists hold it.
    """
    if len(cpus) < 2:  # noqa: PLR2004 - one CPU cannot be split
        return cpus, cpus
    core = _siblings(cpus[-1]) & set(cpus)
    if len(core) == len(cpus):
        core = {cpus[-1]}
    return [cpu for cpu in cpus if cpu not in core], sorted(core)


def _siblings(cpu: int) -> set[int]:
    """Return the threads of one physical core."""
    path = SYS_CPU / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    try:
        text = path.read_text()
    except OSError:
        return {cpu}
    found = {cpu}
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return found


def _from_nvidia_smi() -> list[str] | None:
    if not (command := shutil.which("nvidia-smi")):
        return None
    try:
        result = subprocess.run(
            [command, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.split("\n")[:-1] if result.returncode == 0 else None


def _model(folder: Path) -> str:
    try:
        lines = (folder / "information").read_text().splitlines()
    except OSError:
        return "NVIDIA GPU"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Model")), "")
