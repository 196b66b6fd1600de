"""Several servers that somebody else runs, as one deployment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from launchers.url import connect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from launchers.server import Server
    from launchers.trust import Trust


def connect_all(
    urls: Sequence[str],
    model: str | None = None,
    *,
    dialect: str | None = None,
    headers: Mapping[str, str] | None = None,
    api_key_env: str | None = None,
    trust: Trust | None = None,
) -> Server:
    """Connect to the replicas of one deployment; return them as one server.

    All must serve the model of the first. What a request may ask for is what all of them allow;
    their KV caches add up.

    Raises:
        ConnectError: names the one that does not answer, or does not serve the model.
    """
    found: list[Server] = []
    for url in urls:
        found.append(
            connect(
                url,
                model,
                dialect=dialect,
                headers=headers,
                api_key_env=api_key_env,
                trust=trust,
            )
        )
        model = found[0].model
    first, *others = found
    if not others:
        return first
    lengths = [one.max_model_len for one in found if one.max_model_len is not None]
    caches = [one.kv_cache_tokens for one in found]
    known = [tokens for tokens in caches if tokens is not None]
    return replace(
        first,
        engine=" + ".join(dict.fromkeys(one.engine for one in found)),
        engine_version=_one_of([one.engine_version for one in found]),
        replicas=tuple(one.base_url for one in others),
        pin_output=tuple(
            field for field in first.pin_output if all(field in one.pin_output for one in others)
        ),
        max_model_len=min(lengths, default=None),
        kv_cache_tokens=sum(known) if len(known) == len(caches) else None,
        provenance={**first.provenance, "replicas": [one.provenance for one in others]},
    )


def _one_of(versions: list[str | None]) -> str | None:
    """The version of all, or all versions."""
    return " + ".join(dict.fromkeys(version for version in versions if version)) or None
