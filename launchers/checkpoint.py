"""How a checkpoint was quantized, as its own files say, in the layouts that people have."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from launchers.errors import BuildError
from launchers.gguf import file_type, read_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from launchers.build import Build

CONFIG: Final = "config.json"
OWN_CONFIGS: Final = ("quantize_config.json", "quant_config.json")
"""AutoGPTQ's and GPTQModel's, AutoAWQ's: beside a config.json that may say nothing."""
MODELOPT_CONFIG: Final = "hf_quant_config.json"
RECIPE: Final = "recipe.yaml"
NONE: Final = "none"
_FLOATS: Final = frozenset(("fp16", "float16", "bf16", "bfloat16", "fp32", "float32", NONE))
_FAMILIES: Final = {
    "gptq": "gptq", "gptq_marlin": "gptq", "auto_gptq": "gptq",
    "awq": "awq", "awq_marlin": "awq", "auto_awq": "awq",
    "compressed-tensors": "compressed-tensors", "bitsandbytes": "bitsandbytes",
    "bnb-4bit": "bitsandbytes", "bnb-8bit": "bitsandbytes",
}  # fmt: skip
"""Values of --quantization (vLLM 0.32, transformers serve 5.24) → the layout that they load."""
_ON_LOAD: Final = {
    "bnb-4bit": (4, "NF4, double-quantized, by bitsandbytes"),
    "bnb-8bit": (8, "LLM.int8 by bitsandbytes"),
}
"""What `transformers serve` makes of weights that are not quantized: bits, and its name."""
_NEITHER: Final = frozenset(("bitsandbytes", "fp8", "fbgemm_fp8", "gguf"))
"""Methods that are neither GPTQ nor AWQ, though their files name no algorithm."""
_MODELOPT_ACTIVATIONS: Final = {
    "FP8": "fp8 static", "FP8_PER_CHANNEL_PER_TOKEN": "fp8 dynamic", "NVFP4": "fp4 dynamic",
    "MXFP8": "fp8 dynamic", "W4A8_AWQ": "fp8 static", "W8A8_SQ_PER_CHANNEL": "int8 dynamic",
}  # fmt: skip
"""`quant_algo` → what activations are quantized to, where they are."""
_GGUF_BITS: Final = re.compile(r"(?:IQ|TQ|Q|MXFP|BF|F)(\d+)")
_MODIFIER: Final = re.compile(r"^\s*(GPTQ|AWQ)Modifier\s*:", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What the files say; None where they do not."""

    method: str
    """As `quant_method` has it: gptq, awq, compressed-tensors, bitsandbytes, fp8, modelopt, …;
    gguf; none where the weights are not quantized."""
    algorithm: str | None = None
    """gptq or awq, where the layout tells either or its recipe is there."""
    layout: str | None = None
    """pack-quantized, gemm, gemv, nf4, Q4_K_M, …"""
    bits: int | None = None
    number: Literal["int", "float"] | None = None
    group_size: int | None = None
    """Weights that share a scale; None where a channel, a block or a tensor does."""
    granularity: str | None = None
    """channel, block 128x128, tensor: where there are no groups."""
    symmetric: bool | None = None
    act_order: bool | None = None
    activations: str | None = None
    """What they are quantized to while it runs, e.g. "int8 dynamic"; None: they stay so."""
    kv_cache: str | None = None
    ignored: tuple[str, ...] = ()
    """Layers that stay as they were, or patterns of their names."""

    @property
    def quantized(self) -> bool:
        """Whether its weights are stored in fewer bits than 16."""
        return self.method != NONE and self.layout not in {"F16", "BF16", "F32"}

    @property
    def words(self) -> str:
        """In a few words, e.g. `4-bit, group 128, asym`."""
        if not self.quantized:
            return self.layout or "not quantized"
        known = self.layout if self.method == "gguf" or self.layout in {"nf4", "fp4"} else None
        bits = f"{self.bits}-bit" if self.bits else self.method
        words = [known or (f"{bits} float" if self.number == "float" else bits)]
        if self.group_size:
            words.append(f"group {self.group_size}")
        elif self.granularity:
            words.append(f"per {self.granularity}")
        if self.symmetric is not None and self.number != "float":
            words.append("sym" if self.symmetric else "asym")
        if self.act_order:
            words.append("act-order")
        if self.activations:
            words.append(f"activations {self.activations}")
        if self.kv_cache:
            words.append(f"KV cache {self.kv_cache}")
        return ", ".join(words)

    def facts(self) -> dict[str, object]:
        """For the manifest: what is known."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value not in (None, ())
        }


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read how the model at a path was quantized; None where nothing there says anything.

    Args:
        path: a folder with a config.json, or a GGUF file.
    """
    try:
        if path.suffix == ".gguf":
            return _gguf(path)
        config = _json(path / CONFIG)
        told = _told(path, config)
    except (OSError, ValueError):
        return None
    if told is not None:
        return _of_config(told, path)
    return None if config is None else Checkpoint(method=NONE, layout=_dtype(config))


def scheme_of(build: Build, checkpoint: Checkpoint | None) -> str | None:
    """Return what a build's weights are, in a few words; None where that is not known."""
    if checkpoint is not None and checkpoint.quantized:
        return checkpoint.words
    if asked := build.arguments.get("quantization"):
        _, words = _ON_LOAD.get(str(asked), (None, f"by {asked}"))
        return f"{words} while it is loaded"
    if checkpoint is None:
        return None
    if checkpoint.method == "gguf":
        return checkpoint.words
    return build.dtype if build.dtype not in {None, "auto"} else checkpoint.layout


