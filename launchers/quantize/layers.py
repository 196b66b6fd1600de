"""Which linear layers of a model are quantized.

Engines fuse some layers into one matrix (vLLM: q, k and v; gate and up), which cannot be quantized
in part: where one of them is skipped, all are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from launchers.errors import PlanError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD = "lm_head"
FUSED = (
    ("q_proj", "k_proj", "v_proj"), ("wq", "wk", "wv"), ("query", "key", "value"),
    ("gate_proj", "up_proj"), ("w1", "w3"),
    ("q_a_proj", "kv_a_proj_with_mqa"),
    ("in_proj_qkv", "in_proj_z"), ("in_proj_b", "in_proj_a"),
)  # fmt: skip
"""As vLLM 0.32 packs them (`packed_modules_mapping` of its models): attention and MLP as most
models have them, latent attention (DeepSeek), linear attention (Qwen3-Next and later)."""
_MOST_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Names of layers, in the model's order."""

    quantized: tuple[str, ...]
    kept: tuple[str, ...]
    beside: tuple[str, ...]
    """Those of `kept` that no pattern names."""


def choose(columns: Mapping[str, int], skip: Sequence[str], group_size: int) -> Chosen:
    """Divide a model's linear layers, name → columns (inputs), into quantized and kept ones.

    Raises:
        PlanError: a pattern fits no layer, none is left to quantize, or the groups do not divide
            a layer's columns.
    """
    for pattern in skip:
        # The default; a model whose head has another name, or none, has nothing to skip.
        if pattern != HEAD and not any(fnmatchcase(name, pattern) for name in columns):
            raise PlanError(
                f"--skip: no linear layer fits {pattern!r}: {suggest(pattern, columns)}"
            )
    named = {name for name in columns if any(fnmatchcase(name, one) for one in skip)}
    kept = named | {name for one in named for name in fused_with(one) if name in columns}
    quantized = tuple(name for name in columns if name not in kept)
    if not quantized:
        raise PlanError("--skip leaves no layer to quantize")
    if odd := [name for name in quantized if columns[name] % group_size]:
        shown = ", ".join(f"{name} ({columns[name]})" for name in odd[:_MOST_SHOWN])
        more = f" and {len(odd) - _MOST_SHOWN} more" if len(odd) > _MOST_SHOWN else ""
        raise PlanError(
            f"--group-size: {group_size} does not divide the columns of {shown}{more}; take a "
            "smaller one, or --skip these layers"
        )
    return Chosen(
        quantized=quantized,
        kept=tuple(name for name in columns if name in kept),
        beside=tuple(name for name in columns if name in kept - named),
    )


def pattern_of(name: str) -> str:
    """Return a name with `*` for each number, so that those of all layers are one."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def fused_with(name: str) -> list[str]:
    """Names of all layers that an engine makes one matrix of with this one, itself included."""
    parent, dot, last = name.rpartition(".")
    for group in FUSED:
        if last in group:
            return [f"{parent}{dot}{member}" for member in group]
    return [name]
