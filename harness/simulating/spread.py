"""Percentiles of what was simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_SHARES: Final = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles over all simulated requests, or gaps; None where there are none."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None

    @classmethod
    def of(cls, values: Floats) -> Spread:
        """Describe values."""
        import numpy as np  # who only reads what was simulated does without

        if not values.size:
            return cls()
        found = np.percentile(values, list(_SHARES.values())).tolist()
        return cls(
            mean=float(values.mean()),
            max=float(values.max()),
            **dict(zip(_SHARES, found, strict=True)),
        )

    @classmethod
    def weighted(cls, values: Floats, counts: npt.NDArray[np.int64]) -> Spread:
        """Describe values of which there are many of the same."""
        import numpy as np

        if not values.size:
            return cls()
        order = np.argsort(values)
        total = np.cumsum(counts[order])
        ranks = [share / 100 * (total[-1] - 1) for share in _SHARES.values()]
        at = np.searchsorted(total, ranks, side="right")
        return cls(
            mean=float((values * counts).sum() / total[-1]),
            max=float(values.max()),
            **dict(zip(_SHARES, values[order][at].tolist(), strict=True)),
        )