def check_quantization(build: Build, checkpoint: Checkpoint | None) -> None:
    """Find a build that calls its checkpoint what it is not.

    Only names that mean one thing are judged: fp16, gptq, awq, nf4, int8, fp8, int4, …, and GGUF's.

    Raises:
        BuildError: names what the checkpoint is.
    """
    if checkpoint is None:
        return
    asked = str(build.arguments.get("quantization") or "")
    family = _FAMILIES.get(asked)
    if family and checkpoint.method in _FAMILIES.values() and family != checkpoint.method:
        raise BuildError(
            build.name,
            "arguments.quantization",
            f"{asked} does not load this checkpoint, which is {_named(checkpoint)}: leave the "
            "argument out, the engine finds it in the checkpoint",
        )
    name = (build.quantization or "").lower()
    if not name or _fits(name, asked, checkpoint):
        return
    hint = {NONE: "fp16"}.get(checkpoint.method, checkpoint.algorithm or checkpoint.method)
    raise BuildError(
        build.name,
        "quantization",
        f'says "{build.quantization}", but the checkpoint is {_named(checkpoint)}: name the '
        f'checkpoint that you mean in `model`, or call this one what it is, e.g. "{hint}"',
    )


def _named(checkpoint: Checkpoint) -> str:
    if not checkpoint.quantized:
        return f"not quantized ({checkpoint.words})"
    return f"{checkpoint.algorithm or checkpoint.method} ({checkpoint.words})"


