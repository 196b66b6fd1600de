"""How long prompts and answers are: a number of tokens, or a distribution of it.

Pure: `(distribution, count, rng) → lengths`. Normal and lognormal lengths are truncated to
[low, high] by inverting the distribution function, so the bounds carry no heap of clipped values
and no draw is ever repeated.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

MAX_TOKENS = 1_000_000

Tokens = Annotated[int, Field(strict=True, ge=1, le=MAX_TOKENS)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
IntArray = NDArray[np.int64]


class _Bounded(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Tokens
    high: Tokens

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.low > self.high:
            msg = f"low = {self.low} is above high = {self.high}; swap them"
            raise ValueError(msg)
        return self

    def _check_centre(self, name: str, value: float) -> None:
        if not self.low <= value <= self.high:
            raise ValueError(
                f"{name} = {value:g} lies outside low = {self.low} … high = {self.high}; "
                f"move {name} inside, or widen the bounds"
            )


class Uniform(_Bounded):
    """Every whole number from `low` to `high`, both included, equally often."""

    kind: Literal["uniform"]


class Normal(_Bounded):
    """Bell-shaped around `mean` with standard deviation `sd`, truncated to [low, high]."""

    kind: Literal["normal"]
    mean: Positive
    sd: Positive

    @model_validator(mode="after")
    def _mean_inside(self) -> Self:
        self._check_centre("mean", self.mean)
        return self


class LogNormal(_Bounded):
    """Right-skewed, as real traffic is: ln(length) is normal around ln(median), sd `sigma`.

    Truncated to [low, high]. sigma = 0.35 means that two thirds lie within a factor of 1.4.
    """

    kind: Literal["lognormal"]
    median: Positive
    sigma: Annotated[float, Field(gt=0, le=5, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _median_inside(self) -> Self:
        self._check_centre("median", self.median)
        return self


class Empirical(BaseModel):
    """A histogram: each of `values` comes up in proportion to its weight; without, equally often.

    The values of a measured sample, listed with their repetitions, are drawn as they are. In
    rounds, each value comes once before any comes again, in an order drawn for each round.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["empirical"]
    values: Annotated[tuple[Tokens, ...], Field(min_length=1, max_length=100_000)]
    weights: tuple[Weight, ...] | None = None
    rounds: bool = False

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.rounds and self.weights is not None:
            raise ValueError(
                "rounds = true has each value come equally often, and weights say otherwise; leave "
                "one of both out"
            )
        if self.weights is None:
            return self
        if len(self.weights) != len(self.values):
            raise ValueError(
                f"{len(self.values)} values but {len(self.weights)} weights; give each value one"
            )
        if not sum(self.weights):
            raise ValueError("the weights are all 0; give at least one value a weight above 0")
        return self

    @property
    def low(self) -> int:
        """The smallest value that can come up."""
        return min(self._possible())

    @property
    def high(self) -> int:
        """The largest value that can come up."""
        return max(self._possible())

    def _possible(self) -> list[int]:
        weights = self.weights or [1.0] * len(self.values)
        return [value for value, weight in zip(self.values, weights, strict=True) if weight]

    def in_rounds(self, count: int, rng: np.random.Generator) -> IntArray:
        """Return values, round after round of all of them."""
        size = len(self.values)
        keys = rng.random((-(-count // size), size))
        values: IntArray = np.array(self.values, dtype=np.int64)[keys.argsort(axis=1)].ravel()
        return values[:count]

    def at(self, u: NDArray[np.float64]) -> IntArray:
        """Map u in [0, 1) to values: the inverse of the histogram's distribution function."""
        weights = np.array(self.weights or [1.0] * len(self.values), dtype=np.float64)
        edges = np.cumsum(weights / weights.max())
        last = int(np.flatnonzero(weights)[-1])
        index = np.minimum(np.searchsorted(edges, u * edges[-1], side="right"), last)
        values: IntArray = np.array(self.values, dtype=np.int64)[index]
        return values


class FromFile(BaseModel):
    """As long as the requests of a trace, drawn at random (layouts: `traces`).

    Prompts and answers from one file are drawn in pairs. Requests outside [low, high] are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["empirical"]
    file: Annotated[str, Field(min_length=1)]
    """A relative path begins at the profile's folder."""
    format: Literal["auto", "azure", "burstgpt", "mooncake", "generic"] = "auto"
    low: Tokens = 1
    high: Tokens = MAX_TOKENS


class FromTrace(BaseModel):
    """As long as the request of the trace that is replayed (`arrival.kind = "trace"`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["trace"]


class FromDataset(BaseModel):
    """As long as it is recorded in the profile's `[dataset]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["dataset"]


def _which(value: object) -> str | None:
    if isinstance(value, int):
        return "fixed"
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    if kind == "empirical" and (isinstance(value, FromFile) or _names_file(value)):
        return "empirical file"
    return kind if isinstance(kind, str) else None


def _names_file(value: object) -> bool:
    return isinstance(value, dict) and "file" in value


Length = Annotated[
    Annotated[Tokens, Tag("fixed")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[Normal, Tag("normal")]
    | Annotated[LogNormal, Tag("lognormal")]
    | Annotated[Empirical, Tag("empirical")]
    | Annotated[FromFile, Tag("empirical file")]
    | Annotated[FromTrace, Tag("trace")]
    | Annotated[FromDataset, Tag("dataset")],
    Discriminator(
        _which,
        custom_error_type="length_kind",
        custom_error_message=(
            "should be a whole number of tokens, or a table with kind = "
            '"uniform", "normal", "lognormal", "empirical", "trace" or "dataset"'
        ),
    ),
]


_IN_FILES = (FromFile, FromTrace, FromDataset)


def _drawn_here(length: Length) -> Length:
    if isinstance(length, _IN_FILES):
        raise ValueError(  # noqa: TRY004 - pydantic wants this one
            'should be drawn on the spot, by "uniform", "normal", "lognormal" or "empirical" with '
            "values; a file's lengths are those of prompt_tokens and output_tokens"
        )
    return length


OwnLength = Annotated[Length, AfterValidator(_drawn_here)]
"""A length that no file knows."""


def longest(length: Length) -> int:
    """The largest number of tokens that `length` can give; 0 where only a file knows it."""
    if isinstance(length, _IN_FILES):
        return 0
    return length if isinstance(length, int) else length.high


def sample_lengths(length: Length, count: int, rng: np.random.Generator) -> IntArray:
    """Draw `count` lengths in tokens; the first n do not depend on `count`."""
    if isinstance(length, _IN_FILES):
        raise TypeError("a file's lengths come with its requests")
    if isinstance(length, int):
        return np.full(count, length, dtype=np.int64)
    if isinstance(length, Empirical) and length.rounds:
        return length.in_rounds(count, rng)
    u = rng.random(count)
    if isinstance(length, Empirical):
        return length.at(u)
    if isinstance(length, Uniform):
        values = length.low + np.floor(u * (length.high - length.low + 1))
    elif isinstance(length, Normal):
        values = _truncated(NormalDist(length.mean, length.sd), length.low, length.high, u)
    else:
        normal = NormalDist(math.log(length.median), length.sigma)
        low, high = math.log(length.low), math.log(length.high)
        values = np.exp(_truncated(normal, low, high, u))
    whole: IntArray = np.rint(values).astype(np.int64)
    return np.clip(whole, length.low, length.high)


def _truncated(
    normal: NormalDist, low: float, high: float, u: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Map u in [0, 1) to `normal` conditioned on [low, high]."""
    p_low, p_high = normal.cdf(low), normal.cdf(high)
    p = np.clip(p_low + u * (p_high - p_low), 1e-16, 1 - 1e-16)
    return np.fromiter(map(normal.inv_cdf, p.tolist()), dtype=np.float64, count=len(p))
