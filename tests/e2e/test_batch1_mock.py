"""`harness load` of several builds at one stream, with mocks of known timing in their stead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Workplace

SHORT = (
    *("--profile", "batch1", "--requests", "14", "--warmup", "2", "--output-tokens", "6"),
    "--quiet",
)


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    """A workplace with two builds, one of which is slower to its first token."""
    for name, ttft_ms in (("base", 40), ("slower", 52)):
        workplace.build(name, "--engine=vllm", f"--ttft-ms={ttft_ms}", "--itl-ms=2", serves="mock")
    return workplace


def manifest(place: Workplace) -> dict[str, Any]:
    [run] = place.runs
    return json.loads((run / "manifest.json").read_text())


def test_two_builds_take_mirrored_turns(place: Workplace) -> None:
    done = place.load("--server", "base,slower", *SHORT, "--repeats", "2")
    assert done.went_well, done.err
    visits = [(one["build"], one["visit"]) for one in manifest(place)["visits"]]
    assert visits == [("base", 1), ("slower", 1), ("slower", 2), ("base", 2)]
    assert manifest(place)["request"]["order"] == "mirrored"
    assert len(done.cells) == 4


def test_interleaved_both_are_up_at_once(place: Workplace) -> None:
    done = place.load("--server", "base,slower", *SHORT, "--interleave", "--repeats", "1")
    assert done.went_well, done.err
    assert [cell["interleaved_with"] for cell in done.cells] == [["slower"], ["base"]]
    assert [cell["requests"]["ok"] for cell in done.cells] == [14, 14]
    assert len(manifest(place)["visits"]) == 2
    assert place.processes() == []
