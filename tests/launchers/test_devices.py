from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from launchers import devices
from launchers.devices import available_cpus, nvidia_gpus, split_cpus

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sys_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(devices, "SYS_CPU", tmp_path)
    return tmp_path


def siblings(sys_cpu: Path, cpu: int, text: str) -> None:
    folder = sys_cpu / f"cpu{cpu}" / "topology"
    folder.mkdir(parents=True)
    (folder / "thread_siblings_list").write_text(text + "\n")


@pytest.mark.usefixtures("sys_cpu")
@pytest.mark.parametrize(
    ("cpus", "server", "client"),
    [([0], [0], [0]), ([0, 1], [0], [1]), ([2, 5, 7], [2, 5], [7])],
)
def test_the_client_gets_the_last_core(
    cpus: list[int], server: list[int], client: list[int]
) -> None:
    assert split_cpus(cpus) == (server, client)


@pytest.mark.parametrize("text", ["3,7", "7,3"])
def test_the_client_gets_both_threads_of_a_core(sys_cpu: Path, text: str) -> None:
    siblings(sys_cpu, 7, text)
    assert split_cpus(list(range(8))) == ([0, 1, 2, 4, 5, 6], [3, 7])
    # a thread that this process may not use is not given away
    assert split_cpus([0, 1, 7]) == ([0, 1], [7])


def test_one_core_of_two_threads_is_split(sys_cpu: Path) -> None:
    siblings(sys_cpu, 1, "0-1")
    assert split_cpus([0, 1]) == ([0], [1])


def test_available_cpus_are_those_of_the_affinity_mask() -> None:
    before = os.sched_getaffinity(0)
    assert available_cpus() == sorted(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_cpus() == [min(before)]
    finally:
        os.sched_setaffinity(0, before)


def smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_are_those_that_nvidia_smi_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, "echo NVIDIA H200; echo NVIDIA L4", monkeypatch)
    assert nvidia_gpus() == ["NVIDIA H200", "NVIDIA L4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert nvidia_gpus() == []


def test_a_broken_nvidia_smi_falls_back_to_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi(tmp_path, "exit 9", monkeypatch)
    monkeypatch.setattr(devices, "NVIDIA_PROC", tmp_path / "gpus")
    assert nvidia_gpus() == []
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    information = tmp_path / "gpus" / "0000:01:00.0" / "information"
    information.write_text("Model: \t\t NVIDIA A100\nIRQ: 1\n")
    assert nvidia_gpus() == ["NVIDIA A100"]
