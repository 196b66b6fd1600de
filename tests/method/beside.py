"""Section "Builds of one load run side by side", of runs that measured each cell once.

What repeats differ by is pooled where there are several (section "Builds weighed against each
other"): `repeats.py` has that.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from arithmetic import SHARES, mean
from repeats import Noise, interval, pooled, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reading import Record

TOLD = (
    "ttft_p50_ms", "ttft_p95_ms", "itl_p50_ms", "itl_p95_ms", "tpot_p50_ms", "e2e_p50_ms",
    "e2e_p95_ms", "sequence_p50_tps", "aggregate_tps", "request_rate", "goodput", "error_rate",
    "memory_peak_gib",
)  # fmt: skip
OPEN = ("ttft_due_p50_ms", "ttft_due_p95_ms")
ALWAYS = {"ttft_p50_ms", "ttft_p95_ms", "e2e_p50_ms", "e2e_p95_ms"}
MORE = {"sequence_p50_tps", "aggregate_tps", "request_rate", "goodput"}
Z = 1.959963984540054


def split(metric: str) -> tuple[str, str | None]:
    """`ttft_p50_ms` into `ttft_ms` and `p50`."""
    stem, _, unit = metric.rpartition("_")
    name, _, statistic = stem.rpartition("_")
    return (f"{name}_{unit}", statistic) if statistic in SHARES else (metric, None)


def value_of(cell: Record, metric: str) -> tuple[float | None, list[float] | None]:
    """A metric of a cell, and its interval."""
    name, statistic = split(metric)
    if statistic is not None:
        stat = cell["metrics"][name]
        return stat[statistic], stat["ci95"].get(statistic)
    if metric == "memory_peak_gib":
        return cell["server"][metric], None
    return cell["metrics"][metric], None


def least(metric: str) -> int:
    """Answers of a cell below which its percentile decides nothing."""
    name, statistic = split(metric)
    return 0 if statistic is None or name == "itl_ms" else round(4 / (1 - SHARES[statistic]))


def reading(cell: Record, metric: str) -> Record | None:
    """A metric's value with the variance of its logarithm, and how far that lies off the truth."""
    value, ci95 = value_of(cell, metric)
    if value is None:
        return None
    known = ci95 is not None and value > 0 and ci95[0] > 0
    within = (math.log(ci95[1] / ci95[0]) / (2 * Z)) ** 2 if known else 0.0
    missed, answers = 0.0, cell["requests"]["ok"]
    if least(metric) and answers:
        q = SHARES[split(metric)[1]]
        missed = (4 * q - 2) / 3 / math.sqrt(answers * q * (1 - q)) * math.sqrt(within)
    return {
        "value": value,
        "within": within,
        "missed": -missed if metric in MORE else missed,
    }


def wider(ends: list[float] | None, missed: float) -> list[float] | None:
    """Room for the bias, and out of the logarithms."""
    if ends is None:
        return None
    return [math.exp(ends[0] + min(missed, 0.0)), math.exp(ends[1] + max(missed, 0.0))]


def own(known: Sequence[Record | None], noise: Noise | None, *, few: bool) -> Record:
    """A metric of a build over its repeats."""
    found: Record = {"value": None, "ci95": None, "few": False}
    found["repeats"] = [None if one is None else one["value"] for one in known]
    if None in known:
        return found
    values = [one["value"] for one in known]
    if min(values) <= 0:
        return found | {"value": mean(values), "few": few}
    middle = mean([math.log(value) for value in values])
    within = mean([one["within"] for one in known])
    ends = None
    if noise is not None:
        ends = interval(middle, noise.own, noise.own_df, len(values))
    elif within:
        ends = interval(middle, within, math.inf, len(values))
    ends = wider(ends, mean([one["missed"] for one in known]))
    middle = values[0] if len(values) == 1 else math.exp(middle)
    return found | {"value": middle, "ci95": None if few else ends, "few": few}


def against(
    metric: str, pairs: Sequence[tuple[Record, Record]], noise: Noise | None, *, few: bool
) -> Record:
    """A metric against the baseline's, over the repeats that both have."""
    found: Record = dict.fromkeys(("difference", "ci95", "ratio", "ratio_ci95"))
    found |= {"side": "unlike", "few": False}
    if min(min(a["value"], b["value"]) for a, b in pairs) <= 0:
        return found | {"difference": mean([a["value"] - b["value"] for a, b in pairs])}
    log = mean([math.log(a["value"] / b["value"]) for a, b in pairs])
    base = math.exp(mean([math.log(b["value"]) for _, b in pairs]))
    ends = None
    if noise is not None:
        ends = interval(log, 2 * noise.paired, noise.paired_df, len(pairs))
    elif all(a["within"] and b["within"] for a, b in pairs):
        both = mean([a["within"] + b["within"] for a, b in pairs])
        ends = interval(log, both, math.inf, len(pairs))
    ends = wider(ends, mean([a["missed"] - b["missed"] for a, b in pairs]))
    found |= {"difference": base * (math.exp(log) - 1), "ratio": math.exp(log)}
    if few:
        return found | {"few": True}
    if ends is not None:
        found |= {"ci95": [base * (end - 1) for end in ends], "ratio_ci95": ends}
        found["side"] = side(metric, ends, 1.0)
    return found


