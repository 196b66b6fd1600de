"""What of this process's environment an engine gets: all but the keys that are for others."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from launchers.redact import is_key, is_secret

if TYPE_CHECKING:
    from collections.abc import Collection

THEIRS: Final = re.compile(
    r"(?:HF|HUGGING_?FACE|VLLM|SGLANG|SGL|LLAMA|TGI|DOCKER|PODMAN|CONTAINERS?|REGISTRY)_\w+"
    r"|(?:OLD)?PWD"  # a folder
)
"""Variables that engines and container tools read, tokens of the model hub among them."""


def surroundings(wanted: Collection[str] = ()) -> dict[str, str]:
    """Return this process's environment for an engine.

    Left out is what by its name or its value is a secret, unless engines read it or it is
    `wanted`: keys of other servers are no business of a program that runs a model's code.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in wanted or THEIRS.fullmatch(name) or not (is_secret(name) or is_key(value))
    }
