"""NVIDIA GPUs through NVML, the library below nvidia-smi.

`nvidia-ml-py` (module `pynvml`) is imported only where there is such a GPU. Every figure is asked
for by itself: a card that does not tell one of them still tells the others.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launchers.devices import NVIDIA_PROC
from launchers.telemetry.records import Gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_VISIBLE = "CUDA_VISIBLE_DEVICES"


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
        except self._nvml.NVMLError as error:
            self.close()
            raise NvmlError(f"NVML does not list the GPUs: {error}") from error

    def read(self, pids: Collection[int]) -> list[Gpu]:
        """Look at each; `pids` are the server's processes, empty where they are not known."""
        return [self._read(device, pids) for device in self._devices]

    def close(self) -> None:
        """Let go of the library."""
        self._ask(self._nvml.nvmlShutdown)

    def _visible(self, pid: int | None) -> list[_Device]:
        nvml = self._nvml
        devices = []
        for index in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
            text = uuid.decode() if isinstance(uuid, bytes) else str(uuid)
            devices.append(_Device(index, text, handle))
        names = visible_names(pid)
        if names is None:
            return devices
        return [one for one in devices if any(_means(name, one) for name in names)]

    def _read(self, device: _Device, pids: Collection[int]) -> Gpu:
        nvml, ask, handle = self._nvml, self._ask, device.handle
        # Version 2 leaves out what the driver reserves, as nvidia-smi does since driver 510.
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle, getattr(nvml, "nvmlMemory_v2", None))
        memory = memory or ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        return Gpu(
            index=device.index,
            uuid=device.uuid,
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            memory_server_bytes=self._memory_of(handle, pids),
            power_w=_scaled(ask(nvml.nvmlDeviceGetPowerUsage, handle), 1e-3),
            utilization=None if rates is None else rates.gpu / 100,
            sm_clock_mhz=_scaled(ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM), 1),
            energy_j=_scaled(ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle), 1e-3),
        )

    def _memory_of(self, handle: object, pids: Collection[int]) -> int | None:
        """What processes have of a device.

        Where none of them is listed, but some that this machine's /proc does not know, NVML counts
        processes otherwise than we do (it is outside of our container): that is no 0.
        """
        listed = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        if listed is None or not pids:
            return None
        ours = {one.pid: one.usedGpuMemory for one in listed if one.pid in pids}
        if not ours and any(not Path(f"/proc/{one.pid}").exists() for one in listed):
            return None
        return None if None in ours.values() else sum(ours.values())

    def _ask(self, question: Callable[..., Any], *about: object) -> Any:  # noqa: ANN401 - NVML's
        """Return an answer; None where this card, driver or version of NVML has none."""
        try:
            return question(*about)
        except self._nvml.NVMLError:
            return None


def visible_names(pid: int | None) -> list[str] | None:
    """Return what CUDA_VISIBLE_DEVICES of a process names; None where it hides nothing."""
    if pid is None:
        value = os.environ.get(_VISIBLE)
    else:
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return None
        found = [one for one in entries if one.startswith(f"{_VISIBLE}=".encode())]
        value = found[0].decode(errors="replace").partition("=")[2] if found else None
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]


def has_gpus() -> bool:
    """Whether this machine has an NVIDIA GPU and a driver for it."""
    return NVIDIA_PROC.is_dir() or Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()


def _means(name: str, device: _Device) -> bool:
    """Whether an index, or the start of a UUID, means a device."""
    return name == str(device.index) if name.isdecimal() else device.uuid.startswith(name)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
