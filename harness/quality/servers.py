"""Who is asked, in which order, and as what."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.quality.endpoints import endpoint_of
from harness.serving import Connected, Launched, Url
from launchers.url import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.endpoint import Endpoint
    from harness.quality.request import EvalRequest
    from harness.serving import Served, Source


def sources_of(request: EvalRequest) -> list[Source]:
    """Return all servers, the baseline's first, each once.

    Raises:
        ConnectError: nothing usable answers at the URL.
    """
    given = request.servers
    if isinstance(given, Url):
        server = connect(
            given.urls[0],
            given.model,
            headers=request.headers,
            api_key_env=request.api_key_env,
            trust=given.trust,
        )
        found: list[Source] = [Connected(replace(server, build=given.name))]
    else:
        found = [Launched(build, base_dir) for build, base_dir in given]
    if not isinstance(request.baseline, tuple):
        return found
    baseline = Launched(*request.baseline)
    return [baseline, *(source for source in found if source.name != baseline.name)]


def builds_of(request: EvalRequest, sources: Sequence[Source]) -> list[str]:
    """Return the names of those under examination, as they were given."""
    if isinstance(request.servers, Url):
        return [sources[-1].name]
    return [build.name for build, _ in request.servers]


def endpoint_for(request: EvalRequest, served: Served) -> Endpoint:
    """Return a server as the evals see it; headers and keys are for a URL's only."""
    given = request.servers
    theirs = isinstance(given, Url) and served.running is None
    return endpoint_of(
        served.server,
        trust=given.trust if isinstance(given, Url) and theirs else None,
        headers=request.headers if theirs else None,
        api_key_env=request.api_key_env if theirs else None,
        tokenizer=request.tokenizer,
        timeout_s=request.timeout_s,
        concurrency=request.concurrency,
    )
