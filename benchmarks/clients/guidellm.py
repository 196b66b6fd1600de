"""GuideLLM: up to ten processes, httpx. It keeps a mean gap for each request, no gaps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from client import PROMPT_TOKENS, TOKENIZER, Client, Load, Reported, milliseconds

if TYPE_CHECKING:
    from pathlib import Path


def _argv(bin_folder: Path, load: Load, folder: Path) -> list[str]:
    level = f"streams={load.level}" if load.kind == "closed" else f"rate={load.level}"
    kind = "concurrent" if load.kind == "closed" else load.kind
    backend = f"kind=openai_http,target={load.base_url},model=mock,request_format=/v1/completions"
    argv = [str(bin_folder / "guidellm"), "run", "--backend", backend]
    argv += ["--profile", f"kind={kind},{level}"]
    argv += ["--constraint", f"kind=max_requests,count={load.requests}"]
    argv += ["--tokenizer", f"kind=huggingface_auto,model={TOKENIZER}", "--data"]
    argv += [f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={load.tokens}"]
    return [*argv, "--output", f"kind=json,path={folder / 'result.json'}", "--disable-console"]


def _read(folder: Path, _load: Load) -> Reported:
    (benchmark,) = json.loads((folder / "result.json").read_text())["benchmarks"]
    answered = benchmark["requests"]["successful"]
    return Reported(
        ttft=milliseconds(one["time_to_first_token_ms"] for one in answered),
        itl=milliseconds(one["inter_token_latency_ms"] for one in answered),
        e2e=milliseconds((one["request_latency"] for one in answered), 1e3),
        itl_mean=True,
    )


CLIENT = Client(
    title="GuideLLM",
    environment="guidellm",
    package="guidellm",
    argv=_argv,
    read=_read,
    http="httpx, processes",
)
