"""The card for people (README.md), and the build that serves the checkpoint (build.toml)."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Final

from harness.quantizing.card import CARD_FILE
from launchers.quantize.layers import fused_with

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.quantizing.card import Quantization
    from launchers.build import Build

_WORST: Final = 10
SUGGESTED: Final = 3


def readme(card: Quantization, name: str) -> str:
    """Return README.md, a pure function of the card."""
    parts = [f"# {name}", _summary(card), f"```\n{card.command}\n```"]
    parts += [f"**Caveat**: {text}" for text in card.caveats]
    parts += ["## Calibration", *_calibration(card)]
    parts += ["## What each layer lost", *_losses(card)]
    parts += ["## How it was made", _making(card, name)]
    return "\n\n".join(parts) + "\n"


def _summary(card: Quantization) -> str:
    left = f"; and {', '.join(card.left)}" if card.left else ""
    zero = "symmetric" if card.symmetric else "with zero points"
    return (
        f"{card.model.asked} ({card.model.architecture or 'unknown architecture'}) with "
        f"{card.bits}-bit weights by {card.method.upper()}: groups of {card.group_size}, {zero}, "
        f"{card.format}. Quantized linear layers: {len(card.layers)}; kept in {card.model.dtype}: "
        f"{', '.join(card.kept) or 'none'}{left}. All that is needed to make it again is in "
        f"{CARD_FILE}."
    )


def _calibration(card: Quantization) -> Iterator[str]:
    told = card.calibration
    yield (
        f"{told.samples} samples ({told.mix} general : domain), {told.tokens:,} tokens, at most "
        f"{told.sequence_length:,} each{', short texts packed' if told.packed else ''}; seed "
        f"{told.seed}."
    )
    yield _table(
        ("", "text", "documents", "samples", "tokens"),
        (
            (one.role, one.name, f"{one.documents:,}", f"{one.samples:,}", f"{one.tokens:,}")
            for one in told.sources
        ),
    )
    yield "Held against what is asked (items whole, and 13 words in a row):"
    yield _table(
        ("suite", "items", "too short", "share 13 words", "whole"),
        (
            (
                one.suite,
                f"{one.items:,}",
                f"{one.short:,}",
                f"{one.overlapping:,}",
                f"{one.exact:,}",
            )
            for one in card.contamination.suites
        ),
    )
    for line in not_checked(card):
        yield f"Not checked: {line}"


def not_checked(card: Quantization) -> Iterator[str]:
    """Yield a line for each suite that the samples were not held against: which, and why."""
    for name in card.contamination.not_checked:
        yield f"{name}: {card.contamination.why_not.get(name, 'it could not be read here')}"


def _losses(card: Quantization) -> Iterator[str]:
    yield (
        "Relative Frobenius norms: of the weights, and of the layer's outputs for the inputs that "
        f"{card.error_samples} calibration samples give it. The worst first; all are in "
        f"{CARD_FILE}."
    )
    yield _table(
        ("layer", "shape", "output error", "weight error"),
        (
            (
                layer.name,
                f"{layer.rows}×{layer.columns}",
                share(layer.output_error),
                share(layer.weight_error),
            )
            for layer in card.layers[:_WORST]
        ),
    )
    yield f"To keep the worst {SUGGESTED} in {card.model.dtype}: `{skip_worst(card)}`"


def _making(card: Quantization, name: str) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in card.versions.items())
    return (
        f"{card.created}, {versions}; on {card.device}, {card.threads} "
        f"thread{'s' if card.threads > 1 else ''}, {sum(card.seconds.values()):.0f} s. Serve it "
        f"with `harness serve {name}/build.toml`."
    )


def share(error: float | None) -> str:
    """Return an error as people read it."""
    return "not measured" if error is None else f"{error:.2%}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def skip_worst(card: Quantization) -> str:
    """Return the flags that keep the worst layers, with those that engines fuse with them."""
    there = {layer.name for layer in card.layers}
    names: list[str] = []
    for layer in card.layers[:SUGGESTED]:
        names += [name for name in fused_with(layer.name) if name in there and name not in names]
    return f"--skip {shlex.quote(','.join((*card.skip, *names)))}"


def build_toml(build: Build) -> str:
    """Return a build as a TOML file of its own."""
    values = build.model_dump(mode="json", exclude_defaults=True)
    values = {"name": build.name, "engine": build.engine, **values}
    tables = {key: value for key, value in values.items() if isinstance(value, dict)}
    lines = [
        f"{key} = {_value(value)}" for key, value in values.items() if not isinstance(value, dict)
    ]
    for key, table in tables.items():
        lines += ["", f"[{key}]", *(f"{_key(k)} = {_value(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings, numbers, booleans, arrays: as in TOML


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)
