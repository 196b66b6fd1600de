"""TGI's and SGLang's streams as their sources write them, read by the dialects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadprofiles.dialects import Event, load_dialect

GOLDEN = Path(__file__).parents[1] / "launchers" / "golden"
STREAMS = [
    pytest.param(stream, id=f"{engine} {name}")
    for engine in ("tgi-3", "sglang-0.5")
    for name, stream in json.loads((GOLDEN / f"{engine}.json").read_text())["streams"].items()
]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream(stream: dict[str, list[object]]) -> None:
    dialect = load_dialect(str(stream["dialect"]))
    lines = [json.dumps(event).encode() for event in stream["events"] if event != "[DONE]"]
    one_by_one = [dialect.decode(line) for line in lines]
    together = dialect.decode_lines(b"\n".join(lines))
    first, second, third, *rest = one_by_one
    assert together[:2] == [" C", " D"], "plain text, so the fast way"
    assert [first.text, second.text, third.text] == [" C", " D", " E"]
    assert first.finish_reason is second.finish_reason is None
    assert third.finish_reason == "length"
    counts = (rest or [third])[-1]
    assert (counts.prompt_tokens, counts.output_tokens) == (3, 3)
    plain = [Event(one) if isinstance(one, str) else one for one in together]
    assert [one.text for one in plain] == [one.text for one in one_by_one]
    assert plain[2:] == one_by_one[2:]


@pytest.mark.parametrize("reason", ["eos_token", "stop_sequence"])
def test_tgis_reasons_are_openais(reason: str) -> None:
    for name in ("openai-completions", "openai-chat"):
        chunk = {"choices": [{"text": "a", "delta": {"content": "a"}, "finish_reason": reason}]}
        assert load_dialect(name).decode(json.dumps(chunk).encode()).finish_reason == "stop"
