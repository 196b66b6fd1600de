"""How prompts are scored: OpenAI's echo, or an engine's own page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from evals.client.bodies import echo_body
from evals.client.echo import read_scores
from evals.client.sglang import Sglang
from evals.client.tgi import Tgi
from evals.errors import RouteError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evals.client.connection import Reply
    from evals.endpoint import Endpoint
    from evals.records import Failure, Route, Scored


Found = TypeVar("Found")


class Page(Protocol[Found]):
    """Where log-probabilities come from."""

    batches: bool
    """Whether one request takes several prompts."""
    url: str
    """Where the body goes."""

    def body(self, prompts: Sequence[Sequence[int]], top: int | None) -> bytes:
        """Return the request."""

    def read(
        self, reply: Reply, prompts: Sequence[Sequence[int]], top: int | None
    ) -> list[Found | Failure]:
        """Return what came back, a result for each prompt; nothing raises."""


class Scorer(Page["Scored"], Protocol):
    """One way to have prompts scored."""

    takes_ids: bool
    """Whether any ids can be scored; else only those that a tokenizer makes of some text."""
    names_likeliest: bool
    """Whether answers say which token was the likeliest at each place of a prompt."""


class Echo:
    """`/v1/completions` with echo and logprobs."""

    batches = True
    takes_ids = True
    names_likeliest = True

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = f"{endpoint.base_url.removesuffix('/')}/completions"
        self._model, self._engine = endpoint.model, endpoint.engine

    def body(self, prompts: Sequence[Sequence[int]], top: int | None) -> bytes:
        """Return the request."""
        return echo_body(self._model, self._engine, prompts, top)

    def read(
        self, reply: Reply, prompts: Sequence[Sequence[int]], top: int | None
    ) -> list[Scored | Failure]:
        """Return what came back."""
        return read_scores(reply, self._model, prompts, top)


NATIVE: Final[dict[str, Callable[[Endpoint], Scorer]]] = {"sglang": Sglang, "tgi": Tgi}
"""Engine → its own page that scores a prompt."""


def scorer_of(endpoint: Endpoint, route: Route) -> Scorer:
    """Return what the route scores by; routes that score no prompts have the echo's.

    Raises:
        RouteError: the engine has no such page.
    """
    if route != "native":
        return Echo(endpoint)
    if endpoint.engine not in NATIVE:
        raise RouteError(
            f"no page of {endpoint.engine} scores prompts; {', '.join(NATIVE)} have one"
        )
    return NATIVE[endpoint.engine](endpoint)
