"""Which shape answers at which path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchers.mock.native import LlamaCpp, Tgi
from launchers.mock.openai import OpenAI
from launchers.mock.sglang import SglangOpenAI
from launchers.mock.tgi import TgiOpenAI

if TYPE_CHECKING:
    from launchers.mock.shapes import Shape

SHAPES: Final[tuple[Shape, ...]] = (
    OpenAI(chat=True), OpenAI(chat=False), Tgi(stream=True), Tgi(stream=False), LlamaCpp(),
)  # fmt: skip
"""The first whose path fits answers."""


OF_ENGINES: Final[dict[str, tuple[Shape, ...]]] = {
    "sglang": (SglangOpenAI(chat=True), SglangOpenAI(chat=False), Tgi(stream=False)),
    "tgi": (
        TgiOpenAI(chat=True), TgiOpenAI(chat=False), Tgi(stream=True), Tgi(stream=False), Tgi(),
    ),
}  # fmt: skip
"""Where an engine's own differ; SGLang's `/generate` is told in one document, as TGI's is."""


def find_shape(path: bytes, engine: str) -> Shape | None:
    """Return the shape of an engine's answers at a path; None where there are none."""
    bare = path.partition(b"?")[0]
    shapes = OF_ENGINES.get(engine, SHAPES)
    return next((shape for shape in shapes if bare.endswith(shape.paths)), None)