def _fits(name: str, asked: str, checkpoint: Checkpoint) -> bool:
    """Whether a build may call a checkpoint so; true for names that mean nothing here."""
    loaded = "" if checkpoint.quantized else asked
    first = re.split(r"[^a-z0-9]", name)[0]
    if first in _FLOATS:
        return not checkpoint.quantized and not loaded
    if first in {"gptq", "awq"}:
        # compressed-tensors without its recipe may be either
        either = checkpoint.algorithm is None and checkpoint.method not in _NEITHER
        return checkpoint.quantized and (either or checkpoint.algorithm == first)
    if first in {"nf4", "bnb"}:
        wanted = {"nf4": {"nf4", None}, "bnb": {"nf4", "fp4", "int8", None}}[first]
        makes = {"bitsandbytes", "bnb-4bit", *(["bnb-8bit"] if first == "bnb" else [])}
        own = checkpoint.method == "bitsandbytes" and checkpoint.layout in wanted
        return own or loaded in makes
    sizes = {"int4": (4, "int"), "w4a16": (4, "int"), "int8": (8, "int"), "w8a8": (8, None),
             "w8a16": (8, None), "fp8": (8, "float")}  # fmt: skip
    if first in sizes:
        bits, number = sizes[first]
        same = number is None or checkpoint.number in {number, None}
        fits = same and checkpoint.bits in {bits, None}
        made = _ON_LOAD.get(loaded)
        on_load = bool(loaded) and (made is None or (made[0] == bits and number != "float"))
        return on_load or (checkpoint.quantized and fits)
    if checkpoint.method == "gguf" and re.fullmatch(r"i?t?q\d\w*", name):
        return (checkpoint.layout or name).lower().startswith(name)
    return True


def _told(folder: Path, config: dict[str, Any] | None) -> dict[str, Any] | None:
    """What says how it was quantized, wherever it stands, with its `quant_method`."""
    text = _table((config or {}).get("text_config"))
    for holder in (config or {}, text):
        own = holder.get("quantization_config") or holder.get("compression_config")
        if isinstance(own, dict) and own:
            return own
    for name in OWN_CONFIGS:
        if (own := _json(folder / name)) is not None:
            method = "awq" if {"w_bit", "q_group_size"} & own.keys() else "gptq"
            return {"quant_method": method} | own
    modelopt = _table((_json(folder / MODELOPT_CONFIG) or {}).get("quantization"))
    return {"quant_method": "modelopt"} | modelopt if modelopt else None


def _of_config(told: Mapping[str, Any], folder: Path) -> Checkpoint:
    method = str(told.get("quant_method") or "unknown").lower()
    if method == "compressed-tensors" or "config_groups" in told:
        return _compressed_tensors(told, folder)
    if method == "bitsandbytes":
        return _bitsandbytes(told)
    if method in {"fp8", "fbgemm_fp8"}:
        return _fp8(told, method)
    if method == "modelopt":
        return _modelopt(told)
    asymmetric = told.get("zero_point")  # AutoAWQ's word
    size = _number(told, "group_size", "q_group_size")
    symmetric = told.get("sym", None if asymmetric is None else not asymmetric)
    return Checkpoint(
        method=method,
        algorithm=method if method in {"gptq", "awq"} else None,
        layout=_word(told, "checkpoint_format", "version", "format"),
        bits=_number(told, "bits", "w_bit"),
        number="int" if method in {"gptq", "awq"} else None,
        group_size=size if size and size > 0 else None,
        granularity="channel" if size is not None and size <= 0 else None,
        symmetric=symmetric if isinstance(symmetric, bool) else None,
        act_order=told["desc_act"] if isinstance(told.get("desc_act"), bool) else None,
        ignored=_names(told, "modules_to_not_convert"),
    )


def _compressed_tensors(told: Mapping[str, Any], folder: Path) -> Checkpoint:
    """Of several groups the first is told: it is most layers' in what llm-compressor writes."""
    groups = [one for one in _table(told.get("config_groups")).values() if isinstance(one, dict)]
    first = groups[0] if groups else {}
    weights, inputs = _table(first.get("weights")), first.get("input_activations")
    block = weights.get("block_structure")
    strategy = weights.get("strategy")
    granularity = strategy if strategy in {"channel", "tensor"} else None
    if strategy == "block" and isinstance(block, list):
        granularity = "block " + "x".join(map(str, block))
    size = _number(weights, "group_size")
    symmetric = weights.get("symmetric")
    kv = told.get("kv_cache_scheme")
    return Checkpoint(
        method="compressed-tensors",
        algorithm=_algorithm(folder),
        layout=_word(told, "format"),
        bits=_number(weights, "num_bits"),
        number="float" if weights.get("type") == "float" else "int" if weights else None,
        group_size=size if size and size > 0 else None,
        granularity=granularity,
        symmetric=symmetric if isinstance(symmetric, bool) else None,
        act_order=bool(weights.get("actorder")),
        activations=_scheme(inputs) if isinstance(inputs, dict) else None,
        kv_cache=_scheme(kv) if isinstance(kv, dict) else None,
        ignored=_names(told, "ignore"),
    )


