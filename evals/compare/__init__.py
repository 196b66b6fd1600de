"""Scores, and two builds compared on the same items: pure functions over lists of `Answer`.

    score = summarise(answers)
    comparison = compare(ours, baseline, build="fp16", margin=0.02)

pairs.py     which answers belong together, and when they may not be compared
clusters.py  means of values that come in clusters (CR2, Satterthwaite)
matched.py   score tests and intervals of bounded values
scores.py    one server's scores · builds.py two builds · perplexity.py their perplexities
retained.py  retained shares, quality score · noise.py the noise floor, quality under load
divergence.py  KL divergence and top-1 agreement from log-probabilities

Definitions and their sources: docs/method.md. The figures held to: benchmarks/eval_statistics.py.
"""

from __future__ import annotations

from evals.compare.builds import compare
from evals.compare.divergence import Divergence, divergence
from evals.compare.noise import BeyondFloor, UnderLoad, beyond_floor, under_load
from evals.compare.pairs import Pairs, pair
from evals.compare.records import Comparison, GroupScore, SuiteScore
from evals.compare.retained import QualityScore, quality_score, retained
from evals.compare.scores import summarise

__all__ = [
    "BeyondFloor",
    "Comparison",
    "Divergence",
    "GroupScore",
    "Pairs",
    "QualityScore",
    "SuiteScore",
    "UnderLoad",
    "beyond_floor",
    "compare",
    "divergence",
    "pair",
    "quality_score",
    "retained",
    "summarise",
    "under_load",
]
