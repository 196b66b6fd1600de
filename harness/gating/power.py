"""Whether so many items can show that a rule is kept, before anybody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evals.power import items_needed
from harness.errors import did_you_mean
from harness.gating.answers import EVERY

if TYPE_CHECKING:
    from evals.kinds import Size
    from harness.evidence.limits import Limit


def unreachable(limit: Limit, size: Size) -> str:
    """Say why a rule cannot come out as PASS, whatever is answered; empty where it can.

    The best case is looked at: not one answer changes, and the baseline has all of them right.
    What is needed where answers do change, `harness eval plan` says.
    """
    if limit.metric == "retained":
        margin = 1 - limit.value
    elif limit.metric == "difference":
        margin = -limit.value
    else:
        return ""
    categories = size.categories or {}
    parts = {limit.suite or "": categories.get(limit.suite or "", size.items)}
    if limit.part == EVERY:
        parts = dict(categories)
    elif limit.part is not None:
        if limit.part not in categories:
            near = did_you_mean(limit.part, categories)
            there = ", ".join(sorted(categories)) or "no categories"
            return f"no category {limit.part}{near}; it has {there}"
        parts = {limit.part: categories[limit.part]}
    if not parts:
        return "it has no categories; leave /* out"
    needed = items_needed(margin, 0.0)
    name = min(parts, key=parts.__getitem__)
    if needed is None or parts[name] >= needed:
        return ""
    where = f" of {name}" if limit.part is not None else ""
    return (
        f"{parts[name]:,} items{where} cannot show it even if no answer changes: at least "
        f"{needed:,} are needed{' of each' if limit.part == EVERY else ''}; ask more (limit), or "
        "allow a larger loss"
    )