def side(metric: str, ends: Sequence[float], same: float) -> str:
    if ends[0] <= same <= ends[1]:
        return "unlike"
    return "better" if (ends[0] > same) == (metric in MORE) else "worse"


# --- errors --------------------------------------------------------------------------------------


def counts(cells: Sequence[Record]) -> tuple[int, int]:
    requests = [one["requests"] for one in cells]
    lost = sum(one["failed"] + one["dropped"] for one in requests)
    return lost, sum(one["sent"] + one["dropped"] for one in requests)


def wilson(some: int, of: int) -> list[float]:
    p, square = some / of, Z**2 / of
    middle = (p + square / 2) / (1 + square)
    reach = Z / (1 + square) * math.sqrt(p * (1 - p) / of + square / of / 4)
    return [max(0.0, middle - reach), min(1.0, middle + reach)]


def errors(cells: Sequence[Record]) -> Record:
    some, of = counts(cells)
    each = [counts([one]) for one in cells]
    return {
        "value": some / of,
        "ci95": wilson(some, of),
        "repeats": [a / b for a, b in each],
        "few": False,
    }


def errors_against(cells: Sequence[Record], others: Sequence[Record]) -> Record:
    """Newcombe's interval."""
    (a, n), (b, m) = counts(cells), counts(others)
    d, one, other = a / n - b / m, wilson(a, n), wilson(b, m)
    low = d - math.hypot(a / n - one[0], other[1] - b / m)
    high = d + math.hypot(one[1] - a / n, b / m - other[0])
    found: Record = {"difference": d, "ci95": [low, high], "ratio": None, "ratio_ci95": None}
    return found | {"side": side("error_rate", [low, high], 0.0), "few": False}


# --- the object ----------------------------------------------------------------------------------


def side_by_side(manifest: Record, cells: Sequence[Record]) -> Record:
    """`side_by_side` of measurements.json."""
    baseline = manifest["side_by_side"]["baseline"]
    builds = list(dict.fromkeys([baseline, *(one["build"] for one in cells)]))
    groups = by_level(cells)
    return {
        "baseline": baseline,
        "builds": builds,
        "load": rows(builds, baseline, groups),
        "prefill": [],
        "servers": servers(builds, manifest, cells),
        "work": [work(build, cells) for build in builds[1:]],
        "pairs": [],
        "crossovers": [],
        "notes": [{"code": code} for code in notes(manifest, builds, groups)],
    }


Groups = dict[tuple[str, str, float], list["Record"]]


def by_level(cells: Sequence[Record]) -> Groups:
    """Build, kind and level → repeats."""
    found: Groups = {}
    for one in sorted(cells, key=lambda one: one["repeat"]):
        [(kind, level)] = one["level"].items()
        found.setdefault((one["build"], kind, float(level)), []).append(one)
    return found


def rows(builds: Sequence[str], baseline: str, groups: Groups) -> list[Record]:
    levels = sorted({key[1:] for key in groups})
    opened = OPEN if any(kind == "rate" for kind, _ in levels) else ()
    metrics = [*opened, *TOLD]
    noise = {name: noise_of(name, builds, levels, groups) for name in metrics}
    found = []
    for build in builds:
        for kind, level in levels:
            own_cells, others = groups[build, kind, level], groups[baseline, kind, level]
            found.append(row(metrics, own_cells, others, lambda n, at=(kind, level): noise[n](at)))
    return found


def noise_of(
    metric: str, builds: Sequence[str], levels: Sequence[tuple[str, float]], groups: Groups
) -> Callable[[tuple[str, float]], Noise | None]:
    """What a metric varies by from run to run, at each level; None where each was measured once."""
    if metric == "error_rate":
        return lambda _: None
    table = {
        (build, at): [reading(one, metric) for one in groups[build, *at]]
        for build in builds
        for at in levels
    }
    whole = all(one is not None and one["value"] > 0 for row in table.values() for one in row)
    found = pooled(builds, levels, table) if whole else {}
    return found.get


