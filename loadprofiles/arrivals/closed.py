"""Streams that wait for their answers."""

from __future__ import annotations

from typing import Literal

from loadprofiles.traffic.schedule import Arrival
from loadprofiles.traffic.think import Think  # noqa: TC001 - pydantic reads it at run time


class Closed(Arrival):
    """As many streams as the level says, each sending again once its answer is complete.

    At once, or after its user has thought about it for `think_s`.
    """

    kind: Literal["closed"]
    think_s: Think | None = None


ARRIVAL: type[Arrival] = Closed
