"""SGLang's genai-bench: Locust with `requests`, chat only, closed loop only; a mean gap each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from client import PROMPT_TOKENS, TOKENIZER, Client, Load, Reported, milliseconds

if TYPE_CHECKING:
    from pathlib import Path


def _argv(bin_folder: Path, load: Load, folder: Path) -> list[str]:
    argv = [str(bin_folder / "genai-bench"), "benchmark", "--api-backend", "openai"]
    argv += ["--api-base", load.base_url, "--api-key", "none", "--task", "text-to-text"]
    argv += ["--api-model-name", "mock", "--model", "mock", "--model-tokenizer", str(TOKENIZER)]
    argv += ["--num-concurrency", str(load.level)]
    argv += ["--traffic-scenario", f"D({PROMPT_TOKENS},{load.tokens})"]
    argv += ["--additional-request-params", '{"ignore_eos": true}']
    argv += ["--max-time-per-run", "1", "--max-requests-per-run", str(load.requests)]
    argv += ["--experiment-base-dir", str(folder), "--experiment-folder-name", "out"]
    return [*argv, "--log-dir", str(folder / "logs")]


def _read(folder: Path, _load: Load) -> Reported:
    (result,) = (folder / "out").glob("D*_text-to-text_num_concurrency_*.json")
    metrics = json.loads(result.read_text())["individual_request_metrics"]
    answered = [one for one in metrics if one["error_code"] is None]
    return Reported(
        ttft=milliseconds((one["ttft"] for one in answered), 1e3),
        itl=milliseconds((one["tpot"] for one in answered if one["tpot"] is not None), 1e3),
        e2e=milliseconds((one["e2e_latency"] for one in answered), 1e3),
        itl_mean=True,
    )


CLIENT = Client(
    title="genai-bench",
    environment="genai-bench",
    package="genai-bench",
    argv=_argv,
    read=_read,
    kinds=frozenset({"closed"}),
    http="requests in Locust",
)
