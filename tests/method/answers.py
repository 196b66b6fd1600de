"""Sections "Output audit", "Sessions", "Prompts", "Replicas"."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from arithmetic import describe, mean
from one_request import ms, tokens_of
from scipy.stats import wilcoxon

if TYPE_CHECKING:
    from reading import Cell, Record


def outputs(cell: Cell) -> Record:
    reasons = Counter(one["finish_reason"] or "none" for one in cell.answered)
    tokens = [tokens_of(one) for one in cell.answered]
    ratios = [one["compression"] for one in cell.answered if one["compression"] is not None]
    hashed = [one for one in cell.answered if one["output_hash"]]
    prompts: dict[str, set[int]] = {}
    for one in hashed:
        prompts.setdefault(one["output_hash"], set()).add(one["body"])
    return {
        "finish_reasons": dict(reasons),
        "tokens": describe([float(one) for one in tokens], "output tokens"),
        "planned_tokens": sum(one["planned_output_tokens"] for one in cell.answered),
        "empty": sum(one["error"] == "empty" for one in cell.measured),
        "one_token": sum(one <= 1 for one in tokens),
        "compared_texts": len(ratios),
        "repeating": sum(one > 2.4 for one in ratios),
        "hashed": len(hashed),
        "identical": sum(len(prompts[one["output_hash"]]) > 1 for one in hashed),
        "compared": None,
    }


def firsts(cell: Cell) -> dict[int, Record]:
    """The first answer to each prompt."""
    found: dict[int, Record] = {}
    for one in cell.answered:
        found.setdefault(one["body"], one)
    return found


def compared(cell: Cell, baseline: Cell) -> Record:
    """This build's answers against those of the baseline to the same prompts."""
    own, theirs = firsts(cell), firsts(baseline)
    pairs = [(own[body], theirs[body]) for body in sorted(own.keys() & theirs.keys())]
    less = [tokens_of(a) - tokens_of(b) for a, b in pairs]
    made = sum(tokens_of(b) for _, b in pairs)
    texts = [(a, b) for a, b in pairs if a["output_hash"] and b["output_hash"]]
    asked = cell.plan.get("asked_digest"), baseline.plan.get("asked_digest")
    counted = [
        str(a["prompt_tokens"] - b["prompt_tokens"])
        for a, b in pairs
        if a["prompt_tokens"] is not None and b["prompt_tokens"] is not None
    ]
    ways = [
        f"{a['finish_reason'] or 'none'}, {b['finish_reason'] or 'none'}"
        for a, b in pairs
        if a["finish_reason"] != b["finish_reason"]
    ]
    return {
        "baseline": baseline.facts["build"],
        "pairs": len(pairs),
        "length_ratio": sum(tokens_of(a) for a, _ in pairs) / made if made else None,
        "shorter": sum(one < 0 for one in less),
        "longer": sum(one > 0 for one in less),
        "p_shorter": p_less(less) if len(pairs) >= 20 else None,
        "compared_texts": len(texts),
        "identical": sum(a["output_hash"] == b["output_hash"] for a, b in texts),
        "prompts": None if not all(asked) else "same" if asked[0] == asked[1] else "others",
        "prompt_tokens": dict(Counter(counted)),
        "finish_reasons": dict(Counter(ways)),
    }


def p_less(differences: list[int]) -> float:
    some = [one for one in differences if one]
    if not some:
        return 1.0
    return float(wilcoxon(some, alternative="less", method="asymptotic").pvalue)


# --- prompts and sessions ------------------------------------------------------------------------


def prompts(cell: Cell) -> Record | None:
    """Planned and counted prompt tokens; a later turn's prompt holds the answers before it."""
    plan, after = cell.plan["prompt_tokens"], cell.plan["after"]
    made = {
        one["seq"]: one["output_tokens"] for one in cell.answered if one["token_source"] == "server"
    }
    pairs = []
    for one in cell.answered:
        if one["prompt_tokens"] is None or not plan:
            continue
        planned: int | None = plan[one["body"]]
        if after:
            start = one["seq"] - one["seq"] % len(after)
            before = after[one["seq"] - start]
            while before >= 0 and planned is not None:
                quoted = made.get(start + before)
                planned = None if quoted is None else planned + quoted
                before = after[before]
        if planned is not None:
            pairs.append((planned, one["prompt_tokens"]))
    if not pairs:
        return None
    return {
        "requests": len(pairs),
        "planned": sum(a for a, _ in pairs),
        "counted": sum(b for _, b in pairs),
    }


def sessions(cell: Cell, *, stable: bool) -> Record | None:
    after = cell.plan["after"]
    if not after:
        return None
    turn, root = [0] * len(after), list(range(len(after)))
    for at, before in enumerate(after):
        if before >= 0:
            turn[at], root[at] = turn[before] + 1, root[before]
    continued = {before for before in after if before >= 0}

    def session(one: Record) -> tuple[int, int]:
        rounds, at = divmod(one["seq"], len(after))
        return rounds, root[at]

    begun = {session(one) for one in cell.measured}
    cut = {None, "aborted", "dropped"}
    broken = {session(one) for one in cell.measured if one["error"] not in cut}
    last = [one for one in cell.answered if one["seq"] % len(after) not in continued]
    complete = {session(one) for one in last}
    planned = max(len(begun), len(cell.plan["due_ns"] or ()))
    turns = []
    for number in range(max(turn) + 1):
        those = [one for one in cell.answered if turn[one["seq"] % len(after)] == number]
        told = [one["prompt_tokens"] for one in those if one["prompt_tokens"] is not None]
        ttft = [ms(one["sent_ns"], one["first_ns"]) for one in those]
        turns.append(
            {
                "turn": number + 1,
                "n": len(those),
                "ttft_ms": describe(ttft, f"ttft_ms of turn {number}", stable=stable),
                "prompt_tokens_mean": mean(told) if told else None,
            }
        )
    return {
        "planned": planned,
        "complete": len(complete),
        "broken": len(broken),
        "cut_off": planned - len(complete) - len(broken),
        "turns": turns,
    }


def endpoints(cell: Cell, *, stable: bool) -> list[Record]:
    """Each of several addresses by itself."""
    plan = cell.plan
    if not plan["replicas"]:
        return []
    found = []
    for index, where in enumerate([plan, *plan["replicas"]]):
        host = f"[{where['host']}]" if ":" in where["host"] else where["host"]
        name = f"{host}:{where['port']}"
        sent = [
            one
            for one in cell.measured
            if one["endpoint"] == index and one["submitted_ns"] is not None
        ]
        errors = Counter(one["error"] for one in sent if one["error"])
        ttft = [ms(one["sent_ns"], one["first_ns"]) for one in sent if one["error"] is None]
        found.append(
            {
                "address": name,
                "sent": len(sent),
                "failed": sum(errors.values()),
                "errors": dict(errors),
                "ttft_ms": describe(ttft, f"ttft_ms of {name}", stable=stable),
            }
        )
    return found
