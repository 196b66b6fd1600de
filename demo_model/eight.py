"""Round the demo model to 8 bits, weights and activations: INT8 and FP8 (compressed-tensors).

Each output channel of a linear layer has a scale of its own, `absmax / largest level`, and its
weights are rounded to the nearest level; activations are quantized a token at a time while the
model runs (`dynamic`), so that nothing is calibrated. The head and the embeddings stay FP16.
Needs torch (2.1 or newer) and safetensors.
Run from the repository root: `python -m demo_model.eight`.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

FORMATS = {
    "int8": ("int", "int-quantized", torch.int8, 127.0),
    "fp8": ("float", "float-quantized", torch.float8_e4m3fn, 448.0),
}
OTHER_FILES = ("generation_config.json", "tokenizer.json", "tokenizer_config.json")


def rounded(weight: torch.Tensor, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a matrix (out, in) in 8 bits and its scales (out, 1), float32."""
    _, _, dtype, largest = FORMATS[name]
    exact = weight.float()
    scale = exact.abs().amax(1, keepdim=True) / largest
    level = exact / scale
    return (level.round() if dtype == torch.int8 else level).to(dtype), scale


def config_of(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Add to a model's configuration how it is quantized."""
    number, layout, _, _ = FORMATS[name]

    def arguments(strategy: str, *, dynamic: bool) -> dict[str, Any]:
        return {
            "num_bits": 8, "type": number, "symmetric": True, "strategy": strategy,
            "dynamic": dynamic, "group_size": None,
        }  # fmt: skip

    return config | {
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": layout,
            "quantization_status": "compressed",
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": arguments("channel", dynamic=False),
                    "input_activations": arguments("token", dynamic=True),
                    "output_activations": None,
                }
            },
            "ignore": ["lm_head"],
            "kv_cache_scheme": None,
        }
    }


def round_model(source: Path, out: Path, name: str) -> None:
    """Write one build, with the tokenizer files of its source."""
    weights = load_file(source / "model.safetensors")
    written = {}
    for key, weight in weights.items():
        if key.endswith("_proj.weight"):
            written[key], written[f"{key}_scale"] = rounded(weight, name)
        else:
            written[key] = weight
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    save_file(written, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    config = json.loads((source / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config_of(config, name), indent=2) + "\n")
    for file in OTHER_FILES:
        shutil.copyfile(source / file, out / file)


def main() -> None:
    """Read the command line and round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("launchers/models/demo-fp16"))
    parser.add_argument("--out", type=Path, default=Path("launchers/models"))
    args = parser.parse_args()
    for name in FORMATS:
        round_model(args.model, args.out / f"demo-{name}", name)
        print(args.out / f"demo-{name}")


if __name__ == "__main__":
    main()
