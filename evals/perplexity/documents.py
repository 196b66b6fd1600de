"""A text: its documents, before anything is joined or made into tokens."""

from __future__ import annotations

import msgspec


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """One document."""

    text: str
    category: str = ""
    cluster: str = ""
    """Documents that share it are not independent; empty: its own."""
