"""The child's work: load, calibrate, measure what each layer lost, save."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from compressed_tensors.quantization import fake_quantize
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from safetensors import safe_open
from torch.nn.functional import linear
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModelForCausalLM

from launchers.errors import PlanError
from launchers.quantize.layers import choose, pattern_of
from launchers.quantize.plan import BITS, SYMMETRIC, Layer, Started, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launchers.quantize.plan import Event, Plan

PACKAGES = ("llmcompressor", "compressed-tensors", "torch", "transformers", "tokenizers")
SMALL_PARAMETERS = 64_000_000
"""Below, one thread: on a busy machine a second one cost GPTQ a third and AWQ a tenth more time."""
ERROR_SAMPLES = 16
TOKENS_AT_ONCE = 2048
RECIPE = "recipe.yaml"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".index.json")
_WRITTEN_ELSEWHERE = ("README.md", "quantization.json", "build.toml")


def run(plan: Plan, tell: Callable[[Event], None], began: float) -> None:
    """Do the plan, and tell of it; `began` is when the process did, by `time.monotonic`.

    Raises:
        PlanError: the model cannot be quantized as it was asked.
    """
    clock = Clock(began)
    clock.lap("import")
    tell(Started(step="loading"))
    source, out = Path(plan.model), Path(plan.out)
    config = AutoConfig.from_pretrained(source)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    chosen = choose(
        {name: module.in_features for name, module in linears(skeleton)},
        plan.skip,
        plan.group_size,
    )
    parameters = sum(parameter.numel() for parameter in skeleton.parameters())
    threads = plan.threads or (1 if parameters < SMALL_PARAMETERS else torch.get_num_threads())
    torch.set_num_threads(threads)
    torch.manual_seed(plan.seed)
    if not torch.accelerator.is_available():
        pin_nothing()
    saved_as = config.dtype or torch.float16
    model = load(source, saved_as)
    samples = json.loads(Path(plan.samples).read_bytes())
    before = Originals(source, model) if plan.method == "gptq" else None  # it rounds in place
    clock.lap("load")
    tell(Started(step="calibrating"))
    oneshot(
        model=model,
        dataset=DataLoader(batches(samples), batch_size=None, shuffle=False),
        recipe=modifiers(plan, chosen.kept),
    )
    clock.lap("calibrate")
    tell(Started(step="measuring"))
    layers = errors(model, before, samples[:ERROR_SAMPLES])
    left, left_share = passed_over(model, chosen.kept)
    clock.lap("measure")
    tell(Started(step="saving"))
    device = str(next(model.parameters()).device)
    save(model.to(saved_as), source, out)
    clock.lap("save")
    tell(
        Written(
            layers=tuple(layers),
            kept=chosen.kept,
            kept_beside=chosen.beside,
            left=left,
            left_share=left_share,
            error_samples=len(samples[:ERROR_SAMPLES]),
            recipe=(out / RECIPE).read_text(),
            device=device,
            dtype=str(saved_as).removeprefix("torch."),
            threads=threads,
            versions={"python": platform.python_version()}
            | {package: version(package) for package in PACKAGES},
            seconds=clock.laps,
        )
    )


class Clock:
    """Seconds that each part took."""

    def __init__(self, began: float) -> None:
        self.laps: dict[str, float] = {}
        self._began = began

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.monotonic()
        self.laps[name] = round(now - self._began, 2)
        self._began = now


class Originals:
    """Weights as they were before they were rounded, read again from the checkpoint when asked for.

    Only what is not in its files under the layer's name is kept in memory.
    """

    def __init__(self, source: Path, model: torch.nn.Module) -> None:
        self._files = {
            key: path for path in sorted(source.glob("*.safetensors")) for key in _keys(path)
        }
        self._copies = {
            name: module.weight.detach().cpu().clone()
            for name, module in linears(model)
            if f"{name}.weight" not in self._files
        }

    def get(self, name: str) -> torch.Tensor | None:
        """Return a layer's weights; None of one that llm-compressor has made of something else."""
        path = self._files.get(f"{name}.weight")
        if path is None:
            return self._copies.get(name)
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(f"{name}.weight")


def _keys(path: Path) -> list[str]:
    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def passed_over(model: torch.nn.Module, kept: tuple[str, ...]) -> tuple[tuple[str, ...], float]:
    """Return what was neither quantized nor skipped, as patterns, and its share of all weights.

    Norms, embeddings and the like are no layers of weights that anybody quantizes.
    """
    left: dict[str, int] = {}
    total = 0
    for owner, module in model.named_modules():
        for part, values in module.named_parameters(recurse=False):
            total += values.numel()
            if values.ndim < 2 or isinstance(module, torch.nn.Embedding):  # noqa: PLR2004
                continue
            if hasattr(module, "weight_scale") or owner in kept:
                continue
            is_linear = isinstance(module, torch.nn.Linear)
            name = pattern_of(owner if is_linear else f"{owner}.{part}")
            left[name] = left.get(name, 0) + values.numel()
    return tuple(sorted(left)), sum(left.values()) / total


