"""The INT8 and FP8 builds are the FP16 build, each weight rounded to a nearest level of its row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from launchers.model import MODELS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]


def fp8_levels() -> Array:
    """The 256 values of float8_e4m3fn: 1 sign bit, 4 of exponent (bias 7), 3 of mantissa."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    size = np.where(
        exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0)
    )
    size = np.where((exponent == 15) & (mantissa == 7), np.nan, size)
    return np.where(code & 128, -size, size)


def tensors(path: Path) -> dict[str, Array]:
    """A safetensors file: 8 bytes of length, a JSON header, the values."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    header.pop("__metadata__", None)
    kinds = {"F16": np.float16, "F32": np.float32, "I8": np.int8, "F8_E4M3": np.uint8}
    found = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        values = np.frombuffer(content[begin + first : begin + end], kinds[entry["dtype"]])
        values = fp8_levels()[values] if entry["dtype"] == "F8_E4M3" else values
        found[name] = values.reshape(entry["shape"])
    return found


@pytest.mark.parametrize(("name", "largest"), [("int8", 127), ("fp8", 448)])
def test_each_weight_is_rounded_to_a_nearest_level(name: str, largest: int) -> None:
    whole, rounded = (
        tensors(MODELS / f"demo-{one}" / "model.safetensors") for one in ("fp16", name)
    )
    scaled = {key for key in whole if key.endswith("_proj.weight")}
    assert len(scaled) == 4 * 7
    assert rounded.keys() == whole.keys() | {f"{key}_scale" for key in scaled}
    for key, exact in whole.items():
        if key not in scaled:
            assert np.array_equal(rounded[key], exact)
            continue
        scale, single = rounded[f"{key}_scale"], exact.astype(np.float32)
        assert np.allclose(scale, np.abs(single).max(1, keepdims=True) / largest, rtol=1e-6)
        level = single / scale
        off = np.abs(rounded[key] - level)
        # Half a step: of INT8 1, of FP8 an eighth of the power of two below, at least 2^-9.
        step = np.ones(())
        if name == "fp8":
            power = np.floor(np.log2(np.maximum(np.abs(level), 2.0**-6)))
            step = np.exp2(power - 3)
        assert (off <= step * 0.5001).all()


@pytest.mark.parametrize("name", ["int8", "fp8"])
def test_tokenizer_and_shape_are_the_same(name: str) -> None:
    for path in (MODELS / "demo-fp16").iterdir():
        if path.name not in {"model.safetensors", "config.json"}:
            assert (MODELS / f"demo-{name}" / path.name).read_bytes() == path.read_bytes()
    ours, theirs = (
        json.loads((MODELS / f"demo-{one}" / "config.json").read_text()) for one in (name, "fp16")
    )
    del ours["quantization_config"]
    assert ours == theirs
