"""What vLLM says about itself: in its start-up log and on its metrics page."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from launchers.engines import Facts
from launchers.model import HUB_ID, hub_commit
from launchers.pages import json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

# Log line → fact. A line may come once per worker process; the first is taken.
PATTERNS: dict[str, re.Pattern[str]] = {
    "engine_version": re.compile(r"Initializing a V1 LLM engine \(v([^)\s]+)\)"),
    "model": re.compile(r" with config: model='([^']+)'"),
    "revision": re.compile(r"[ ,]revision=([^,\s]+),"),
    "device": re.compile(r"[ ,]device_config=(\w+),"),
    # Unquantized layers and those of bitsandbytes name none.
    "linear_kernel": re.compile(r"\b(?:Using|Selected) (\w+Kernel) for "),
    "attention_backend": re.compile(
        r"Using (?:AttentionBackendEnum\.)?(\w+) (?:attention )?backend\b"
    ),
    "kv_cache_tokens": re.compile(r"KV cache size: ([\d,]+) tokens"),
    # On GPUs as found or as told by --kv-cache-memory-bytes, on CPUs as found or as told.
    "kv_cache_gib": re.compile(
        r"(?:Available KV cache memory: |reserved (?=[\d.]+ GiB memory for KV)"
        r"|(?:Auto|Explicitly) set \((?=[\d.]+/[\d.]+\) GiB for KV))([\d.]+)"
    ),
    "max_concurrency": re.compile(r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x"),
    "dtype": re.compile(r"[ ,]dtype=(?:torch\.)?(\w+),"),
    "quantization": re.compile(r"[ ,]quantization=([\w-]+),"),
    "kv_cache_dtype": re.compile(r"[ ,]kv_cache_dtype=(\w+),"),
    "max_model_len": re.compile(r"[ ,]max_seq_len=(\d+),"),
    "load_format": re.compile(r"[ ,]load_format=([\w-]+),"),
    "tensor_parallel_size": re.compile(r"[ ,]tensor_parallel_size=(\d+),"),
    "enforce_eager": re.compile(r"[ ,]enforce_eager=(True|False),"),
    "enable_prefix_caching": re.compile(r"[ ,]enable_prefix_caching=(True|False)"),
    "enable_chunked_prefill": re.compile(r"[ ,]enable_chunked_prefill=(True|False)"),
    "openmp_cpus": re.compile(r"local_rank=0, core ids=(\[[\d, ]*\])"),
    "model_memory_gib": re.compile(r"Model loading took ([\d.]+) ?GiB"),
    "weights_load_s": re.compile(r"Loading weights took ([\d.]+) seconds"),
    "engine_init_s": re.compile(r"init engine \(.*?\) took ([\d.]+) s"),
}
CACHE_INFO = re.compile(r"^vllm:cache_config_info\{(.*)\}", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


def read_facts(log: str, pages: Mapping[str, str]) -> Facts:
    """Read version, kernel, dtype and KV cache; and of a hub's model the commit.

    Args:
        log: of the start-up.
        pages: path → text, of `/version` and `/metrics`.
    """
    found = read_log(log)
    for key, value in read_metrics(pages.get("/metrics", "")).items():
        # The page says "auto" where the log says what it came to.
        if not (key in found and value == "auto"):
            found[key] = value
    model, revision = found.get("model"), found.get("revision") or "main"
    if isinstance(model, str) and HUB_ID.fullmatch(model):
        found["hub_commit"] = hub_commit(model, str(revision), os.environ)
    version = read_version(pages.get("/version", ""))
    length, tokens = found.get("max_model_len"), found.get("kv_cache_tokens")
    return Facts(
        version=version or str(found.get("engine_version") or "") or None,
        max_model_len=length if isinstance(length, int) else None,
        kv_cache_tokens=tokens if isinstance(tokens, int) else None,
        provenance=found,
    )


def read_log(text: str) -> dict[str, object]:
    """Return the facts that the log holds, by the names of `PATTERNS`; others are left out."""
    facts: dict[str, object] = {}
    for name, pattern in PATTERNS.items():
        if found := pattern.search(text):
            facts[name] = _value(found[1])
    return facts


def read_metrics(text: str) -> dict[str, object]:
    """Return the KV cache's shape from a `/metrics` page; empty when it is not there."""
    found = CACHE_INFO.search(text)
    if not found:
        return {}
    labels = {key: value for key, value in LABEL.findall(found[1]) if value != "None"}
    names = {
        "num_gpu_blocks": "kv_cache_blocks",
        "block_size": "kv_block_tokens",
        "cache_dtype": "kv_cache_dtype",
        "enable_prefix_caching": "enable_prefix_caching",
    }
    facts = {name: _value(labels[label]) for label, name in names.items() if label in labels}
    blocks, size = facts.get("kv_cache_blocks"), facts.get("kv_block_tokens")
    if isinstance(blocks, int) and isinstance(size, int):
        facts["kv_cache_tokens"] = blocks * size
    return facts


def read_version(text: str) -> str | None:
    """Return the version from the `/version` page; None if it is something else."""
    version = json_object(text).get("version")
    return version if isinstance(version, str) else None


def _value(text: str) -> object:
    if text in {"True", "False"}:
        return text == "True"
    if text == "None":
        return None
    if text.startswith("["):
        return [int(part) for part in text.strip("[]").split(",") if part.strip()]
    plain = text.replace(",", "")
    if re.fullmatch(r"\d+", plain):
        return int(plain)
    return float(plain) if re.fullmatch(r"\d+\.\d+", plain) else text
