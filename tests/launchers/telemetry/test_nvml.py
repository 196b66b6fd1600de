"""NVML's answers, as nvidia-ml-py 13 hands them over. There was no GPU where this was written.

The stand-in has the names, arguments and types of pynvml.py; the values are those of an idle card
of 80 GiB, made up.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from launchers.telemetry import nvml as nvml_module
from launchers.telemetry.nvml import Gpus, NvmlError, visible_names
from launchers.telemetry.records import Gpu

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 2**30
MIG = "MIG-c7384736-a75d-5afc-978f-d2f1294409fd"
NOBODY = 2**22 + 1
"""Above the largest pid that Linux gives."""


class NVMLError(Exception):
    """As pynvml's."""


class FakeNvml(ModuleType):
    """Two cards; what is in `broken` is not supported by them."""

    NVMLError = NVMLError
    NVML_CLOCK_SM = 1
    nvmlMemory_v2 = 0x02000028  # noqa: N815 - its name

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.broken: set[str] = set()
        self.models = ["NVIDIA H100 80GB HBM3"] * 2
        self.processes: list[Any] = []
        self.open = 0
        self.lost: int | None = None

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - anything
        if name.startswith("nvmlDevice") and name in super().__getattribute__("broken"):
            return _not_supported
        answer = super().__getattribute__(name)
        lost = super().__getattribute__("lost") if name.startswith("nvmlDevice") else None
        return answer if lost is None else _lost(answer, lost)

    def nvmlInit(self) -> None:  # noqa: N802 - its name
        if "nvmlInit" in self.broken:
            raise NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - its name
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - its name
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - its name
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802 - its name
        return f"GPU-{handle}a2b3c4d"

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802 - its name
        return self.models[handle]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802 - its name
        if uuid != MIG:
            raise NVMLError("Not Found")
        return 7  # a part of card 1

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: int) -> int:  # noqa: N802
        assert handle == 7
        return 1

    def nvmlDeviceGetIndex(self, handle: int) -> int:  # noqa: N802 - its name
        return handle

    def nvmlDeviceGetMemoryInfo(self, _handle: int, version: int | None = None) -> Any:  # noqa: ANN401, N802
        reserved = 0 if version else GIB // 2
        return SimpleNamespace(used=60 * GIB + reserved, total=80 * GIB, free=20 * GIB - reserved)

    def nvmlDeviceGetUtilizationRates(self, _handle: int) -> Any:  # noqa: ANN401, N802
        return SimpleNamespace(gpu=87, memory=40)

    def nvmlDeviceGetPowerUsage(self, _handle: int) -> int:  # noqa: N802 - its name
        return 412_345

    def nvmlDeviceGetClockInfo(self, _handle: int, kind: int) -> int:  # noqa: N802 - its name
        assert kind == 1
        return 1755

    def nvmlDeviceGetTotalEnergyConsumption(self, _handle: int) -> int:  # noqa: N802 - its name
        return 9_876_543

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        return self.processes if handle == 0 else []


def _lost(answer: Callable[..., Any], card: int) -> Callable[..., Any]:
    def ask(*about: Any) -> Any:  # noqa: ANN401 - anything
        if about and about[0] == card:
            raise NVMLError("GPU is lost")
        return answer(*about)

    return ask


def _not_supported(*_: object) -> None:
    raise NVMLError("Not Supported")


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    in_no_container(monkeypatch)
    return fake


def in_no_container(monkeypatch: pytest.MonkeyPatch, *, true: bool = True) -> None:
    """Take this process for one of the first pid namespace, or of another."""
    own = Path("/proc/self/ns/pid").readlink().name
    monkeypatch.setattr(nvml_module, "_FIRST_NAMESPACE", own if true else "pid:[1]")


def process(pid: int, used: int | None) -> Any:  # noqa: ANN401 - as pynvml has it
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


def test_every_figure_in_its_unit(nvml: FakeNvml) -> None:
    own = os.getpid()
    nvml.processes = [process(own, 55 * GIB), process(1, 4 * GIB)]
    gpus = Gpus()
    first, second = gpus.read({own})
    assert first == Gpu(
        index=0, uuid="GPU-0a2b3c4d", memory_used_bytes=60 * GIB, memory_total_bytes=80 * GIB,
        memory_server_bytes=55 * GIB, power_w=pytest.approx(412.345), utilization=0.87,
        sm_clock_mhz=1755, energy_j=pytest.approx(9876.543),
    )  # fmt: skip
    assert second.memory_server_bytes == 0, "none of its processes is there"
    gpus.close()
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ("nvmlDeviceGetMemoryInfo", "memory_used_bytes"),
        ("nvmlDeviceGetUtilizationRates", "utilization"),
        ("nvmlDeviceGetPowerUsage", "power_w"),
        ("nvmlDeviceGetClockInfo", "sm_clock_mhz"),
        ("nvmlDeviceGetTotalEnergyConsumption", "energy_j"),
        ("nvmlDeviceGetComputeRunningProcesses", "memory_server_bytes"),
    ],
)
def test_a_card_that_does_not_tell_one_figure_tells_the_others(
    nvml: FakeNvml, question: str, field: str
) -> None:
    nvml.broken = {question}
    nvml.processes = [process(os.getpid(), GIB)]
    gpu = Gpus().read({os.getpid()})[0]
    unknown = {name for name in gpu.__struct_fields__ if getattr(gpu, name) is None}
    assert unknown - {"memory_total_bytes"} == {field}


