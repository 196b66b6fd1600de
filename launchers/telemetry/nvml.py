"""NVIDIA GPUs through NVML, the library below nvidia-smi.

`nvidia-ml-py` (module `pynvml`) is imported only where there is such a GPU. Every figure is asked
for by itself: a card that does not tell one of them still tells the others. Part of a card (MIG)
has memory and processes of its own, and its card's power is nobody's in particular.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from launchers.devices import NVIDIA_PROC
from launchers.telemetry.records import Gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"
_FIRST_NAMESPACE: Final = "pid:[4026531836]"
"""/proc/PID/ns/pid of a process in no container (PROC_PID_INIT_INO, include/linux/proc_ns.h)."""
_NONE: Final = frozenset({"-1", "NoDevFiles"})


class NvmlError(Exception):
    """The GPUs cannot be asked."""


@dataclass(frozen=True)
class _Device:
    index: int
    uuid: str
    handle: Any


class Gpus:
    """The GPUs that a server may use.

    Args:
        pid: root of the server's process tree, whose environment says which it sees; None for all.

    Raises:
        NvmlError: says why there are none to be asked.
    """

    def __init__(self, pid: int | None = None) -> None:
        self.problem = ""
        """Of the last look: a card that has vanished, say; empty when there is none."""
        self._refused = ""
        try:
            self._nvml: Any = import_module("pynvml")
        except ImportError as error:
            raise NvmlError(
                "there is an NVIDIA GPU, but the package nvidia-ml-py is not installed: "
                "pip install 'serving-load-harness[nvidia]'"
            ) from error
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise NvmlError(f"NVML does not start: {error}") from error
        try:
            self._devices = self._visible(pid)
        except (self._nvml.NVMLError, NvmlError) as error:
            self.close()
            raise NvmlError(str(error)) from error

    def read(self, pids: Collection[int]) -> list[Gpu]:
        """Look at each; `pids` are the server's processes, empty where they are not known."""
        self.problem = ""
        held = self._memory_of(pids)
        return [self._read(*one) for one in zip(self._devices, held, strict=True)]

    def close(self) -> None:
        """Let go of the library."""
        self._ask(self._nvml.nvmlShutdown)

    def _visible(self, pid: int | None) -> list[_Device]:
        nvml, ask = self._nvml, self._ask
        devices, models = [], set()
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = ask(nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is not None and (uuid := ask(nvml.nvmlDeviceGetUUID, handle)) is not None:
                devices.append(_Device(index, _text(uuid), handle))
                models.add(ask(nvml.nvmlDeviceGetName, handle))
        if not devices and self._refused:
            raise NvmlError(f"NVML does not list the GPUs: {self._refused}")
        names, by_bus = visible_names(pid)
        if names is None:
            return devices
        if len(models) > 1 and not by_bus and any(name.isdecimal() for name in names):
            return devices  # CUDA has counted the fastest first: its 0 need not be NVML's
        found = {one.uuid: one for name in names for one in self._named(name, devices)}
        if names and not found:
            raise NvmlError(f"{_VISIBLE} names {', '.join(names)}, and NVML no such GPU")
        return sorted(found.values(), key=lambda one: (one.index, one.uuid))

    def _named(self, name: str, devices: list[_Device]) -> list[_Device]:
        """Return the card of an index, of the start of a UUID, or the part of a MIG's UUID."""
        if name.startswith("MIG-"):
            nvml = self._nvml
            handle = nvml.nvmlDeviceGetHandleByUUID(name)
            card = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            return [_Device(nvml.nvmlDeviceGetIndex(card), name, handle)]
        return [one for one in devices if _means(name, one)]

    def _read(self, device: _Device, held: int | None) -> Gpu:
        nvml, ask, handle = self._nvml, self._ask, device.handle
        self._refused = ""
        # Version 2 leaves out what the driver reserves, as nvidia-smi does since driver 510.
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle, getattr(nvml, "nvmlMemory_v2", None))
        memory = memory or ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        if memory is None and not self.problem:  # that every card tells, while it is there
            self.problem = f"GPU {device.index} does not tell its memory: {self._refused}"
        rates = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        return Gpu(
            index=device.index,
            uuid=device.uuid,
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            memory_server_bytes=held,
            power_w=_scaled(ask(nvml.nvmlDeviceGetPowerUsage, handle), 1e-3),
            utilization=None if rates is None else rates.gpu / 100,
            sm_clock_mhz=_scaled(ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM), 1),
            energy_j=_scaled(ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle), 1e-3),
        )

    def _memory_of(self, pids: Collection[int]) -> list[int | None]:
        """What these processes have of each device; None where NVML does not say whose it is."""
        ask, question = self._ask, self._nvml.nvmlDeviceGetComputeRunningProcesses
        listed = [ask(question, one.handle) for one in self._devices]
        ours = [[one.usedGpuMemory for one in each or () if one.pid in pids] for each in listed]
        if not pids or (not any(ours) and _numbered_otherwise(listed)):
            return [None] * len(listed)
        return [
            None if each is None or None in mine else sum(mine)
            for each, mine in zip(listed, ours, strict=True)
        ]

    def _ask(self, question: Callable[..., Any], *about: object) -> Any:  # noqa: ANN401 - NVML's
        """Return an answer; None where this card, driver or version of NVML has none."""
        try:
            return question(*about)
        except self._nvml.NVMLError as error:
            self._refused = str(error)
            return None


def _numbered_otherwise(listed: Sequence[Sequence[Any] | None]) -> bool:
    """Whether NVML may count processes otherwise than we do, or hide them: as in a container.

    That none of ours is listed then means nothing.
    """
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = ""
    pids = [one.pid for each in listed for one in each or ()]
    return namespace != _FIRST_NAMESPACE or not all(Path(f"/proc/{pid}").exists() for pid in pids)


def visible_names(pid: int | None) -> tuple[list[str] | None, bool]:
    """Return which devices a process may use, and whether it counts them as NVML does.

    By its CUDA_VISIBLE_DEVICES; None where that hides nothing. What follows a name that means no
    device is not looked at ("CUDA Environment Variables", CUDA C++ Programming Guide).
    """
    if pid is None:
        found = dict(os.environ)
    else:
        try:
            entries = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
        except OSError:
            return None, False
        found = dict(entry.split("=", 1) for entry in entries if "=" in entry)
    by_bus = found.get(_ORDER) == "PCI_BUS_ID"
    if _VISIBLE not in found:
        return None, by_bus
    names = [name.strip() for name in found[_VISIBLE].split(",")]
    return list(takewhile(lambda name: name and name not in _NONE, names)), by_bus


def has_gpus() -> bool:
    """Whether this machine has an NVIDIA GPU and a driver for it."""
    return NVIDIA_PROC.is_dir() or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def _means(name: str, device: _Device) -> bool:
    """Whether an index, or the start of a UUID, means a device."""
    return name == str(device.index) if name.isdecimal() else device.uuid.startswith(name)


def _text(told: bytes | str) -> str:
    return told.decode() if isinstance(told, bytes) else told


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
