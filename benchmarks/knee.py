"""How well methods find the knee of a throughput curve whose truth is known, by simulation.

Usage: python benchmarks/knee.py [--trials 200] [--seed 1]

Each law gives the true throughput of N streams; a sweep (`harness.capacity.climb`) chooses its
levels from noisy values of it. Printed are, for each method, the median of |found / true - 1|, the
share of sweeps that found none, and for ours the reach of the 95 % interval and the share of them
that hold the truth. Truth is the corner where there is one, else the level with 90 % of the limit.
Kneedle: V. Satopää et al., ICDCS Workshops (2011), the largest distance above the diagonal, levels
as they are. USL: N. J. Gunther, Guerrilla Capacity Planning (2007), the knee where both its
asymptotes meet, 1 / sigma. Two lines: through the origin, then flat, least squares of log
throughput.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares

from harness.capacity.climb import Ask, Bounds, Seen, step
from harness.capacity.knee import fit

Law = Callable[[float], float]
MOST = 10.0


def slots(c: int, beside: float = 0.0) -> Law:
    """Return c servers of 1 s, `beside` seconds of the round trip outside of them."""
    return lambda n: min(n / (1 + beside), c)


def batch(cap: float, share: float) -> Law:
    """Return a batch whose step takes 1 + share * n, of at most `cap` sequences."""
    return lambda n: min(n, cap) / (1 + share * min(n, cap))


LAWS: dict[str, tuple[Law, float]] = {
    "4 slots": (slots(4), 4),
    "11 slots": (slots(11), 11),
    "13 slots, half the time elsewhere": (slots(13, 1.0), 26),
    "batch, 2 % a sequence, cap 48": (batch(48, 0.02), 48),
    "batch, 5 % a sequence, cap 23": (batch(23, 0.05), 23),
    "batch, 20 % a sequence, no cap": (batch(1e9, 0.2), 45),
    "batch, 50 % a sequence, no cap": (batch(1e9, 0.5), 18),
}


def swept(law: Law, noise: float, rng: np.random.Generator) -> list[Seen]:
    """Sweep a law; `noise` is the relative standard error of a window."""
    bounds = Bounds(closed=True, low=1, high=1024, least=1, cells=20)
    seen: list[Seen] = []
    while isinstance(ask := step(bounds, seen), Ask):
        y = law(ask.level) * float(np.exp(rng.normal(0, noise)))
        seen.append(
            Seen(level=ask.level, throughput=y, se=noise * y, offered_rate=y, answered_rate=y,
                 latency_s=ask.level / y, requests=1000, stable=True, client_was_slow=False,
                 failing=False)
        )  # fmt: skip
    return seen


def kneedle(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return the level of the largest distance above the diagonal."""
    x_unit, y_unit = (x - x[0]) / (x[-1] - x[0]), (y - y.min()) / (y.max() - y.min())
    return float(x[int(np.argmax(y_unit - x_unit))])


def usl(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return 1 / sigma of the fitted Universal Scalability Law."""

    def off(p: np.ndarray) -> np.ndarray:
        rate, sigma, kappa = np.exp(p)
        return np.log(rate * x / (1 + sigma * (x - 1) + kappa * x * (x - 1)) / y)

    found = least_squares(off, np.log([y[0] / x[0], 0.05, 1e-5])).x
    return float(np.exp(-found[1]))


def two_lines(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return where a line through the origin meets a flat one."""
    best, knee = np.inf, None
    for k in range(1, x.size):
        slope, top = np.exp(np.mean(np.log(y[:k] / x[:k]))), np.exp(np.mean(np.log(y[k:])))
        off = float((np.log(np.minimum(slope * x, top) / y) ** 2).sum())
        if off < best:
            best, knee = off, float(top / slope)
    return knee


def _told(misses: list[float]) -> str:
    median = float(np.median(misses))
    return f"{median:.0%}" if median < MOST else f"> {MOST:.0%}"


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    others = {"Kneedle": kneedle, "USL": usl, "two lines": two_lines}
    print("| law | noise | levels | ours | none | reach | held | kind right | "
          + " | ".join(others) + " |\n" + "|---" * (8 + len(others)) + "|")  # fmt: skip
    for name, (law, truth) in LAWS.items():
        for noise in (0.005, 0.02, 0.05):
            rng = np.random.default_rng(options.seed)
            ours, held, none, kinds, count, reach = [], 0, 0, 0, [], []
            missed: dict[str, list[float]] = {other: [] for other in others}
            for _ in range(options.trials):
                seen = sorted(swept(law, noise, rng), key=lambda one: one.level)
                x, y = (np.array([getattr(s, n) for s in seen]) for n in ("level", "throughput"))
                count.append(x.size)
                curve = fit(list(x), list(y), [s.se for s in seen])
                if curve is None or curve.knee is None or curve.knee_ci95 is None:
                    none += 1
                else:
                    ours.append(abs(curve.knee / truth - 1))
                    reach.append(math.sqrt(curve.knee_ci95[1] / curve.knee_ci95[0]) - 1)
                    held += curve.knee_ci95[0] <= truth <= curve.knee_ci95[1]
                    kinds += (curve.kind == "corner") == ("no cap" not in name)
                for other, method in others.items():
                    found = method(x, y)
                    missed[other].append(np.inf if found is None else abs(found / truth - 1))
            known = max(len(ours), 1)
            print(
                f"| {name} | {noise:.1%} | {np.mean(count):.1f} | "
                f"{np.median(ours) if ours else np.nan:.1%} | {none / options.trials:.0%} | "
                f"±{np.median(reach) if reach else np.nan:.1%} | {held / known:.0%} | "
                f"{kinds / known:.0%} | "
                + " | ".join(f"{_told(missed[other])}" for other in others) + " |"
            )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