def linears(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Linear]]:
    """Yield the linear layers by name."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            yield name, module


def batches(samples: list[list[int]]) -> list[dict[str, torch.Tensor]]:
    """Put samples of one length together, so that each call of a layer takes several.

    Both methods weigh tokens alike, whatever batch they are in: GPTQ adds up XᵀX, AWQ squared
    errors and means over tokens. Nothing is padded, and no batch has more tokens than the longest
    sample may have.
    """
    alike: dict[int, list[list[int]]] = defaultdict(list)
    for ids in samples:
        alike[len(ids)].append(ids)
    found = []
    for length, those in alike.items():
        at_once = max(1, TOKENS_AT_ONCE // length)
        for first in range(0, len(those), at_once):
            ids = torch.tensor(those[first : first + at_once])
            found.append({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    return found


def load(source: Path, saved_as: torch.dtype) -> Any:  # noqa: ANN401 - a class made at run time
    """Load for calibration; a CPU computes in 32 bits, as its 16-bit kernels are slow."""
    wanted = saved_as if torch.accelerator.is_available() else torch.float32
    try:
        return AutoModelForCausalLM.from_pretrained(source, dtype=wanted)
    except (ValueError, OSError) as error:
        raise PlanError(f"MODEL: {source} cannot be loaded: {error}") from error


def pin_nothing() -> None:
    """Get AWQ through where there is no accelerator.

    Since 0.13 llm-compressor pins what AWQ keeps for its search without asking whether there is
    something to pin it for, and torch refuses; 0.12 asked. No option of it leaves the pinning out.
    """
    IntermediatesCache.pin_memory = lambda *_args, **_kwargs: None


def modifiers(plan: Plan, kept: tuple[str, ...]) -> list[Any]:
    """Return the recipe: 4-bit weights in groups; GPTQ symmetric, AWQ with zero points."""
    weights = {
        "num_bits": BITS,
        "type": "int",
        "strategy": "group",
        "group_size": plan.group_size,
        "symmetric": SYMMETRIC[plan.method],
        "dynamic": False,
    }
    scheme: dict[str, Any] = {
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": list(kept),
    }
    if plan.method == "gptq":
        return [GPTQModifier(**scheme)]
    return [AWQModifier(), QuantizationModifier(**scheme)]


@torch.no_grad()  # type: ignore[untyped-decorator]
def errors(
    model: Any,  # noqa: ANN401 - a class made at run time
    before: Originals | None,
    samples: list[list[int]],
) -> list[Layer]:
    """Measure what each quantized layer lost, the worst output first.

    Args:
        model: with weights as rounded (GPTQ) or as scaled and not yet rounded (AWQ).
        before: weights as they were, where they are rounded in place.
        samples: token ids to take the layers' inputs from.
    """
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    weight_errors: dict[str, float | None] = {}
    handles = []
    quantized = [(name, m) for name, m in linears(model) if hasattr(m, "weight_scale")]
    for name, module in quantized:
        if before is not None and before.get(name) is None:
            weight_errors[name] = None
            continue
        exact, lost = _exact_and_lost(module, None if before is None else before.get(name))
        size = float(exact.norm())
        weight_errors[name] = float(lost.norm()) / size if size else 0.0  # nothing to be lost

        def look(module: Any, args: Any, _output: Any, name: str = name) -> None:  # noqa: ANN401
            exact, lost = _exact_and_lost(module, None if before is None else before.get(name))
            inputs = args[0].float()
            sums[name][0] += float(linear(inputs, lost).double().square().sum())
            sums[name][1] += float(linear(inputs, exact).double().square().sum())

        handles.append(module.register_forward_hook(look))
    for batch in batches(samples):
        model(input_ids=batch["input_ids"].to(model.device), use_cache=False)
    for handle in handles:
        handle.remove()
    found = [
        Layer(
            name=name,
            rows=module.out_features,
            columns=module.in_features,
            weight_error=weight_errors[name],
            output_error=(sums[name][0] / sums[name][1]) ** 0.5 if sums[name][1] else None,
        )
        for name, module in quantized
    ]
    return sorted(found, key=lambda layer: (-(layer.output_error or 0), layer.name))


def _exact_and_lost(
    module: Any,  # noqa: ANN401 - what llm-compressor adds has no type
    before: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return W and Ŵ − W."""
    rounded = fake_quantize(
        module.weight,
        module.weight_scale,
        module.weight_zero_point,
        module.quantization_scheme.weights,
    ).float()
    exact = (module.weight if before is None else before.to(module.weight.device)).float()
    return exact, rounded - exact


def save(model: Any, source: Path, out: Path) -> None:  # noqa: ANN401
    """Write the checkpoint, and beside it what else the source has: tokenizer, chat template."""
    model.save_pretrained(out, save_compressed=True)
    for path in sorted(source.iterdir()):
        there = (out / path.name).exists() or path.name in _WRITTEN_ELSEWHERE
        if path.is_file() and not there and not path.name.endswith(_WEIGHTS):
            shutil.copyfile(path, out / path.name)
    for path in out.iterdir():
        path.chmod(0o644)
    config_file = out / "config.json"
    config = json.loads(config_file.read_text())
    config.pop("_name_or_path", None)  # a path of the machine that it was made on
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