def test_an_older_nvml_counts_the_reserved_memory(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FakeNvml, "nvmlMemory_v2")
    assert Gpus().read(())[0].memory_used_bytes == 60 * GIB + GIB // 2
    assert nvml.open == 1


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        ([], 0),
        ([(1, GIB)], 0),
        ([(NOBODY, GIB)], None),  # of another pid namespace
        ([(os.getpid(), GIB), (NOBODY, GIB)], GIB),
        ([(os.getpid(), None)], None),
    ],
)
def test_whose_memory_it_is(
    nvml: FakeNvml, processes: list[tuple[int, int | None]], expected: int | None
) -> None:
    nvml.processes = [process(*one) for one in processes]
    assert Gpus().read({os.getpid()})[0].memory_server_bytes == expected
    assert Gpus().read(())[0].memory_server_bytes is None


def test_a_container_that_hides_the_processes_is_no_card_without_ours(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As nvidia-smi in one lists nobody: that is no 0. What it does list is believed."""
    own = os.getpid()
    in_no_container(monkeypatch, true=False)
    assert [gpu.memory_server_bytes for gpu in Gpus().read({own})] == [None, None]
    nvml.processes = [process(1, GIB)]
    assert [gpu.memory_server_bytes for gpu in Gpus().read({own})] == [None, None]
    nvml.processes = [process(own, GIB), process(own, GIB), process(1, GIB)]
    assert [gpu.memory_server_bytes for gpu in Gpus().read({own})] == [2 * GIB, 0]


def test_a_card_that_vanishes_is_told_and_the_others_go_on(nvml: FakeNvml) -> None:
    gpus = Gpus()
    assert (gpus.read(())[1].power_w, gpus.problem) == (pytest.approx(412.345), "")
    nvml.lost = 0
    first, second = gpus.read({os.getpid()})
    assert first == Gpu(index=0, uuid="GPU-0a2b3c4d")
    assert second.memory_used_bytes == 60 * GIB
    assert gpus.problem == "GPU 0 does not tell its memory: GPU is lost"
    nvml.lost = None
    gpus.read(())
    assert gpus.problem == ""


def test_a_card_that_may_not_be_asked_leaves_the_others(nvml: FakeNvml) -> None:
    nvml.lost = 0
    assert [gpu.index for gpu in Gpus().read(())] == [1]


@pytest.mark.parametrize(
    ("visible", "indexes"),
    [
        ("1", [1]), ("0,1", [0, 1]), ("GPU-1a2", [1]), ("", []), ("-1", []), ("1,-1,0", [1]),
        ("NoDevFiles", []), (MIG, [1]),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("nvml")
def test_the_gpus_that_the_server_sees(visible: str, indexes: list[int]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "print(); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": visible},
    ) as server:
        assert server.stdout
        server.stdout.readline()
        assert [gpu.index for gpu in Gpus(server.pid).read(())] == indexes
        server.kill()
    assert visible_names(os.getpid()) == (None, False)


def test_a_part_of_a_card_has_its_own_memory(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", MIG)
    nvml.broken = {"nvmlDeviceGetPowerUsage", "nvmlDeviceGetUtilizationRates"}
    [part] = Gpus().read(())
    assert (part.index, part.uuid, part.power_w) == (1, MIG, None)
    assert part.memory_used_bytes == 60 * GIB


def test_names_of_no_gpu_are_told(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, why in (("7", "names 7, and NVML no such GPU"), ("MIG-x", "Not Found")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
        with pytest.raises(NvmlError, match=why):
            Gpus()
    assert nvml.open == 0


def test_among_unlike_cards_an_index_of_cuda_is_not_nvmls(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA counts the fastest first, unless it is told to count by bus."""
    nvml.models = ["NVIDIA T400", "NVIDIA H100 80GB HBM3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert [gpu.index for gpu in Gpus().read(())] == [0, 1]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert [gpu.index for gpu in Gpus().read(())] == [0]


def test_what_is_missing_is_said(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.broken = {"nvmlInit"}
    with pytest.raises(NvmlError, match="Driver Not Loaded"):
        Gpus()
    nvml.broken = {"nvmlDeviceGetUUID"}
    with pytest.raises(NvmlError, match="Not Supported"):
        Gpus()
    assert nvml.open == 0
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlError, match=r"pip install 'serving-load-harness\[nvidia\]'"):
        Gpus()
