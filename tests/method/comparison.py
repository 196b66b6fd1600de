"""Section "Builds weighed against each other": comparison.json of builds on load and on answers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import beside
import evaluation
import load
from evaluation import Bounded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reading import Record

NOTHING = (
    "baseline_score", "difference", "difference_ci95", "retained", "retained_ci95",
    "noninferiority", "perplexity_ratio", "perplexity_ratio_ci95", "verdict", "items_needed",
    "worst", "worst_difference", "worst_ci95", "flips",
)  # fmt: skip
COPIED = (
    "difference", "difference_ci95", "retained", "retained_ci95", "noninferiority", "flips",
    "verdict", "regressed", "worst",
)  # fmt: skip


def recomputed(folder: Path) -> Record:
    manifest = json.loads((folder / "manifest.json").read_text())
    cells = load.recomputed(folder / "load")["cells"]
    told = json.loads((folder / "load" / "manifest.json").read_text())
    builds = list(dict.fromkeys(one["build"] for one in cells))
    baseline, limits = builds[0], manifest["request"]["slo"].split(",")
    groups = beside.by_level(cells)
    rows = beside.rows(builds, baseline, groups)
    quality = graded(folder / "quality", builds, limits)
    servers = beside.servers(builds, told, cells)
    return {
        "schema": 1,
        "run": manifest["run"],
        "runs": ["load", "quality"],
        "baseline": baseline,
        "builds": builds,
        "servers": servers,
        "load": rows,
        "quality": quality,
        "pairs": [],
        "crossovers": [],
        "front": front(builds, objectives(rows, quality, servers)),
        "costs": {},
        "cost_levels": {},
        "recommendation": recommendation(builds, limits, rows, quality),
        "valid": True,
        "caveats": [{"code": code, "invalidates": False} for code in notes(told, builds, groups)],
    }


def notes(manifest: Record, builds: Sequence[str], groups: beside.Groups) -> list[str]:
    """Codes of what a reader must mind."""
    levels = sorted({key[1:] for key in groups})
    noise = beside.noise_of("e2e_p50_ms", builds, levels, groups)(levels[0])
    few = noise is not None and 0 < noise.paired_df < 4
    return [*beside.notes(manifest, builds, groups), *(["few_repeats"] if few else [])]


# --- answers -------------------------------------------------------------------------------------


def graded(folder: Path, builds: Sequence[str], limits: Sequence[str]) -> list[Record]:
    """A row for each suite and build."""
    manifest = json.loads((folder / "manifest.json").read_text())
    found = []
    for suite in manifest["suites"]:
        at = folder / "evals" / suite["name"]
        base = evaluation.answers(at / builds[0])
        for build in builds:
            own = evaluation.answers(at / build)
            score = evaluation.score(own)
            row: Record = dict.fromkeys(NOTHING)
            row |= {name: score[name] for name in ("items", "score", "ci95", "metric")}
            row |= {"build": build, "suite": suite["name"], "kind": suite["kind"], "valid": True}
            row |= {"route": own[0]["route"], "regressed": [], "categories": {}, "tasks": {}}
            row["tests"] = {}
            if build != builds[0]:
                held = evaluation.against(builds[0], own, base)
                row |= {name: held[name] for name in COPIED}
                row["baseline_score"] = held["score"]
                row["items_needed"] = held["noninferiority"]["items_needed"]
                row["categories"] = held["categories"]
                row["tests"] = {
                    text: [retains(own, base, float(asked[1]) / 100)]
                    for text in limits
                    if (asked := re.fullmatch(rf"retained\({suite['name']}\)>=(.+)%", text))
                }
            found.append(row)
    return found


def retains(ours: Sequence[Record], baseline: Sequence[Record], share: float) -> Record:
    """The test of `retained(SUITE)>=share`."""
    scores = {one["item"]: one["score"] for one in baseline}
    differences = [one["score"] - scores[one["item"]] for one in ours]
    values = Bounded(differences, list(map(evaluation.cluster, ours)), -1.0, 1.0)
    base = sum(scores.values()) / len(scores)
    margin = (1 - share) * base
    p_pass, p_fail = values.p_above(-margin), values.p_below(-margin)
    return {
        "part": "",
        "verdict": "PASS" if p_pass < 0.05 else "FAIL" if p_fail < 0.05 else "INCONCLUSIVE",
        "value": 1 + values.mean / base,
        "ci95": [1 + end / base for end in values.interval()],
        "p_pass": p_pass,
        "p_fail": p_fail,
        "settle": None,
    }


# --- what follows --------------------------------------------------------------------------------


Objectives = dict[str, tuple[str, "dict[str, Record]"]]
"""Name → which end is best, and each build's value with its interval."""


