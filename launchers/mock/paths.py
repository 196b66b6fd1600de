"""Which shape answers at which path, and the pages that say what this is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from launchers.mock.native import LLAMA_PROPS, TGI_INFO, LlamaCpp, Tgi
from launchers.mock.openai import OpenAI
from launchers.mock.shapes import MODEL

if TYPE_CHECKING:
    from launchers.mock.options import Options
    from launchers.mock.shapes import Shape

SHAPES: Final[tuple[Shape, ...]] = (
    OpenAI(chat=True), OpenAI(chat=False), Tgi(stream=True), Tgi(stream=False), LlamaCpp(),
)  # fmt: skip
"""The first whose path fits answers."""


def pages(options: Options) -> dict[bytes, dict[str, Any]]:
    """Return the pages that say what this is."""
    card = {"id": MODEL, "object": "model", "owned_by": "mock"}
    card["max_model_len"] = options.max_model_len  # type: ignore[assignment]
    return {
        b"/health": {}, b"/v1/models": {"object": "list", "data": [card]},
        b"/info": TGI_INFO, b"/props": LLAMA_PROPS,
    }  # fmt: skip


def find_shape(path: bytes) -> Shape | None:
    """Return the shape of the answers at a path; None where there are none."""
    bare = path.partition(b"?")[0]
    return next((shape for shape in SHAPES if bare.endswith(shape.paths)), None)
