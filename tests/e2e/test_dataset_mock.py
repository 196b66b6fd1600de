"""A user's own prompts through the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

QUICK = ("--ttft-ms=10", "--itl-ms=1")


def write(path: Path, count: int) -> Path:
    """Conversations of two turns whose second answers have twelve words."""
    entries = [
        {
            "messages": [
                {"role": "user", "content": f"question {number} of {count}"},
                {"role": "assistant", "content": "a short answer"},
                {"role": "user", "content": f"and again {number}"},
                {"role": "assistant", "content": "word " * 12},
            ]
        }
        for number in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, entries)))
    return path


def test_prompts_and_lengths_are_the_files(workplace: Workplace, mock: StartMock) -> None:
    told = workplace.path / "bodies.jsonl"
    path = write(workplace.path / "talks.jsonl", 30)
    done = workplace.load(
        *("--url", mock(*QUICK, f"--bodies={told}"), "--profile", "steady", "--rate", "20"),
        *("--requests", "40", "--dataset", "talks.jsonl", "--warmup", "5", "--quiet"),
    )
    assert done.went_well
    [cell] = done.cells
    sent = [json.loads(line)["body"] for line in told.read_text().splitlines()]
    assert {body["max_tokens"] for body in sent} == {4}
    known = {json.loads(line)["messages"][0]["content"] for line in path.read_text().splitlines()}
    assert {body["prompt"] for body in sent} == known
    caveats = {caveat["code"]: caveat["text"] for caveat in cell["client"]["caveats"]}
    assert "30 conversations that fit and 40 were planned" in caveats["prompts_reused"]
    manifest = json.loads((done.run / "manifest.json").read_text())
    assert manifest["profile"]["dataset"]["file"] == str(path)
    assert manifest["request"]["dataset"] == "talks.jsonl"


def test_its_sessions_hold_the_servers_answers(workplace: Workplace, mock: StartMock) -> None:
    told = workplace.path / "bodies.jsonl"
    path = write(workplace.path / "talks.jsonl", 100)
    done = workplace.load(
        *("--url", mock(*QUICK, f"--bodies={told}"), "--profile", "chat-sessions", "--rate", "10"),
        *("--duration", "4", "--dataset", str(path), "--warmup", "2", "--quiet"),
        *("--dialect", "openai-chat"),
    )
    assert done.went_well
    [cell] = done.cells
    sent = [json.loads(line)["body"] for line in told.read_text().splitlines()]
    later = [body for body in sent if len(body["messages"]) == 3]
    assert len(later) > 5
    for body in later:
        assert body["messages"][1] == {"role": "assistant", "content": " token" * 4}
        assert body["max_tokens"] == 16
    assert [turn["turn"] for turn in cell["sessions"]["turns"]] == [1, 2]


def test_a_bad_line_ends_it_before_anything_is_sent(workplace: Workplace, mock: StartMock) -> None:
    bad = workplace.path / "bad.jsonl"
    bad.write_text('{"prompt": "fine"}\n{"prompt": ["not"]}\n')
    done = workplace.harness(
        "load", "--url", mock(*QUICK), "--profile", "steady", "--dataset", str(bad)
    )
    assert done.code == 2
    assert f"{bad}, line 2: Expected `str | null`, got `array`" in " ".join(done.err.split())
    assert not workplace.runs


def test_conversations_too_long_for_the_model_are_bad_input(workplace: Workplace) -> None:
    path = workplace.path / "prompts.jsonl"
    entries = [{"prompt": "word " * (5 + 50 * (n % 2)), "output_tokens": 4} for n in range(60)]
    path.write_text("\n".join(map(json.dumps, entries)))
    workplace.build("small", *QUICK, more="max_model_len = 40")
    done = workplace.harness(
        *("load", "--server", "small", "--profile", "steady", "--dataset", str(path)),
        *("--duration", "2", "--rate", "10"),
    )
    assert done.code == 2
    said = " ".join(done.err.split())
    assert "conversations drawn from" in said
    assert "--skip-longer" in said
    assert not workplace.processes()
