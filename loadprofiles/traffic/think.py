"""How long a user thinks between an answer and the next request.

Pure: `(think time, count, rng) → nanoseconds`.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

MAX_THINK_S = 3600

IntArray = NDArray[np.int64]

Think_s = Annotated[float, Field(gt=0, le=MAX_THINK_S, allow_inf_nan=False)]


class _Kind(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Exponential(_Kind):
    """Without memory, as the machine-repair model has it."""

    kind: Literal["exponential"]
    mean: Think_s


class LogNormal(_Kind):
    """Mostly about `median`, now and then much longer: ln(time) is normal with sd `sigma`."""

    kind: Literal["lognormal"]
    median: Think_s
    sigma: Annotated[float, Field(gt=0, le=3, allow_inf_nan=False)]


def _which(value: object) -> str | None:
    if isinstance(value, int | float):
        return "fixed"
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None


Think = Annotated[
    Annotated[Think_s, Tag("fixed")]
    | Annotated[Exponential, Tag("exponential")]
    | Annotated[LogNormal, Tag("lognormal")],
    Discriminator(
        _which,
        custom_error_type="think_kind",
        custom_error_message=(
            'should be a number of seconds, or a table with kind = "exponential" or "lognormal"'
        ),
    ),
]


def sample_think_ns(think: Think, count: int, rng: np.random.Generator) -> IntArray:
    """Draw `count` think times in ns, by inversion; the first n do not depend on `count`.

    None is longer than `MAX_THINK_S`.
    """
    if isinstance(think, Exponential):
        values = -np.log1p(-rng.random(count)) * think.mean
    elif isinstance(think, LogNormal):
        normal = NormalDist(math.log(think.median), think.sigma)
        u = np.maximum(rng.random(count), 1e-16)
        values = np.exp([normal.inv_cdf(p) for p in u.tolist()])
    else:
        values = np.full(count, think)
    whole: IntArray = np.rint(np.minimum(values, MAX_THINK_S) * 1e9).astype(np.int64)
    return whole
