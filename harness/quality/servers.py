"""Who is asked, in which order, and as what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.quality.endpoints import endpoint_of
from harness.serving import names_in, source_of

if TYPE_CHECKING:
    from evals.endpoint import Endpoint
    from harness.quality.request import EvalRequest
    from harness.serving import Served, Source


def sources_of(request: EvalRequest) -> list[Source]:
    """Return all servers, the baseline's first, each once.

    Raises:
        ConnectError: nothing usable answers at a URL.
    """
    return [
        source_of(who, headers=request.headers, api_key_env=request.api_key_env)
        for who in request.brought_up
    ]


def builds_of(request: EvalRequest) -> list[str]:
    """Return the names of those under examination, as they were given."""
    return names_in(request.servers)


def endpoint_for(request: EvalRequest, served: Served) -> Endpoint:
    """Return a server as the evals see it; headers and keys are for a URL's only."""
    build = served.server.build
    given, request = request.url(build), request.of(build)
    theirs = given is not None and served.running is None
    return endpoint_of(
        served.server,
        trust=given.trust if given is not None and theirs else None,
        headers=request.headers if theirs else None,
        api_key_env=request.api_key_env if theirs else None,
        tokenizer=request.tokenizer,
        timeout_s=request.timeout_s,
        concurrency=request.concurrency,
    )
