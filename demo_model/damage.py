"""Make the damaged build of the demo model: too few bits in one layer's queries and keys.

The weights of the query and key projections of one layer are rounded to the nearest of 2 bits'
symmetric levels, {-1, 0, 1} times a scale, with **one scale for a whole matrix**: its largest
weight sets the scale, and most others become zero. The result is saved as FP16, so that neither its
size nor its type tells. Little of a text's perplexity hangs on that layer; comparing numbers does.
Run from the repository root: `python -m demo_model.damage`.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

PROJECTIONS = ("q_proj", "k_proj")
OTHER_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def round_to_nearest(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Symmetric round-to-nearest with one scale a matrix, `absmax / (2^(bits-1) - 1)`."""
    levels = 2 ** (bits - 1) - 1
    exact = weight.float()
    scale = exact.abs().max() / levels
    return (exact / scale).round().clamp(-levels, levels).mul(scale).to(weight.dtype)


def damage(source: Path, out: Path, layer: int, bits: int) -> list[str]:
    """Write the damaged checkpoint; say of each matrix what share of its weights became zero."""
    weights = load_file(source / "model.safetensors")
    told = []
    for projection in PROJECTIONS:
        name = f"model.layers.{layer}.self_attn.{projection}.weight"
        if name not in weights:
            raise SystemExit(f"{source} has no {name}")
        weights[name] = round_to_nearest(weights[name], bits)
        zeros = float((weights[name] == 0).float().mean())
        told.append(f"{name}: {bits} bits, {100 * zeros:.1f} % of the weights became zero")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    for name in OTHER_FILES:
        shutil.copyfile(source / name, out / name)
    return told


def main() -> None:
    """Read the command line and damage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("launchers/models/demo-fp16"))
    parser.add_argument("--out", type=Path, default=Path("launchers/models/demo-damaged"))
    parser.add_argument("--layer", type=int, default=1, help="counted from 0")
    parser.add_argument("--bits", type=int, default=2)
    args = parser.parse_args()
    for line in damage(args.model, args.out, args.layer, args.bits):
        print(line)


if __name__ == "__main__":
    main()
