"""From a server that answers to an endpoint as the evals see it."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Final

from evals.endpoint import Endpoint
from launchers.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from launchers.server import Server

HUGGINGFACE: Final = "text-generation"
"""The environment with Hugging Face's own client of TGI."""
_VARIABLE: Final = "HARNESS_HEADER_{}"
"""Holds a header's value for this process and its children."""
_DIGITS: Final = 16
_BY_CHANCE: Final = frozenset({"--port", "--shard-uds-path"})
"""Options that have another value at each start; the latter is TGI's."""
_ENGINES: Final = frozenset({"vllm", "sglang", "tgi", "llama.cpp", "transformers", "mock"})


def endpoint_of(
    server: Server,
    *,
    trust: Trust | None = None,
    headers: Mapping[str, str] | None = None,
    api_key_env: str | None = None,
    tokenizer: Path | None = None,
    timeout_s: float = 120.0,
    concurrency: int = 32,
) -> Endpoint:
    """Return a server as the evals see it; for a launched one its tokenizer lies on this disk.

    Values of headers go into variables of this process's environment, which children inherit:
    they are in no file and no argument list that way.
    """
    trust = trust or Trust()
    names = []
    for number, (name, value) in enumerate(sorted((headers or {}).items())):
        os.environ[_VARIABLE.format(number)] = value
        names.append((name, _VARIABLE.format(number)))
    folder = tokenizer or server.tokenizer
    return Endpoint(
        base_url=server.base_url,
        model=server.model,
        build=server.build,
        engine=server.engine if server.engine in _ENGINES else "unknown",
        engine_version=server.engine_version,
        identity=identity_of(server),
        max_model_len=server.max_model_len,
        tokenizer=None if folder is None else str(folder),
        header_env=tuple(names),
        api_key_env=api_key_env,
        ca_file=None if trust.ca_file is None else str(trust.ca_file.absolute()),
        tls_verify=trust.verify,
        timeout_s=timeout_s,
        concurrency=concurrency,
    )


def identity_of(server: Server) -> str:
    """Return a digest of what is served; the port, which changes at each start, is left out.

    Of a URL only what it says of itself is known: its address, model, engine, version and context.
    """
    told = server.provenance
    launched = server.pid is not None or "argv" in told
    argv = told.get("argv")
    facts: dict[str, object] = {
        "engine": server.engine,
        "engine_version": server.engine_version,
        "model": server.model,
        "max_model_len": server.max_model_len,
    }
    if launched:
        facts |= {
            "weights": told.get("weights"),
            "quantization": told.get("quantization"),
            "argv": _without_port(argv) if isinstance(argv, list) else None,
        }
    else:
        facts["url"] = server.base_url
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _without_port(argv: list[str]) -> list[str]:
    kept = []
    skip = False
    for word in argv:
        if not skip and word.partition("=")[0] not in _BY_CHANCE:
            kept.append(word)
        skip = word in _BY_CHANCE
    return kept
