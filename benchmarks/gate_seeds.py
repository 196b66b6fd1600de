"""How often the gate is right: real answers re-sampled, and decided by its very rules.

Usage: python benchmarks/gate_seeds.py EVALUATION AGAIN [--seeds 100] [--rules default]

EVALUATION is a run of `harness eval --server fp16,damaged,awq,gptq,nf4 --baseline fp16 --suite
perplexity,domain`, AGAIN one of `harness eval --server fp16 --suite perplexity,domain`. Of each
category the clusters (templates, documents) are drawn with replacement, as many as there are, an
item's answers by all builds together; what comes out is another gate on another draw of questions.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from evals.store import read_answers
from harness.config import find_rules, find_suite, load_config
from harness.evidence.limits import parse_limit
from harness.gating import answers
from harness.gating.judge import Tried, decide
from harness.gating.record import GateManifest, Side, StageRecord
from harness.gating.speeds import is_estimated
from harness.measuring.measurement import RunInfo

if TYPE_CHECKING:
    from evals.records import Answer
    from harness.gating.result import GateResult
    from harness.gating.rules import Rules

AGAIN = "fp16 again"
Answers = dict[str, list["Answer"]]
"""By suite."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("evaluation", type=Path)
    parser.add_argument("again", type=Path)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rules", default="default")
    asked = parser.parse_args()
    rules, _ = find_rules(asked.rules, load_config())
    suites = [
        suite.name
        for stage in rules.stages
        if stage.suite is not None and (suite := find_suite(stage.suite, load_config())[0])
        if (asked.evaluation / "evals" / suite.name).is_dir()
    ]
    folders = {suite: asked.evaluation / "evals" / suite for suite in suites}
    names = sorted(path.name for path in folders[suites[0]].iterdir())
    builds = {n: {s: read_answers(f / n) for s, f in folders.items()} for n in names}
    builds[AGAIN] = {s: read_answers(asked.again / "evals" / s / "fp16") for s in suites}
    baseline = builds.pop("fp16")
    print(
        f"{asked.seeds} draws of "
        + ", ".join(f"{len(baseline[suite]):,} items of {suite}" for suite in suites)
        + f" against fp16, rules {rules.name}"
    )
    print(f"{'build':<12} {'PASS':>5} {'FAIL':>5} {'INCONCLUSIVE':>13}  by rule, where not PASS")
    for name, own in sorted(builds.items()):
        verdicts: Counter[str] = Counter()
        why: Counter[str] = Counter()
        for seed in range(asked.seeds):
            drawn = {suite: draw(own[suite], baseline[suite], seed) for suite in suites}
            result = gate(rules, drawn)
            verdicts[result.verdict] += 1
            why.update(
                f"{rule.rule}: {rule.verdict}" for rule in result.rules if rule.verdict != "PASS"
            )
        counts = [verdicts[v] for v in ("PASS", "FAIL", "INCONCLUSIVE")]
        reasons = "; ".join(f"{text} {count}" for text, count in why.most_common())
        print(f"{name:<12} {counts[0]:>5} {counts[1]:>5} {counts[2]:>13}  {reasons}")


def draw(ours: list[Answer], theirs: list[Answer], seed: int) -> tuple[list[Answer], list[Answer]]:
    """Draw clusters of each category with replacement; a cluster drawn twice is two clusters."""
    rng = np.random.default_rng(seed)
    mine = {answer.item: answer for answer in ours}
    clusters: dict[str, dict[str, list[Answer]]] = {}
    for answer in theirs:
        if answer.item in mine:
            of = clusters.setdefault(answer.category, {})
            of.setdefault(answer.cluster or answer.item, []).append(answer)
    found: tuple[list[Answer], list[Answer]] = ([], [])
    for of in clusters.values():
        names = list(of)
        for place, pick in enumerate(rng.integers(0, len(names), len(names))):
            for other in of[names[pick]]:
                told = {"item": f"{other.item}#{place}", "cluster": f"{other.cluster}#{place}"}
                found[0].append(msgspec.structs.replace(mine[other.item], **told))
                found[1].append(msgspec.structs.replace(other, **told))
    return found


def gate(rules: Rules, drawn: dict[str, tuple[list[Answer], list[Answer]]]) -> GateResult:
    """Decide by the stages whose suites were asked; tests of the load count as made."""
    stages, tried = [], []
    for stage in rules.stages:
        name = None if stage.suite is None else find_suite(stage.suite, load_config())[0].name
        limits = [parse_limit(rule, stage.name) for rule in stage.rules]
        tests = sum(is_estimated(limit.metric) for limit in limits)
        if name in drawn:
            own = [
                Tried(
                    stage=stage.name,
                    rule=rule,
                    limit=limit.value,
                    trials=answers.tries(limit, *drawn[name]),
                )
                for rule, limit in zip(stage.rules, limits, strict=True)
            ]
            tests = sum(len(one.trials) for one in own)
            tried += own
        stages.append(StageRecord(name=stage.name, asks=name or "", ended="done", tests=tests))
    manifest = GateManifest(
        run=RunInfo(id="", path="", started="", command="", seed=0, harness_version=""),
        candidate=Side(build="candidate"),
        baseline=Side(build="fp16"),
        rules_file=rules.name,
        rules={},
        stages=stages,
    )
    return decide(manifest, tried)


if __name__ == "__main__":
    main()
