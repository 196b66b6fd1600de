"""`quantization.json`: all that is needed to make a checkpoint again, and what it lost where."""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.quantizing.request import Role  # noqa: TC001 - msgspec reads it
from launchers.quantize.plan import Layer, Method  # noqa: TC001 - msgspec reads them

CARD_FILE = "quantization.json"


class ModelNote(msgspec.Struct, frozen=True, kw_only=True):
    """The 16-bit checkpoint."""

    asked: str
    architecture: str | None
    weights: dict[str, str | int] | None
    """sha256 over names, sizes and contents; for large ones, as its `of` says."""
    dtype: str
    """Of the layers that kept their 16 bits."""


class SourceNote(msgspec.Struct, frozen=True, kw_only=True):
    """A text that samples were drawn from."""

    role: Role
    name: str
    sha256: str
    """Of its documents, each followed by a zero byte."""
    documents: int
    candidates: int
    """Samples that could be drawn, before short ones were packed."""
    samples: int
    tokens: int


class SampleNote(msgspec.Struct, frozen=True, kw_only=True):
    """One calibration sample."""

    role: Role
    documents: tuple[int, ...]
    """Places of its documents in the source, from 0."""
    tokens: int
    sha256: str
    """Of its token ids, written in decimal with commas."""


class CalibrationNote(msgspec.Struct, frozen=True, kw_only=True):
    """What the model was calibrated on."""

    mix: str
    """General : domain, in samples."""
    samples: int
    tokens: int
    sequence_length: int
    """Tokens of a sample at most."""
    packed: bool
    seed: int
    tokenizer_sha256: str
    sources: tuple[SourceNote, ...]
    drawn: tuple[SampleNote, ...]
    """In the order in which the model saw them."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """A suite that the samples were held against."""

    suite: str
    items: int
    """Compared."""
    short: int
    """Not compared: fewer than 8 words."""
    exact: int
    """Stand whole in a sample."""
    overlapping: int
    """Share a run of 13 words with one (items of 8 to 12 words: all of them)."""
    examples: tuple[str, ...] = ()


class ContaminationNote(msgspec.Struct, frozen=True, kw_only=True):
    """Whether samples hold what is asked."""

    suites: tuple[Checked, ...]
    not_checked: tuple[str, ...]
    """Suites, or tasks of one (`suite: task`), whose items could not be read here."""
    why_not: dict[str, str] = {}
    """Of these: why, and what to do."""
    allowed: bool


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    """The card."""

    schema: Literal[1] = 1
    created: str
    command: str
    method: Method
    bits: int
    group_size: int
    symmetric: bool
    format: str
    model: ModelNote
    calibration: CalibrationNote
    contamination: ContaminationNote
    skip: tuple[str, ...]
    kept: tuple[str, ...]
    """Linear layers that kept their 16 bits."""
    kept_beside: tuple[str, ...]
    """Those of `kept` that no pattern names: engines fuse them with one that is skipped."""
    left: tuple[str, ...] = ()
    """What else kept its 16 bits: weights that are no linear layers, and layers that llm-compressor
    passed over; patterns of their names."""
    left_share: float = 0.0
    """Their share of the model's weights, 0…1."""
    layers: tuple[Layer, ...]
    """Quantized layers, the largest output error first."""
    error_samples: int
    """The first so many samples gave the inputs for output errors."""
    recipe: str
    """llm-compressor's own, as it ran."""
    versions: dict[str, str]
    machine: dict[str, str | int | float | None]
    device: str
    threads: int
    seconds: dict[str, float]
    caveats: tuple[str, ...] = ()


def encode_card(card: Quantization) -> bytes:
    """Return it as the file holds it."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n"
