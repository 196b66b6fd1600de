"""ln p of the same windows from transformers itself, in a Python that has torch.

    python benchmarks/perplexity_direct.py MODEL DTYPE < windows.json > logprobs.json

The input is a list of {"ids": [token, …], "context": k}; the output one list of ln p for each, of
the tokens from place k on. The softmax is in float64, the model's arithmetic in DTYPE. It imports
nothing of the harness and shares no code with it.
"""

from __future__ import annotations

import json
import sys

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    """Score all windows."""
    folder, dtype = sys.argv[1:]
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    found = []
    with torch.inference_mode():
        for window in json.load(sys.stdin):
            ids = torch.tensor(window["ids"])
            logits = model(input_ids=ids[None]).logits[0, :-1].double()
            logprobs = torch.log_softmax(logits, -1).gather(1, ids[1:, None])[:, 0]
            found.append(logprobs[window["context"] - 1 :].tolist())
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