def _algorithm(folder: Path) -> str | None:
    """The one in llm-compressor's recipe, which alone tells GPTQ from AWQ in this layout."""
    try:
        found = {name.lower() for name in _MODIFIER.findall((folder / RECIPE).read_text())}
    except (OSError, UnicodeDecodeError):
        return None
    return found.pop() if len(found) == 1 else None


def _scheme(told: Mapping[str, Any]) -> str:
    number = "fp" if told.get("type") == "float" else "int"
    return f"{number}{told.get('num_bits')} {'dynamic' if told.get('dynamic') else 'static'}"


def _bitsandbytes(told: Mapping[str, Any]) -> Checkpoint:
    four = bool(told.get("load_in_4bit"))
    return Checkpoint(
        method="bitsandbytes",
        layout=_word(told, "bnb_4bit_quant_type") if four else "int8",
        bits=4 if four else 8,
        number=None if four else "int",
        granularity=None if four else "channel",
        activations=None if four else "int8 dynamic",
        ignored=_names(told, "llm_int8_skip_modules"),
    )


def _fp8(told: Mapping[str, Any], method: str) -> Checkpoint:
    block = told.get("weight_block_size")
    blocks = f"block {'x'.join(map(str, block))}" if isinstance(block, list) else "tensor"
    scheme = told.get("activation_scheme", "dynamic")
    return Checkpoint(
        method=method,
        bits=8,
        number="float",
        granularity="channel" if method == "fbgemm_fp8" else blocks,
        activations=f"fp8 {scheme}",
        ignored=_names(told, "modules_to_not_convert", "ignored_layers"),
    )


def _modelopt(told: Mapping[str, Any]) -> Checkpoint:
    algorithm = str(told.get("quant_algo") or "")
    kv = told.get("kv_cache_quant_algo")
    bits = 4 if "4" in algorithm else 8 if "8" in algorithm else None
    activations = _MODELOPT_ACTIVATIONS.get(algorithm.upper())
    return Checkpoint(
        method="modelopt",
        layout=algorithm or None,
        bits=bits,
        number="float" if "FP" in algorithm.upper() else "int" if bits else None,
        group_size=_number(told, "group_size"),
        activations=activations,
        kv_cache=str(kv).lower() if kv else None,
        ignored=_names(told, "exclude_modules", "ignore"),
    )


def _gguf(path: Path) -> Checkpoint:
    layout = file_type(read_header(path))
    bits = _GGUF_BITS.match(layout or "")
    number: Literal["int", "float"] | None = None
    if layout is not None and bits:
        number = "float" if layout.startswith(("F", "BF", "MXFP")) else "int"
    return Checkpoint(
        method="gguf", layout=layout, bits=int(bits[1]) if bits else None, number=number
    )


def _dtype(config: Mapping[str, Any]) -> str | None:
    text = _table(config.get("text_config"))
    named = (one.get(key) for one in (config, text) for key in ("dtype", "torch_dtype"))
    return next((name.removeprefix("torch.") for name in named if isinstance(name, str)), None)


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found = json.loads(path.read_text())
    return found if isinstance(found, dict) else None


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(told: Mapping[str, Any], *keys: str) -> int | None:
    found = (told.get(key) for key in keys)
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool)), None)


def _word(told: Mapping[str, Any], *keys: str) -> str | None:
    return next((str(told[key]) for key in keys if isinstance(told.get(key), str)), None)


def _names(told: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    for key in keys:
        names = told.get(key)
        if isinstance(names, list):
            return tuple(map(str, names))
    return ()
