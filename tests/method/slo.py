"""Section "SLO": which requests are good ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from arithmetic import SHARES, mean, quantile
from one_request import values

if TYPE_CHECKING:
    from reading import Record

CELL = {"error_rate", "aggregate_tps", "request_rate", "goodput"}
VLLM = {"ttft": "ttft_ms", "tpot": "tpot_ms", "e2el": "e2e_ms"}
NEEDED = {"ttft_ms", "ttft_due_ms", "ttfa_ms", "e2e_ms"}


Limits = list[tuple[str, str | None, str, float]]
"""(metric, statistic, operator, value) of each limit on a single request."""


def limits(text: str | None) -> Limits:
    """Those on a single request, of an SLO."""
    found = []
    for part in re.split(r"[,\s]+", (text or "").strip()):
        spelled = re.fullmatch(r"(\w+)(<=|>=|:)([\d.]+)\D*", part)
        if spelled is None:
            continue
        name, operator, value = spelled.groups()
        statistic = re.search(r"_(p\d+(?:_\d)?|mean|max)(?=_)", name)
        metric = VLLM[name] if operator == ":" else re.sub(r"_(p\d+(_\d)?|mean|max)(?=_)", "", name)
        if metric not in CELL:
            sign = "<=" if operator == ":" else operator
            found.append((metric, statistic and statistic[1], sign, float(value)))
    return found


def good(sample: Record, slo: Limits) -> bool:
    if sample["error"] is not None:
        return False
    own = values(sample)
    for metric, statistic, operator, limit in slo:
        value = gap(sample, statistic) if metric == "itl_ms" else own[metric]
        if value is None:
            if metric in NEEDED:
                return False
        elif value > limit if operator == "<=" else value < limit:
            return False
    return True


def gap(sample: Record, statistic: str | None) -> float | None:
    gaps = sorted(one / 1e6 for one in sample["chunk_ns"])
    if not gaps:
        return None
    if statistic in {None, "mean"}:
        return mean(gaps)
    return gaps[-1] if statistic == "max" else quantile(gaps, SHARES[statistic])
