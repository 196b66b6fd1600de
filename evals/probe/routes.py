"""Which route a suite takes: the best that was proved, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evals.errors import RouteError
from evals.records import ROUTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.probe.card import Card
    from evals.records import Route


def choose_route(card: Card, wanted: Sequence[Route], demanded: Route | None = None) -> Route:
    """Return the first of a suite's routes that the card proves.

    Args:
        card: of the endpoint.
        wanted: what the suite can take, the best first (`Kind.routes`).
        demanded: the only one to take, if any.

    Raises:
        RouteError: says what was not proved and why, and what could be done instead.
    """
    tried = list(wanted) if demanded is None else [demanded]
    if demanded is not None and demanded not in wanted:
        raise RouteError(f"the suite cannot go by {demanded}; it can by {_words(wanted)}")
    for route in tried:
        if route in card.routes:
            return route
    # A suite that could not go there anyway is no alternative.
    others = [route for route in card.routes if route in wanted]
    why = "\n".join(f"  {caveat.code}: {caveat.text}" for caveat in card.caveats)
    rest = [route for route in card.routes if route not in wanted]
    if others:
        offer = f"Proved, and good for this suite: {_words(others)}."
    elif rest:
        offer = f"Proved is {_words(rest)}, which this suite cannot use."
    else:
        offer = "No route at all was proved: nothing can be graded there."
    raise RouteError(
        f"{card.base_url}: not proved: {_words(tried)}\n{why or '  no answer proved it'}\n{offer}"
    )


def _words(routes: Sequence[Route]) -> str:
    return ", ".join(routes) or "none"


def ranked(proved: Sequence[Route]) -> list[Route]:
    """Return routes, the best first."""
    return [route for route in ROUTES if route in proved]
