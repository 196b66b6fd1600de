"""Write the demo model as GGUF for llama.cpp: 16 bits, Q8_0 and Q4_0.

llama.cpp's own converter refuses a tokenizer that it does not know, so the file is written with
its `gguf` package. The tokenizer is byte-level BPE that splits every digit off before GPT-2's
rule, which llama.cpp calls "smollm". K-quants (Q4_K_M and the like) want rows in multiples of 256
weights; the rows here have 128 and 384, so the 4-bit file is Q4_0. As in llama.cpp's own Q4_0
files, the embedding, which is the head too, keeps more: 8 bits.
Run from the repository root: `python -m demo_model.to_gguf`.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType
from numpy.typing import NDArray
from safetensors.numpy import load_file

KINDS = {
    "f16": (Type.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (Type.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
EMBEDDING = "token_embd.weight"
PRE_TOKENIZER = "smollm"
COPIED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def interleaved(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Order the rows of queries or keys as llama.cpp's rotation pairs them.

    transformers rotates row i of a head with row i + half, llama.cpp neighbours.
    """
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def add_settings(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Write what `config.json` says of the network."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    """Write the tokens, their merges and the special ones."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    names = json.loads((folder / "tokenizer_config.json").read_text())
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    kinds = [
        gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL
        for number in range(len(ids))
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(sorted(ids, key=ids.__getitem__))
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(True)
    writer.add_chat_template(names["chat_template"])


def write(source: Path, out: Path, kind: str) -> None:
    """Write one folder: the GGUF file, and the source's configuration and tokenizer beside it."""
    config = json.loads((source / "config.json").read_text())
    found = load_file(source / "model.safetensors")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    wanted, file_type = KINDS[kind]
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    writer = gguf.GGUFWriter(out / f"{out.name}.gguf", "llama")
    writer.add_name(out.name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_settings(writer, config)
    add_tokenizer(writer, source, config)
    for name, read in sorted(found.items()):
        weight = read
        to = names.get_name(name, try_suffixes=(".weight",))
        if to is None:
            raise SystemExit(f"{name} has no name in a GGUF file of a Llama")
        if to.endswith("attn_q.weight"):
            weight = interleaved(read, config["num_attention_heads"])
        elif to.endswith("attn_k.weight"):
            weight = interleaved(read, config["num_key_value_heads"])
        if weight.ndim == 1:
            writer.add_tensor(to, weight.astype(np.float32))
            continue
        chosen = Type.Q8_0 if to == EMBEDDING and wanted is Type.Q4_0 else wanted
        values = gguf.quantize(weight.astype(np.float32), chosen)
        writer.add_tensor(to, values, raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name in COPIED:
        shutil.copyfile(source / name, out / name)


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("launchers/models/demo-fp16"))
    parser.add_argument("--out", type=Path, default=Path("launchers/models"))
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all")
    args = parser.parse_args()
    for kind in args.kind or KINDS:
        write(args.model, args.out / f"demo-gguf-{kind}", kind)


if __name__ == "__main__":
    main()
