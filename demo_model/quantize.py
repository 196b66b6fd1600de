"""Quantize the demo model to 4 bits with GPTQ and AWQ (llm-compressor), on a CPU.

Calibrated on the `calibration` questions of `evals.transactions`, which share no prompt and no
template with the `eval` questions. Run from the repository root: `python -m demo_model.quantize`.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from transformers import AutoModelForCausalLM, AutoTokenizer

from evals.transactions import generate

METHODS = ("gptq", "awq")


def modifiers(method: str) -> list[Any]:
    """4-bit weights in groups of 128: GPTQ symmetric, AWQ with zero points; the head stays."""
    if method == "gptq":
        return [GPTQModifier(targets="Linear", scheme="W4A16", ignore=["lm_head"])]
    return [
        AWQModifier(),
        QuantizationModifier(targets="Linear", scheme="W4A16_ASYM", ignore=["lm_head"]),
    ]


def pin_nothing_without_accelerator() -> None:
    """Get AWQ of llm-compressor 0.14 through on a CPU: it pins memory without asking for what."""
    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = lambda *_args, **_kwargs: None


def quantize(source: Path, out: Path, method: str, samples: int, seed: int) -> None:
    """Write one quantized build, with the tokenizer files of its source."""
    began = time.monotonic()
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    questions = generate(seed, samples, "calibration")
    rows = [{"input_ids": tokenizer(q.prompt + q.answer)["input_ids"]} for q in questions]
    for row in rows:
        row["attention_mask"] = [1] * len(row["input_ids"])
    torch.manual_seed(seed)
    oneshot(
        model=model,
        dataset=Dataset.from_list(rows),
        recipe=modifiers(method),
        num_calibration_samples=samples,
        max_seq_length=512,
    )
    shutil.rmtree(out, ignore_errors=True)
    model.half()
    model.save_pretrained(out, save_compressed=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(source / name, out / name)
    (out / "model.safetensors").chmod(0o644)
    config_file = out / "config.json"
    config = json.loads(config_file.read_text())
    config.pop("_name_or_path", None)
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    print(f"saved {out} after {time.monotonic() - began:.0f} s")


def main() -> None:
    """Read the command line and quantize."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("launchers/models/demo-fp16"))
    parser.add_argument("--out", type=Path, default=Path("launchers/models"))
    parser.add_argument("--method", choices=METHODS, action="append", help="default: both")
    parser.add_argument("--samples", type=int, default=128, help="calibration questions")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    pin_nothing_without_accelerator()
    for method in args.method or METHODS:
        quantize(args.model, args.out / f"demo-{method}", method, args.samples, args.seed)


if __name__ == "__main__":
    main()
