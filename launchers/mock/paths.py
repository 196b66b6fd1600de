"""Which shape answers at which path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchers.mock.native import LlamaCpp, Tgi
from launchers.mock.openai import OpenAI

if TYPE_CHECKING:
    from launchers.mock.shapes import Shape

SHAPES: Final[tuple[Shape, ...]] = (
    OpenAI(chat=True), OpenAI(chat=False), Tgi(stream=True), Tgi(stream=False), LlamaCpp(),
)  # fmt: skip
"""The first whose path fits answers."""


def find_shape(path: bytes) -> Shape | None:
    """Return the shape of the answers at a path; None where there are none."""
    bare = path.partition(b"?")[0]
    return next((shape for shape in SHAPES if bare.endswith(shape.paths)), None)
