from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from launchers.build import Build

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE = Path(__file__).with_name("fake_engine.py")
TOKEN = "HARNESS_TEST_TOKEN"


class Tree:
    """Every process that carries a token of its own in its environment."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex

    def alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(TOKEN) == self.token:
                    found.append(process)
            except psutil.Error:
                continue
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def wait_gone(self, timeout_s: float = 15) -> list[psutil.Process]:
        """Return what is still there after waiting for nothing to be."""
        deadline = time.monotonic() + timeout_s
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def wait_count(self, count: int, timeout_s: float = 15) -> None:
        deadline = time.monotonic() + timeout_s
        while len(self.alive()) < count:
            assert time.monotonic() < deadline, self.alive()
            time.sleep(0.05)


@pytest.fixture
def tree() -> Tree:
    return Tree()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def make_build(checkpoint: Path, tree: Tree) -> Callable[..., Build]:
    def make(mode: str, **fields: object) -> Build:
        return Build.model_validate(
            {
                "name": "fake",
                "model": str(checkpoint),
                "device": "cpu",
                "command": [sys.executable, "-S", str(FAKE), mode],
                "environment": {TOKEN: tree.token},
                "ready_timeout_s": 20,
                **fields,
            }
        )

    return make
