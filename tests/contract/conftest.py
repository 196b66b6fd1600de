"""What tests of the pages share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from tests.contract.taskpages import ROOT, TASKS, Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


class Follow(Protocol):
    def __call__(
        self, name: str, home: Path = ROOT, up: Mapping[str, str] | None = None
    ) -> Reader: ...


@pytest.fixture
def follow(tmp_path: Path, record_property: Callable[[str, object], None]) -> Iterator[Follow]:
    """Read a page of docs/tasks in a folder of its own, or in the clone `home`.

    The summary says what was typed (`pytest_terminal_summary`).
    """
    readers = []

    def read(name: str, home: Path = ROOT, up: Mapping[str, str] | None = None) -> Reader:
        folder = home if home != ROOT else tmp_path / "work"
        folder.mkdir(exist_ok=True)
        reader = Reader(folder, tmp_path / "programs", home, up)
        readers.append(reader)
        page = (TASKS / f"{name}.md").read_text()
        reader.follow(page)
        assert reader.misses(page) == [], "the page shows what is not printed"
        record_property("typed", [name, len(reader.told.run), reader.told.left_out])
        return reader

    yield read
    for reader in readers:
        reader.leave()
