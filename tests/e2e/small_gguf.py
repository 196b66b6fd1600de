"""A random Llama as an F16 GGUF file, its rows multiples of 256, and llama.cpp's quantizer.

The demo model's rows have 128 and 384 weights, which no K-quant takes. Its tokenizer does.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH, MLP, LAYERS, HEADS, CONTEXT = 256, 512, 2, 4, 512
ALIGNMENT: Final = 32
F32, F16 = 0, 1
MOSTLY_F16: Final = 1
QUANTIZER = """
#include "llama.h"
#include <cstdlib>
int main(int, char **argv) {
    llama_backend_init();
    auto how = llama_model_quantize_default_params();
    how.ftype = static_cast<llama_ftype>(atoi(argv[3]));
    how.nthread = 1;
    return llama_model_quantize(argv[1], argv[2], &how);
}
"""
"""What llama.cpp's own `llama-quantize` does; the managed environment has its library alone."""


def write_small(path: Path, tokenizer: Path) -> None:
    """Write the file. Source of the layout: "GGUF", ggml's docs/gguf.md, version 3."""
    tensors = _tensors(len(_vocabulary(tokenizer)))
    settings = _settings(tokenizer)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings))
    head += b"".join(_text(name) + _value(value) for name, value in settings.items())
    at = 0
    for name, values in tensors.items():
        shape = values.shape[::-1]
        kind = F32 if values.dtype == np.float32 else F16
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, at)
        at += _padded(values.nbytes)
    body = b"".join(
        values.tobytes().ljust(_padded(values.nbytes), b"\0") for values in tensors.values()
    )
    path.write_bytes(head.ljust(_padded(len(head)), b"\0") + body)


def quantize(source: Path, out: Path, file_type: int, library: Path) -> None:
    """Let llama.cpp write `source` as another file type.

    Args:
        source: F16.
        out: to write.
        file_type: `llama_ftype` of llama.cpp's include/llama.h.
        library: the folder with its `include` and `lib`.
    """
    program = out.parent / "quantize"
    if not program.exists():
        code = out.parent / "quantize.cpp"
        code.write_text(QUANTIZER)
        libraries = [f"-l{name}" for name in ("llama", "ggml", "ggml-cpu", "ggml-base")]
        subprocess.run(
            [shutil.which("c++") or "g++", "-std=c++17", "-fopenmp", str(code), "-o", str(program),
             f"-I{library / 'include'}", f"-L{library / 'lib'}", "-Wl,--start-group", *libraries,
             "-Wl,--end-group", "-lpthread", "-ldl", "-lm"],
            check=True,
        )  # fmt: skip
    subprocess.run(
        [program, source, out, str(file_type)], check=True, capture_output=True, timeout=120
    )


def _tensors(tokens: int) -> dict[str, NDArray[Any]]:
    chance = np.random.default_rng(7)

    def some(rows: int, columns: int) -> NDArray[Any]:
        return (chance.standard_normal((rows, columns)) / columns**0.5).astype(np.float16)

    one = np.ones(WIDTH, np.float32)
    found: dict[str, NDArray[Any]] = {
        "token_embd.weight": some(tokens, WIDTH), "output.weight": some(tokens, WIDTH),
        "output_norm.weight": one,
    }  # fmt: skip
    for layer in range(LAYERS):
        parts = {f"attn_{name}": some(WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        parts |= {"ffn_gate": some(MLP, WIDTH), "ffn_up": some(MLP, WIDTH)}
        parts |= {"ffn_down": some(WIDTH, MLP), "attn_norm": one, "ffn_norm": one}
        found |= {f"blk.{layer}.{name}.weight": values for name, values in parts.items()}
    return found


def _vocabulary(tokenizer: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(tokenizer.read_text())["model"]["vocab"]
    return found


def _settings(tokenizer: Path) -> dict[str, object]:
    told = json.loads(tokenizer.read_text())
    ids = _vocabulary(tokenizer)
    special = {token["id"]: token["content"] for token in told["added_tokens"]}
    return {
        "general.architecture": "llama",
        "general.name": "small",
        "general.file_type": MOSTLY_F16,
        "llama.context_length": CONTEXT,
        "llama.embedding_length": WIDTH,
        "llama.block_count": LAYERS,
        "llama.feed_forward_length": MLP,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": WIDTH // HEADS,
        "llama.vocab_size": len(ids),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": sorted(ids, key=ids.__getitem__),
        "tokenizer.ggml.token_type": [3 if n in special else 1 for n in range(len(ids))],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in told["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": min(special),
        "tokenizer.ggml.eos_token_id": sorted(special)[1],
    }


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: object) -> bytes:
    """Spell a value with its type: an unsigned or signed number, a float, a text, a list."""
    if isinstance(value, list):
        kind, form = (8, "") if isinstance(value[0], str) else (5, "<i")
        items = (_text(item) if kind == 8 else struct.pack(form, item) for item in value)
        return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(items)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    return struct.pack("<II", 4, value)
