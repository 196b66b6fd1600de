"""Keeps secrets out of manifests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECRET = re.compile(r"key|token|secret|passw|credential|authorization", re.IGNORECASE)
# Names that look like secrets and are none: --max-num-batched-tokens, --tokenizer, …
HARMLESS = re.compile(r"tokens|tokenizer|token-ids|keys", re.IGNORECASE)
HIDDEN = "<hidden>"


def is_secret(name: str) -> bool:
    """Whether the value of an option, variable or header of this name must not be shown."""
    return bool(SECRET.search(HARMLESS.sub("", name)))


def redact_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """Copy with the values of secret names hidden."""
    return {key: HIDDEN if is_secret(key) else value for key, value in values.items()}


def redact_argv(argv: Sequence[str]) -> list[str]:
    """Copy with the values of `--name=value`, `--name value` and `-e NAME=value` hidden."""
    shown: list[str] = []
    hide_next = False
    for word in argv:
        name, equals, _ = word.partition("=")
        if hide_next and not word.startswith("-"):
            shown.append(HIDDEN)
        elif equals and is_secret(name):
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(word)
        hide_next = word.startswith("-") and not equals and is_secret(name)
    return shown
