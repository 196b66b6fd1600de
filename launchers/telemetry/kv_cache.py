"""How much KV cache a token takes, from the model's `config.json`, and what fits into a cache."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DTYPE_BYTES: Final = {
    "float32": 4, "float16": 2, "half": 2, "bfloat16": 2,
    "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "int8": 1,
}  # fmt: skip
_FULL_EACH: Final = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4}
"""Model types in which each so-manieth layer has no window, though older files do not say so
(Hugging Face transformers, the models' `configuration_*.py`)."""
_FULL, _SLIDING = "full_attention", "sliding_attention"
_HYBRID: Final = ("ssm_cfg", "mamba_d_state", "linear_num_value_heads", "attn_layer_period")


@dataclass(frozen=True, kw_only=True)
class TokenCost:
    """What one token of context takes."""

    bytes_per_token: int | None
    """In the whole replica, over all its GPUs; None where it is not known."""
    why: str = ""
    """Why it is not known."""
    window_tokens: int | None = None
    """Layers with a sliding window hold this many tokens of a request at most; None: no layer."""
    bytes_beyond: int | None = None
    """What a token takes that is not in the window any more: in the layers without one."""


def token_cost(
    config: Mapping[str, object], *, kv_dtype: str = "auto", tensor_parallel: int = 1
) -> TokenCost:
    """Return what a token takes: 2 (key, value) × layers × KV heads × head size × bytes.

    Source: R. Pope et al., "Efficiently Scaling Transformer Inference", 2022, section 3.3; with
    grouped queries (J. Ainslie et al., "GQA", 2023) the KV heads are fewer than the query heads.
    With more GPUs than KV heads each of them holds one: they are copied.

    Args:
        config: the model's `config.json`; of a model with several parts the text's is taken.
        kv_dtype: the cache's, as engines name it; "auto" for the model's own.
        tensor_parallel: over how many GPUs each layer is split.
    """
    text = config.get("text_config")
    inner = text if isinstance(text, dict) else config
    if (why := _unlike(inner)) is not None:
        return TokenCost(bytes_per_token=None, why=why)
    layers, heads = _own_layers(inner), _count(inner, "num_attention_heads")
    kv_heads = _count(inner, "num_key_value_heads") or heads
    head_size, hidden = _count(inner, "head_dim"), _count(inner, "hidden_size")
    if head_size is None and hidden and heads:
        head_size = hidden // heads
    dtype = kv_dtype
    if kv_dtype == "auto":
        named = [one.get(key) for one in (inner, config) for key in ("dtype", "torch_dtype")]
        dtype = next((name for name in named if isinstance(name, str)), "unnamed")
    size = DTYPE_BYTES.get(dtype.removeprefix("torch."))
    if not (layers and kv_heads and head_size):
        why = "config.json does not name its layers, KV heads and head size as Llama's does"
        return TokenCost(bytes_per_token=None, why=why)
    if size is None:
        return TokenCost(bytes_per_token=None, why=f"the KV cache's dtype {dtype} is not known")
    a_layer = 2 * max(kv_heads, tensor_parallel) * head_size * size
    window = _window(inner)
    full = layers if window is None else _layers_without_window(inner, layers)
    if full == layers:
        return TokenCost(bytes_per_token=a_layer * layers)
    return TokenCost(
        bytes_per_token=a_layer * layers, window_tokens=window, bytes_beyond=a_layer * full
    )


def held_tokens(context_tokens: int, window_tokens: int | None, beyond: float) -> float:
    """Return of how many tokens in all layers a request's cache is as large.

    That is min(context, window) and, of each token further back, the share of the layers that
    keep it. An engine that frees nothing behind the window holds the whole context.

    Args:
        context_tokens: prompt and answer.
        window_tokens: of the layers with a sliding window; None: there are none.
        beyond: share of the layers that have none, from 0 to 1.
    """
    within = context_tokens if window_tokens is None else min(context_tokens, window_tokens)
    return within + (context_tokens - within) * beyond


def kv_facts(folder: Path | None, reported: Mapping[str, object]) -> dict[str, object]:
    """Return what a server's provenance says of its KV cache.

    Args:
        folder: with the model's `config.json`; None where it is not on this disk.
        reported: what the engine said: `kv_cache_dtype`, `tensor_parallel_size`.
    """
    try:
        text = "" if folder is None else (folder / "config.json").read_text()
        config = json.loads(text) if text else None
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        return {"kv_bytes_per_token": None, "kv_bytes_unknown": "there is no config.json to read"}
    dtype, gpus = reported.get("kv_cache_dtype"), reported.get("tensor_parallel_size")
    cost = token_cost(
        config,
        kv_dtype=dtype if isinstance(dtype, str) else "auto",
        tensor_parallel=gpus if isinstance(gpus, int) else 1,
    )
    facts: dict[str, object] = {
        "kv_bytes_per_token": cost.bytes_per_token, "kv_bytes_unknown": cost.why or None
    }  # fmt: skip
    if cost.window_tokens is not None:
        facts["kv_window_tokens"] = cost.window_tokens
        facts["kv_bytes_beyond_window"] = cost.bytes_beyond
    return facts


def max_concurrency(cache_tokens: int, context_tokens: int, block_tokens: int = 1) -> float:
    """Return how many requests of a context length fit into a KV cache at one time.

    Each takes whole blocks. Without shared prefixes; as vLLM's log has it ("Maximum concurrency
    for N tokens per request").

    Raises:
        ValueError: a length is not positive.
    """
    if context_tokens <= 0 or block_tokens <= 0:
        raise ValueError(
            f"context_tokens ({context_tokens}) and block_tokens ({block_tokens}) must be positive"
        )
    blocks = -(-context_tokens // block_tokens)
    return cache_tokens / block_tokens / blocks


def _unlike(config: Mapping[str, object]) -> str | None:
    """Say what makes a model's cache another than keys and values of every token and layer."""
    if config.get("kv_lora_rank"):
        return "multi-head latent attention (kv_lora_rank): its cache depends on the engine"
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and (others := {str(kind) for kind in kinds} - {_FULL, _SLIDING}):
        return f"layers of other kinds ({', '.join(sorted(others))}) hold other numbers of tokens"
    if config.get("hybrid_override_pattern"):
        return "layers of several kinds hold different numbers of tokens"
    if any(config.get(key) for key in _HYBRID):
        return "layers with a state of fixed size"
    return None


def _own_layers(config: Mapping[str, object]) -> int | None:
    """Count the layers that have keys and values of their own.

    The last ones of Gemma 3n use those of earlier ones (`num_kv_shared_layers`; transformers,
    `configuration_gemma3n.py`).
    """
    layers = _count(config, "num_hidden_layers")
    return layers and layers - (_count(config, "num_kv_shared_layers") or 0)


def _window(config: Mapping[str, object]) -> int | None:
    if config.get("use_sliding_window") is False:
        return None
    return _count(config, "sliding_window")


def _layers_without_window(config: Mapping[str, object], layers: int) -> int:
    """Count them, in a model that has a window: by name, by pattern, or the first ones (Qwen 2)."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        return [str(kind) for kind in kinds[:layers]].count(_FULL)
    each = _count(config, "sliding_window_pattern") or _FULL_EACH.get(str(config.get("model_type")))
    if each is not None:
        return layers // each
    if config.get("use_sliding_window") is True:
        return min(layers, _count(config, "max_window_layers") or 0)
    return 0


def _count(config: Mapping[str, object], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
