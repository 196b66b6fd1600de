"""The child's own arithmetic, in the environment that has torch and llm-compressor."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import launchers
from launchers.environments import installed
from tests.engines import needs

PYTHON = installed("llm-compressor")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
    needs("llm-compressor"),
]
PROGRAM = """
import json, sys
import torch
from pathlib import Path
from safetensors.torch import save_file
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization import initialize_module_for_quantization
from launchers.quantize.compress import Originals, batches, errors, passed_over

torch.manual_seed(0)

class Experts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up_proj = torch.nn.Parameter(torch.randn(4, 8, 64))

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(16, 64)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(64, 64, bias=False) for _ in range(3)])
        self.experts = Experts()
        self.norm = torch.nn.LayerNorm(64)
        self.device = "cpu"
    def forward(self, input_ids, use_cache):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = x + layer(x)
        return x

model = Small()
with torch.no_grad():
    model.layers[1].weight.zero_()
source = Path(sys.argv[1])
exact = model.layers[0].weight.detach().clone()
save_file({"layers.0.weight": exact}, source / "model.safetensors")
before = Originals(source, model)
args = QuantizationArgs(num_bits=4, type="int", strategy="group", group_size=32, symmetric=True)
for layer in model.layers[:2]:
    initialize_module_for_quantization(layer, QuantizationScheme(targets=["Linear"], weights=args))
    with torch.no_grad():
        largest = layer.weight.reshape(64, 2, 32).abs().amax(-1)
        layer.weight_scale.copy_(largest / 7.5)
        layer.weight.add_(1.0)  # as if rounded in place: what it was is in the file
found = errors(model, before, [[1, 2, 3], [4, 5]])
left, share = passed_over(model, ("layers.9",))
put = batches([[n] * (128 if n % 2 else 100 + n) for n in range(40)] + [[7] * 2048, [8] * 2048])
print(json.dumps({
    "shapes": [list(one["input_ids"].shape) for one in put],
    "rows": sorted(row[0] for one in put for row in one["input_ids"].tolist()),
    "errors": {one.name: [one.weight_error, one.output_error] for one in found},
    "copies": sorted(before._copies), "left": left, "share": share,
    "total": sum(p.numel() for p in model.parameters()),
    "same": bool(torch.equal(before.get("layers.0"), exact)),
    "unknown": before.get("other") is None,
}))
"""


def test_errors_and_what_was_passed_over(tmp_path: Path) -> None:
    assert PYTHON is not None
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(launchers.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["same"], "read again from the file, not as rounded in place"
    assert told["unknown"]
    assert told["copies"] == ["layers.1", "layers.2"], "only what the file has not is kept"
    assert told["errors"]["layers.1"] == [0.0, None], "a layer of zeros loses nothing"
    shapes = told["shapes"]
    assert max(rows * length for rows, length in shapes) <= 2048, "as many tokens as one sample"
    assert [rows for rows, length in shapes if length == 128] == [16, 5], "21 of them"
    assert [rows for rows, length in shapes if length == 2048] == [1, 1]
    assert told["rows"] == sorted([*range(40), 7, 8]), "each once"
    weight, output = told["errors"]["layers.0"]
    assert weight > 0
    assert output > 0
    assert told["left"] == ["experts.gate_up_proj", "layers.*"]
    assert told["share"] == pytest.approx((4 * 8 * 64 + 64 * 64) / told["total"])
