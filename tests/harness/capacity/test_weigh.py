"""What a reader is told beside the rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.capacity.result import Found, Probe
from harness.capacity.search import Scout, Search
from harness.capacity.weigh import _told

if TYPE_CHECKING:
    from collections.abc import Collection


@pytest.mark.parametrize(
    ("window_s", "interrupted", "told"), [(15.0, (), True), (60.0, (), False), (15.0, "a", False)]
)
def test_probes_too_short_for_the_sessions_are_told(
    window_s: float, interrupted: Collection[str], *, told: bool
) -> None:
    """Of sessions that last 9 s, 15 s hold too few later turns; what was cut off says nothing."""
    alone = Scout(
        streams=1, shares=(0.0,), requests=9, served_rate=1.0, latency_s=0.5, conversation_s=9.0
    )
    search = Search(allowed=(0.05,), names=("e2e_p95_ms<=900",), scouts=[alone])
    probe = Probe(cell="a", rate=2.0, met=True, requests=30, window_s=window_s, served_rate=2.0)
    found = Found(
        build="awq", outcome="found", text="", max_rate=2.0, max_rate_ci95=(1.9, 2.1),
        held_rate=2.0, probes=[probe], saturation=None,
    )  # fmt: skip
    caveats = _told(found, search, interrupted)
    assert [one.code for one in caveats] == ["sessions_cut"] * told
    assert all("--duration 45" in one.text for one in caveats)
