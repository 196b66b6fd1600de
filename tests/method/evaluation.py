"""Section "Scores, and builds compared", for items that are right or wrong.

The whole of evaluation.json of one build against a baseline, from answers.jsonl.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from arithmetic import mean, quantile
from reading import lines
from scipy.special import bdtrc, ndtri, stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reading import Record

MARGIN = 0.02
DEFAULTS = {"category": "", "cluster": "", "tags": {}, "outcome": "scored", "score": 0.0}
DEFAULTS |= {"metric": "accuracy", "route": "generative"}


# --- the score test ------------------------------------------------------------------------------


@dataclass
class Bounded:
    """Values between two bounds, each with its cluster."""

    values: Sequence[float]
    clusters: Sequence[object]
    least: float
    greatest: float

    def __post_init__(self) -> None:
        self.seen, self.n = Counter(self.values), len(self.values)
        self.mean = math.fsum(self.values) / self.n
        self.sizes = Counter(self.clusters)
        self.independent = len(self.sizes) == self.n
        shares = [size / self.n for size in self.sizes.values()]
        if len(shares) < 2:
            self.variance, self.own_df = math.nan, 0.0
            return
        off = dict.fromkeys(self.sizes, 0.0)
        for value, cluster in zip(self.values, self.clusters, strict=True):
            off[cluster] += value - self.mean
        squares = [u**2 / (1 - s) for u, s in zip(off.values(), shares, strict=True)]
        self.variance = math.fsum(squares) / self.n**2
        q = [s**2 / (1 - s) for s in shares]
        inverse = sum(s**2 for s in shares) + sum(q) ** 2 - sum(one**2 for one in q)
        self.own_df = 1 / inverse

    @property
    def df(self) -> float:
        """Of the score test; infinite: the normal distribution."""
        return math.inf if self.independent else self.own_df

    @property
    def effect(self) -> float:
        """By how much clusters multiply the variance of the mean."""
        around = math.fsum(c * (x - self.mean) ** 2 for x, c in self.seen.items())
        if self.independent or around <= 1e-12:
            return 1.0
        return max(0.25, self.variance * self.n * (self.n - 1) / around)

    def z(self, mu: float) -> float:
        """Standard errors between the mean seen and `mu`, by the variance that goes with `mu`."""
        if self.mean == mu:
            return 0.0
        if not self.least < mu < self.greatest:
            return math.copysign(math.inf, self.mean - mu)
        return (self.mean - mu) / math.sqrt(self.likeliest_variance(mu) / self.n * self.effect)

    def likeliest_variance(self, mu: float) -> float:
        """Of the distribution with mean `mu` that makes what was seen likeliest.

        Its shares are count ÷ n ÷ (1 + λ(x − mu)); what they leave below 1 lies on a bound.
        """

        def slope(tilt: float) -> float:
            return math.fsum(c * (x - mu) / (1 + tilt * (x - mu)) for x, c in self.seen.items())

        low, high = -1 / (self.greatest - mu), -1 / (self.least - mu)
        inside = 1e-12 * (high - low)
        if slope(low + inside) <= 0:
            tilt, bound = low, self.greatest
        elif slope(high - inside) >= 0:
            tilt, bound = high, self.least
        else:
            tilt, bound = root(slope, low + inside, high - inside), mu
        shares = {x: c / self.n / (1 + tilt * (x - mu)) for x, c in self.seen.items()}
        rest = max(0.0, 1 - math.fsum(shares.values()))
        spread = math.fsum(p * (x - mu) ** 2 for x, p in shares.items())
        return spread + rest * (bound - mu) ** 2

    def interval(self, confidence: float = 0.95) -> list[float]:
        """The means that a two-sided test does not reject."""
        reach = float(stdtrit(self.df, 0.5 + confidence / 2))
        return [
            crossing(lambda mu: self.z(mu) - reach, self.mean, self.least),
            crossing(lambda mu: self.z(mu) + reach, self.mean, self.greatest),
        ]

    def p_above(self, mu: float) -> float:
        return float(stdtr(self.df, -self.z(mu)))

    def p_below(self, mu: float) -> float:
        """The larger one of the score test's and Student's."""
        p = float(stdtr(self.df, self.z(mu)))
        if self.variance > 0:
            p = max(p, float(stdtr(self.own_df, (self.mean - mu) / math.sqrt(self.variance))))
        return p


def root(of: Callable[[float], float], left: float, right: float) -> float:
    """Where a function changes its sign, by halving."""
    sign = of(left) > 0
    for _ in range(200):
        middle = (left + right) / 2
        if (of(middle) > 0) == sign:
            left = middle
        else:
            right = middle
    return (left + right) / 2


def crossing(excess: Callable[[float], float], seen: float, bound: float) -> float:
    """Where a test begins to reject between what was seen and a bound; the bound, if nowhere."""
    outside = bound - math.copysign(1e-9, bound - seen)
    if abs(bound - seen) < 1e-9 or (excess(outside) > 0) == (excess(seen) > 0):
        return bound
    return root(excess, seen, outside)


def sign_test(more: int, fewer: int, *, sides: int) -> float:
    """McNemar's exact test."""
    if not more + fewer:
        return 1.0
    if sides == 1:
        return float(bdtrc(more - 1, more + fewer, 0.5))
    return min(1.0, 2 * float(bdtrc(max(more, fewer) - 1, more + fewer, 0.5)))


