"""Which shape answers at which path, and the pages that say what this is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from launchers.mock.native import LLAMA_PROPS, TGI_INFO, LlamaCpp, Tgi
from launchers.mock.openai import OpenAI
from launchers.mock.shapes import MODEL

if TYPE_CHECKING:
    from launchers.mock.shapes import Shape

_MODELS = {
    "object": "list",
    "data": [{"id": MODEL, "object": "model", "owned_by": "mock", "max_model_len": 1 << 20}],
}
PAGES: Final[dict[bytes, dict[str, Any]]] = {
    b"/health": {}, b"/v1/models": _MODELS, b"/info": TGI_INFO, b"/props": LLAMA_PROPS,
}  # fmt: skip
SHAPES: Final[tuple[Shape, ...]] = (
    OpenAI(chat=True), OpenAI(chat=False), Tgi(stream=True), Tgi(stream=False), LlamaCpp(),
)  # fmt: skip
"""The first whose path fits answers."""


def find_shape(path: bytes) -> Shape | None:
    """Return the shape of the answers at a path; None where there are none."""
    bare = path.partition(b"?")[0]
    return next((shape for shape in SHAPES if bare.endswith(shape.paths)), None)
