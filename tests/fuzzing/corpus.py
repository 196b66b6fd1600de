"""The kept inputs of the wire path: a file of one JSON text a line, a byte each character."""

from __future__ import annotations

import json
from pathlib import Path

FILE = Path(__file__).with_name("corpus.jsonl")


def kept() -> list[bytes]:
    """Return what the corpus holds."""
    return [json.loads(line).encode("latin-1") for line in FILE.read_text().splitlines()]


def keep(inputs: list[bytes]) -> None:
    """Write the corpus anew, in an order that depends on the inputs alone."""
    texts = [one.decode("latin-1") for one in sorted(set(inputs), key=lambda one: (len(one), one))]
    FILE.write_text("".join(json.dumps(text) + "\n" for text in texts))
