"""A server as the evals see it: plain values, nothing of how it was started."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where to ask, whom, and how. A key is never a value here: only its variable's name is."""

    base_url: str
    """The API's base, e.g. `http://127.0.0.1:8000/v1`."""
    model: str
    """The name to ask for."""
    build: str = "url"
    engine: str = "unknown"
    """"vllm", "sglang", "tgi", "llama.cpp", "transformers", "mock", "openai" (knows OpenAI's own
    fields alone), or "unknown"."""
    engine_version: str | None = None
    identity: str = ""
    """Digest of what is served (weights, engine, version, arguments): answers of one identity are
    never reused for another."""
    max_model_len: int | None = None
    """Context length in tokens."""
    tokenizer: str | None = None
    """Folder with a `tokenizer.json`, the one that the server uses."""
    header_env: tuple[tuple[str, str], ...] = ()
    """Header name → environment variable that holds its value; values never reach a file."""
    api_key_env: str | None = None
    ca_file: str | None = None
    tls_verify: bool = True
    timeout_s: float = 120.0
    """Of one request."""
    concurrency: int = 32
    """Requests in flight at most."""

    @property
    def root(self) -> str:
        """The server's root, where engines have their native pages."""
        return self.base_url.removesuffix("/").removesuffix("/v1")

    @property
    def tokenizer_file(self) -> Path | None:
        """Path of the `tokenizer.json`."""
        return None if self.tokenizer is None else Path(self.tokenizer) / "tokenizer.json"