# --- scores --------------------------------------------------------------------------------------


def answers(folder: Path) -> list[Record]:
    return [DEFAULTS | one for one in lines(folder / "answers.jsonl")]


def split(those: Sequence[Record], key: Callable[[Record], str]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for one in those:
        found.setdefault(key(one), []).append(one)
    return found


def cluster(one: Record) -> tuple[str, str]:
    """An item without one is its own."""
    return ("in", one["cluster"]) if one["cluster"] else ("alone", one["item"])


def score(those: Sequence[Record]) -> Record:
    """A group of answers."""
    outcomes = Counter(one["outcome"] for one in those)
    graded = [one for one in those if one["outcome"] != "error"]
    values = [one["score"] for one in graded]
    assert set(values) <= {0.0, 1.0}
    bounded = Bounded(values, list(map(cluster, graded)), 0.0, 1.0)
    return {
        "items": len(values),
        "errors": outcomes["error"],
        "truncated": outcomes["truncated"],
        "unparsed": outcomes["unparsed"],
        "empty": outcomes["empty"],
        "score": mean(values),
        "metric": those[0]["metric"],
        "ci95": bounded.interval(),
        "interval": "wilson" if bounded.independent else "wilson by cluster",
        "clusters": len(bounded.sizes),
    }


def tags(those: Sequence[Record]) -> Record:
    names = dict.fromkeys(name for one in those for name in one["tags"])
    return {
        name: {
            value: score(group)
            for value, group in split(
                [one for one in those if name in one["tags"]], lambda one, n=name: one["tags"][n]
            ).items()
        }
        for name in names
    }


# --- against the baseline ------------------------------------------------------------------------


Pairs = list[tuple[float, float, object]]
"""Scores of ours and of the baseline, and the item's cluster."""


def part(pairs: Pairs) -> Record:
    """The pairs of a category, or of all."""
    lost, gained = sum(a < b for a, b, _ in pairs), sum(a > b for a, b, _ in pairs)
    values = Bounded([a - b for a, b, _ in pairs], [own for *_, own in pairs], -1.0, 1.0)
    p_lost = sign_test(lost, gained, sides=1)
    if not values.independent:
        p_lost = max(p_lost, values.p_below(0.0))
    flips = {"lost": lost, "gained": gained, "rate": (lost + gained) / len(pairs)}
    return {
        "pairs": len(pairs),
        "clusters": len(values.sizes),
        "score": mean([a for a, *_ in pairs]),
        "baseline_score": mean([b for _, b, _ in pairs]),
        "difference": values.mean,
        "difference_ci95": values.interval(),
        "retained": retained(pairs),
        "flips": flips | {"near_tie": None, "confident": None},
        "p_lost": p_lost,
        "noninferiority": noninferiority(values, flips["rate"]),
    }


def retained(pairs: Pairs) -> Record:
    above = mean([b for _, b, _ in pairs])
    if above <= 0:
        return {"share": None, "ci95": None}
    share = mean([a for a, *_ in pairs]) / above
    own = [cluster for *_, cluster in pairs]
    reach = float(stdtrit(Bounded([0.0] * len(own), own, 0.0, 1.0).df, 0.975))

    def z(r: float) -> float:
        values = [a - r * b for a, b, _ in pairs]
        least, greatest = min(0.0, -r, *values), max(1.0, 1.0 - r, *values)
        return Bounded(values, own, least, greatest).z(0.0)

    low = crossing(lambda r: z(r) - reach, share, 0.0)
    high = crossing(lambda r: z(r) + reach, share, 100.0)
    return {"share": share, "ci95": [low, high]}


def noninferiority(values: Bounded, flip_rate: float) -> Record:
    p_pass, p_fail = values.p_above(-MARGIN), values.p_below(-MARGIN)
    verdict = "PASS" if p_pass < 0.05 else "FAIL" if p_fail < 0.05 else "INCONCLUSIVE"
    distance, z = MARGIN + values.mean, float(ndtri(0.95) + ndtri(0.8))
    needed = None
    if verdict == "INCONCLUSIVE" and abs(distance) > 1e-12:
        by_flips = z**2 * max(flip_rate - values.mean**2, 0) / distance**2
        at_least = float(ndtri(0.95)) ** 2 * (1 - MARGIN) / MARGIN if distance > 0 else 0.0
        needed = math.ceil(max(by_flips, at_least) * max(1.0, values.effect) - 1e-9)
    return {
        "margin": MARGIN,
        "verdict": verdict,
        "p_pass": p_pass,
        "p_fail": p_fail,
        "bound": -values.interval(0.9)[0],
        "items_needed": needed,
    }


def against(build: str, ours: Sequence[Record], baseline: Sequence[Record]) -> Record:
    """`baseline` of a suite."""
    theirs = {one["item"]: one for one in baseline}
    good = [
        (one, theirs[one["item"]])
        for one in ours
        if one["outcome"] != "error" and theirs[one["item"]]["outcome"] != "error"
    ]
    assert all(a["prompt_hash"] == b["prompt_hash"] for a, b in good)
    whole = part([(a["score"], b["score"], cluster(a)) for a, b in good])
    groups: dict[str, Pairs] = {}
    for a, b in good:
        if a["category"]:
            groups.setdefault(a["category"], []).append((a["score"], b["score"], cluster(a)))
    parts = {name: part(pairs) for name, pairs in groups.items()}
    holm(parts)
    if not parts:
        regressed, worst = [], None
    else:
        by_loss = sorted(parts, key=lambda name: parts[name]["difference"])
        regressed = [name for name in by_loss if len(parts) > 1 and parts[name]["p_holm"] < 0.05]
        worst = by_loss[0] if len(parts) > 1 and parts[by_loss[0]]["difference"] < 0 else None
    flips = whole["flips"]
    return {
        "build": build,
        "score": whole["baseline_score"],
        "our_score": whole["score"],
        "difference": whole["difference"],
        "difference_ci95": whole["difference_ci95"],
        "retained": whole["retained"]["share"],
        "retained_ci95": whole["retained"]["ci95"],
        "above_chance": None,
        "flips": flips,
        "p_value": sign_test(flips["lost"], flips["gained"], sides=2),
        "regressed": regressed,
        "worst": worst,
        "pairs": len(good),
        "clusters": whole["clusters"],
        "unpaired": len({one["item"] for one in (*ours, *baseline)}) - len(good),
        "verdict": whole["noninferiority"]["verdict"],
        "noninferiority": whole["noninferiority"],
        "categories": parts,
        "tasks": {},
        "outcomes": outcomes(good),
        "perplexity": None,
        "divergence": None,
        "notes": [],
    }


def outcomes(pairs: Sequence[tuple[Record, Record]]) -> Record:
    """Answers that could not be read, of both sides."""
    found = {}
    for name in ("truncated", "unparsed", "empty"):
        sides = [(a["outcome"] == name, b["outcome"] == name) for a, b in pairs]
        if any(a or b for a, b in sides):
            more, fewer = sides.count((True, False)), sides.count((False, True))
            found[name] = {
                "ours": sum(a for a, _ in sides),
                "baseline": sum(b for _, b in sides),
                "p_value": sign_test(more, fewer, sides=2),
            }
    return found


def holm(parts: dict[str, Record]) -> None:
    """Holm's p-values of several categories."""
    most = 0.0
    for place, name in enumerate(sorted(parts, key=lambda name: parts[name]["p_lost"])):
        most = max(most, min(1.0, (len(parts) - place) * parts[name]["p_lost"]))
        parts[name]["p_holm"] = most if len(parts) > 1 else None


def quality(seed: int, suites: dict[str, Pairs]) -> Record:
    """Mean of the suites' retained shares, and its bootstrap of 4,000."""
    rng, drawn, shares = np.random.default_rng(seed), [], {}
    for name, pairs in suites.items():
        shares[name] = math.fsum(a for a, *_ in pairs) / math.fsum(b for _, b, _ in pairs)
        sums: dict[object, tuple[float, float]] = {}
        for a, b, own in pairs:
            before = sums.get(own, (0.0, 0.0))
            sums[own] = before[0] + a, before[1] + b
        kinds = sorted(Counter(sums.values()).items())
        counts = np.array([count for _, count in kinds])
        times = rng.multinomial(counts.sum(), counts / counts.sum(), size=4000)
        ours, theirs = (times @ np.array([kind[side] for kind, _ in kinds]) for side in (0, 1))
        drawn.append(ours / theirs)
    means = sorted(np.mean(drawn, axis=0).tolist())
    return {
        "score": mean(list(shares.values())),
        "ci95": [quantile(means, 0.025), quantile(means, 0.975)],
        "lower95": quantile(means, 0.05),
        "tasks": shares,
        "replicates": 4000,
    }


# --- the file ------------------------------------------------------------------------------------


def recomputed(folder: Path) -> Record:
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = json.loads((folder / "evaluation.json").read_text())
    build, suites, pairs = kept["server"]["build"], [], {}
    for suite in manifest["suites"]:
        at = folder / "evals" / suite["name"]
        ours, [other] = at / build, [one for one in at.iterdir() if one.name != build]
        own, theirs = answers(ours), answers(other)
        groups = split([one for one in own if one["category"]], lambda one: one["category"])
        known = {one["item"]: one["score"] for one in theirs}
        pairs[suite["name"]] = [(one["score"], known[one["item"]], cluster(one)) for one in own]
        suites.append(
            score(own)
            | {
                "categories": {name: score(group) for name, group in groups.items()},
                "tags": tags(own),
                "tasks": {},
                "further_ci95": {},
                "further": {},
                "suite": suite["name"],
                "kind": suite["kind"],
                "route": own[0]["route"],
                "planned": json.loads((ours / "plan.json").read_text())["items"],
                "baseline": against(other.name, own, theirs),
                "load": None,
                "wall_s": json.loads((ours / "pass.json").read_text())["wall_s"],
                "caveats": [],
            }
        )
    return {
        "schema": 1,
        "run": manifest["run"],
        "suites": suites,
        "quality": quality(manifest["seed"], pairs),
        "load": [],
        "valid": True,
        "caveats": [],
    }