def objectives(
    rows: Sequence[Record], quality: Sequence[Record], servers: Sequence[Record]
) -> Objectives:
    levels = sorted({next(iter(row["level"].items())) for row in rows}, key=lambda at: at[1])
    known: Objectives = {}
    for name in dict.fromkeys(row["suite"] for row in quality):
        own = [row for row in quality if row["suite"] == name]
        known[name] = "most", {row["build"]: paired(row) for row in own}
    for (kind, at), metric, best in (
        (levels[0], "e2e_p50_ms", "least"),
        (levels[-1], "aggregate_tps", "most"),
    ):
        there = [row for row in rows if row["level"] == {kind: at}]
        values = {row["build"]: row["metrics"][metric] for row in there}
        known[f"{metric}@{kind[0]}{at:g}"] = best, values
    known["memory_peak_gib"] = "least", {one["build"]: one["memory_peak_gib"] for one in servers}
    return known


def paired(row: Record) -> Record:
    """A score with the interval of its difference to the baseline's around it."""
    if row["difference_ci95"] is None:
        return {"value": row["score"], "ci95": None}
    base = row["score"] - row["difference"]
    return {"value": row["score"], "ci95": [base + end for end in row["difference_ci95"]]}


def dominates(one: str, other: str, known: Objectives) -> bool:
    """Whether a build is nowhere worse and somewhere better."""
    gains = [
        (values[one]["value"] - values[other]["value"]) * (1 if best == "most" else -1)
        for best, values in known.values()
    ]
    return min(gains) >= 0 and max(gains) > 0


def shown(one: str, other: str, known: Objectives) -> bool:
    """Whether a build is shown to be better in something: the intervals are apart."""
    for best, values in known.values():
        a, b = (values[build]["ci95"] or [values[build]["value"]] * 2 for build in (one, other))
        if (a[0] > b[1]) if best == "most" else (a[1] < b[0]):
            return True
    return False


def front(builds: Sequence[str], known: Objectives) -> Record:
    """The Pareto front."""
    dominated, doubtful = {}, []
    for build in builds:
        others = [other for other in builds if other != build]
        by = [other for other in others if dominates(other, build, known)]
        settled = all(shown(build, one, known) for one in others)
        if by:
            dominated[build] = by[0]
            settled = any(
                shown(one, build, known) and not shown(build, one, known) for one in others
            )
        doubtful += [] if settled else [build]
    return {
        "objectives": {name: best for name, (best, _) in known.items()},
        "values": {
            build: {name: values[build]["value"] for name, (_, values) in known.items()}
            for build in builds
        },
        "members": [build for build in builds if build not in dominated],
        "dominated": dominated,
        "left_out": {},
        "doubtful": doubtful,
    }


def recommendation(
    builds: Sequence[str], limits: Sequence[str], rows: Sequence[Record], quality: Sequence[Record]
) -> Record:
    """Limits of each build, and the one of most tokens a second among those that hold all."""
    held = {build: [one(build, limit, rows, quality) for limit in limits] for build in builds}
    fit = [
        build
        for build in builds
        if all(each["verdict"] == "PASS" for each in held[build])
        and not any(row["regressed"] for row in quality if row["build"] == build)
    ]
    top = max(level for row in rows for level in row["level"].values())
    tps = {
        row["build"]: row["metrics"]["aggregate_tps"]["value"]
        for row in rows
        if top in row["level"].values()
    }
    return {
        "build": max(fit, key=lambda build: tps[build]),
        "verdict": "PASS",
        "limits": held,
        "unknown": [],
    }


def one(build: str, limit: str, rows: Sequence[Record], quality: Sequence[Record]) -> Record:
    """A limit on a median at one level, or on what is retained."""
    found: Record = {"limit": limit, "value": None, "ci95": None, "settle": None, "more": False}
    asked = re.fullmatch(r"(\w+)@c(\d+)<=([\d.]+)", limit)
    if asked is None:
        tests = [test for row in quality if row["build"] == build for test in row["tests"].items()]
        own = [test for text, those in tests if text == limit for test in those]
        if not own:  # the baseline itself
            return found | {"verdict": "PASS"}
        return found | {name: own[0][name] for name in ("verdict", "value", "ci95")}
    level = {"concurrency": float(asked[2])}
    [value] = [
        row["metrics"][asked[1]] for row in rows if row["build"] == build and row["level"] == level
    ]
    bound = float(asked[3])
    inside = "PASS" if value["ci95"][1] <= bound else "INCONCLUSIVE"
    verdict = "FAIL" if value["ci95"][0] > bound else inside
    return found | {"verdict": verdict, "value": value["value"], "ci95": value["ci95"]}
