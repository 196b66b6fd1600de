"""A running engine with a URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Server:
    """What is known of a server that answers. Plain values only: they go to other packages."""

    build: str
    """Name of the build, or "url" for a server that somebody else runs."""
    engine: str
    engine_version: str | None
    base_url: str
    """The API's base, e.g. `http://127.0.0.1:8000/v1`."""
    replicas: tuple[str, ...] = ()
    """Bases of the others that serve the same, where it is a deployment of several."""
    model: str
    """The name to ask for in requests."""
    pid: int | None = None
    """Root of the process tree; None for a URL."""
    log: Path | None = None
    tokenizer: Path | None = None
    """Folder with a `tokenizer.json`, where the model lies on this disk."""
    pin_output: tuple[str, ...] = ()
    """Request fields by which this engine pins the output length: "ignore_eos", "min_tokens"."""
    max_model_len: int | None = None
    client_cpus: list[int] | None = None
    """CPUs that the server leaves to the client; None when it shares none or all with it."""
    kv_cache_tokens: int | None = None
    provenance: dict[str, object] = field(default_factory=dict)
    """For the manifest: command, versions, kernel, dtype, KV cache, hash of the weights, …"""
