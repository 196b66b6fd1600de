"""What passes between the harness and the child process that has llm-compressor: plain JSON.

The child reads one `Plan` from its standard input, which stays open as its life-line, and writes
one `Event` a line to its standard output. How far llm-compressor is stands in what it prints.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from launchers.errors import LauncherError, PlanError, QuantizeError

Method = Literal["gptq", "awq"]
BITS = 4
SYMMETRIC: dict[Method, bool] = {"gptq": True, "awq": False}
"""Otherwise with zero points."""
FORMAT = "compressed-tensors"
ERRORS: dict[str, type[LauncherError]] = {
    kind.__name__: kind for kind in (PlanError, QuantizeError)
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what is written."""

    model: str
    """Folder of the checkpoint."""
    out: str
    """Folder to write into; it is there, and empty."""
    samples: str
    """JSON file: the calibration samples in order, each a list of token ids."""
    method: Method
    group_size: int
    sequence_length: int
    skip: tuple[str, ...]
    """Patterns (`*`, `?`) of the names of layers that keep their 16 bits."""
    seed: int
    threads: int | None = None
    """None: one for a small model, all cores for others."""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """What quantizing did to one layer."""

    name: str
    rows: int
    columns: int
    weight_error: float | None
    """‖Ŵ − W‖ / ‖W‖, Frobenius norms. For AWQ both are W as it was scaled. None: the checkpoint has
    no W under the layer's name."""
    output_error: float | None
    """‖X(Ŵ − W)ᵀ‖ / ‖XWᵀ‖; X: the layer's inputs from calibration samples, in the quantized
    model. None: none of them reached it."""


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """What is going on."""

    step: Literal["loading", "calibrating", "measuring", "saving"]


class Written(msgspec.Struct, frozen=True, kw_only=True, tag="written"):
    """The checkpoint is in its folder."""

    layers: tuple[Layer, ...]
    kept: tuple[str, ...]
    """Linear layers that were left as they were."""
    kept_beside: tuple[str, ...]
    """Those of `kept` that no pattern names: an engine fuses them with one that is skipped."""
    left: tuple[str, ...] = ()
    """What else kept its 16 bits: weights that are no linear layers, such as experts in one tensor,
    and linear layers that llm-compressor passed over; patterns of their names."""
    left_share: float = 0.0
    """Their share of the model's weights, 0…1."""
    error_samples: int
    """Calibration samples from which output errors were taken."""
    recipe: str
    device: str
    dtype: str
    """Of the layers that were left as they were."""
    threads: int
    versions: dict[str, str]
    seconds: dict[str, float]


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Why it ended."""

    error: str
    """A key of `ERRORS`."""
    text: str


Event = Started | Written | Failed
encode = msgspec.json.Encoder().encode
decode_plan = msgspec.json.Decoder(Plan).decode
decode_event: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
