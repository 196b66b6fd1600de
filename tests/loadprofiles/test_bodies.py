from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from loadprofiles.bodies import Bodies

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


@given(
    lines=st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"")), max_size=9)
)
def test_any_line_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("bodies") / "bodies.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + b"half a line")
    bodies = Bodies(path)
    assert [bodies[number] for number in range(len(bodies))] == lines
    bodies.close()
    bodies.close()


def test_a_hundred_thousand_bodies_cost_their_offsets_only(tmp_path: Path) -> None:
    path = tmp_path / "bodies.jsonl"
    path.write_bytes(b'{"prompt":"%d"}\n' % 10**200 * 100_000)
    tracemalloc.start()
    bodies = Bodies(path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(bodies) == 100_000
    assert held < 1_200_000  # bytes: 8 a body and the array's room to grow; the file has 22 MB
    bodies.close()
