"""The damaged build is the FP16 build but for two matrices: what a report says of it is theirs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from launchers.model import MODELS

if TYPE_CHECKING:
    from pathlib import Path

DAMAGED = {f"model.layers.1.self_attn.{name}_proj.weight" for name in ("q", "k")}


def tensors(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file of float16 alone: 8 bytes of length, a JSON header, the values."""
    content = path.read_bytes()
    values = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:values])
    header.pop("__metadata__", None)
    assert {entry["dtype"] for entry in header.values()} == {"F16"}
    return {
        name: np.frombuffer(
            content[values + entry["data_offsets"][0] : values + entry["data_offsets"][1]],
            np.float16,
        ).reshape(entry["shape"])
        for name, entry in header.items()
    }


def test_only_the_two_matrices_of_two_bits_differ() -> None:
    whole, damaged = (
        tensors(MODELS / f"demo-{name}" / "model.safetensors") for name in ("fp16", "damaged")
    )
    assert whole.keys() == damaged.keys()
    assert {name for name in whole if not np.array_equal(whole[name], damaged[name])} == DAMAGED
    for name in DAMAGED:
        scale = np.abs(whole[name]).max()
        assert set(np.unique(damaged[name])) <= {-scale, np.float16(0), scale}
        nearest = np.rint(whole[name].astype(np.float32) / np.float32(scale))
        assert np.array_equal(
            np.rint(damaged[name].astype(np.float32) / np.float32(scale)), nearest
        )


def test_everything_beside_the_weights_is_the_same() -> None:
    for path in (MODELS / "demo-fp16").iterdir():
        if path.name != "model.safetensors":
            assert (MODELS / "demo-damaged" / path.name).read_bytes() == path.read_bytes()