def row(
    metrics: Sequence[str],
    cells: Sequence[Record],
    others: Sequence[Record],
    noise: Callable[[str], Noise | None],
) -> Record:
    """One build at one level."""
    valid = all(one["client"]["valid"] for one in cells)
    both = valid and all(one["client"]["valid"] for one in others)
    answers = min(one["requests"]["ok"] for one in cells)
    theirs_least = min(one["requests"]["ok"] for one in others)
    values, changes = {}, {}
    for metric in metrics:
        if metric == "error_rate":
            values[metric] = errors(cells)
            changes[metric] = errors_against(cells, others)
            continue
        known = [reading(one, metric) for one in cells]
        theirs = [reading(one, metric) for one in others]
        if metric in ALWAYS or any(one is not None for one in known):
            few = answers < least(metric)
            values[metric] = own(known, noise(metric), few=few)
            pairs = [(a, b) for a, b in zip(known, theirs, strict=True) if a and b]
            if pairs:
                few = few or theirs_least < least(metric)
                changes[metric] = against(metric, pairs, noise(metric), few=few)
    if not both:
        changes = {name: one | {"side": "unlike"} for name, one in changes.items()}
    return {
        "build": cells[0]["build"],
        "profile": cells[0]["profile"],
        "level": {name: float(at) for name, at in cells[0]["level"].items()},
        "repeats": len(cells),
        "answers": answers,
        "valid": valid,
        "stable": all(one["stable"] for one in cells),
        "metrics": values,
        "against": {} if cells is others else changes,
    }


def servers(builds: Sequence[str], manifest: Record, cells: Sequence[Record]) -> list[Record]:
    """What builds' servers are; of starts, and of the peaks of repeats, geometric means."""
    found = [server(build, manifest, cells) for build in builds]
    for name in ("ready_s", "first_token_s", "memory_peak_gib"):
        means = over_starts([one[name] for one in found])
        for one, value in zip(found, means, strict=True):
            one[name] = value
    return found


def server(build: str, manifest: Record, cells: Sequence[Record]) -> Record:
    """A build's, with all its values of what `servers` takes the mean of."""
    visits = [one for one in manifest["visits"] if one["build"] == build]
    own_cells = [one for one in cells if one["build"] == build]
    peaks: dict[int, float] = {}
    for one in own_cells:
        peak = one["server"]["memory_peak_gib"]
        if peak is not None:
            peaks[one["repeat"]] = max(peak, peaks.get(one["repeat"], 0.0))
    names = ("engine", "engine_version", "model", "quantization", "scheme")
    tokens = [one["server"]["kv_cache_tokens"] for one in own_cells]
    found = {"build": build, "kernel": None} | {name: visits[0][name] for name in names}
    return found | {
        "ready_s": [one["ready_s"] for one in visits],
        "first_token_s": [one["first_token_s"] for one in visits],
        "weights_gib": visits[0]["weights_gib"],
        "kv_cache_gib": visits[0]["kv_cache_gib"],
        "kv_cache_tokens": visits[0]["kv_cache_tokens"] or tokens[0],
        "memory_peak_gib": list(peaks.values()),
        "memory_kind": own_cells[0]["server"]["memory_kind"],
    }


def over_starts(listed: Sequence[Sequence[float]]) -> list[Record | None]:
    """Of each build; the variance is pooled over all."""
    count = min((len(values) for values in listed if values), default=0)
    noise, df = [0.0], 0.0
    if count > 1:
        logs = np.log([values[:count] for values in listed if values])[:, None, :]
        noise, df = spread(logs, np.zeros(1), len(logs) * (count - 1), range(4))
    found: list[Record | None] = []
    for values in listed:
        if not values:
            found.append(None)
            continue
        log = mean([math.log(value) for value in values])
        ends = interval(log, noise[0], df, len(values))
        middle = values[0] if len(values) == 1 else math.exp(log)
        ci95 = None if ends is None else [math.exp(end) for end in ends]
        found.append({"value": middle, "ci95": ci95, "repeats": list(values), "few": False})
    return found


def work(build: str, cells: Sequence[Record]) -> Record:
    told = [one["outputs"]["compared"] for one in cells if one["build"] == build]
    those = [one for one in told if one is not None]
    weighed = [(one["length_ratio"], one["pairs"]) for one in those if one["length_ratio"]]
    pairs = sum(n for _, n in weighed)
    prompts = {one["prompts"] for one in those}
    found: Record = {"build": build, "pairs": sum(one["pairs"] for one in those)}
    found["prompts"] = "others" if "others" in prompts else "same" if prompts == {"same"} else None
    for name in ("shorter", "longer", "compared_texts", "identical"):
        found[name] = sum(one[name] for one in those)
    for name in ("prompt_tokens", "finish_reasons"):
        found[name] = dict(sum((Counter(one[name]) for one in those), Counter()))
    found["length_ratio"] = sum(r * n for r, n in weighed) / pairs if pairs else None
    return found


def notes(manifest: Record, builds: Sequence[str], groups: Groups) -> list[str]:
    """Codes of what a reader must mind."""
    port = ("--port", "--host", "--served-model-name", "--model")
    started = [
        {
            word
            for one in manifest["visits"]
            if one["build"] == build
            for word in one["argv"]
            if not word.startswith(port)
        }
        for build in builds
    ]
    found = ["unlike"] if any(one != started[0] for one in started) else []
    if min(map(len, groups.values())) == 1:
        found.append("one_run")
    if any(one["requests"]["ok"] < least("e2e_p95_ms") for own in groups.values() for one in own):
        found.append("few_requests")
    return found
