"""Conversations through the command line against a mock that answers in words of its own."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from launchers.mock.answer import _texts
from loadprofiles.records import read_plan, read_samples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

PROFILE = """
levels = [{level}]
duration_s = 3
warmup_requests = 4
prompt_tokens = {{ kind = "uniform", low = 20, high = 40 }}
output_tokens = {{ kind = "uniform", low = 4, high = 12 }}
arrival = {{ kind = "{arrival}" }}
shared_prefix = {{ tokens = 30, count = 2 }}

[session]
turns = {{ kind = "uniform", low = 2, high = 4 }}
user_tokens = 10
think_s = 0.05
"""


@pytest.mark.parametrize(
    ("arrival", "level", "more"),
    [
        ("poisson", 8, ()),
        ("closed", 3, ()),
        ("poisson", 8, ("--workers", "2")),
        ("closed", 4, ("--workers", "2")),
        ("closed", 3, ("--no-stream",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_each_turn_holds_what_the_server_has_said(
    workplace: Workplace,
    mock: StartMock,
    tmp_path: Path,
    arrival: str,
    level: int,
    more: tuple[str, ...],
) -> None:
    profile = tmp_path / "talk.toml"
    profile.write_text(PROFILE.format(arrival=arrival, level=level))
    told = tmp_path / "bodies.jsonl"
    url = mock("--ttft-ms=10", "--itl-ms=2", "--words", f"--bodies={told}")
    done = workplace.load(
        "--url", url, "--profile", str(profile), "--dialect", "openai-chat", "--quiet", *more
    )
    assert done.went_well
    [cell] = done.cells
    folder = done.run / "cells" / cell["id"]
    plan = read_plan(folder)
    samples = {sample.request_id: sample for sample in read_samples(folder)}
    bodies = [json.loads(line) for line in told.read_text().splitlines()]
    said = {}  # by the conversation that it answered
    for one in bodies:
        sample = samples[one["request_id"]]
        words = islice(_texts(one["number"], loop=False), sample.output_tokens or 0)
        said[json.dumps(one["body"]["messages"])] = "".join(words)
    later = 0
    for one in bodies:
        messages = one["body"]["messages"]
        assert messages[0]["role"] == "system"
        if len(messages) > 2:
            later += 1
            assert messages[-2] == {
                "role": "assistant", "content": said[json.dumps(messages[:-2])],
            }  # fmt: skip
    assert later > 10

    sessions = cell["sessions"]
    assert sessions["planned"] == sessions["complete"] + sessions["cut_off"]
    assert sessions["complete"] > 0
    assert plan.after is not None
    turns = sessions["turns"]
    assert [turn["turn"] for turn in turns] == list(range(1, len(turns) + 1))
    assert turns[0]["prompt_tokens_mean"] < turns[1]["prompt_tokens_mean"]
    assert sum(turn["n"] for turn in turns) == cell["requests"]["ok"]
    assert "Sessions, turn by turn" in (done.run / "report.html").read_text()
