"""A run by other tools' definitions. A tool is one module that ends in `TOOL: Tool = …`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from harness.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.explaining.explanation import Metric
    from harness.explaining.requests import Cell

NAMES: Final = ("aiperf", "genai-bench", "guidellm", "vllm")
"""The tools; a test keeps it equal to the modules that have a `TOOL`."""


class Tool(Protocol):
    """Another load tool, as far as its source says how it computes."""

    @property
    def title(self) -> str:
        """As it is called, with the version whose source was read."""

    @property
    def sources(self) -> Sequence[str]:
        """What was read: files of that version."""

    @property
    def general(self) -> Sequence[str]:
        """What holds for all its numbers, and what no sample can tell."""

    def metrics(self, cell: Cell) -> list[Metric]:
        """Return its metrics of one cell beside ours."""


def load_tool(name: str) -> Tool:
    """Load a tool by its name, e.g. `vllm`.

    Raises:
        BadInputError: there is none; the text names the closest one and all that exist.
    """
    if name not in NAMES:
        raise BadInputError(
            f"--like {name}: no such tool{did_you_mean(name, NAMES)}",
            hint=f"Tools: {', '.join(NAMES)}.",
        )
    found: Tool = import_module(f"{__name__}.{name.replace('-', '_')}").TOOL
    return found
