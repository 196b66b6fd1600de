"""The shape of `gate.json`; every number in it is a pure function of the runs it is made of."""

from __future__ import annotations

from typing import Literal

import msgspec

from evals.compare.records import Interval, Verdict
from harness.measuring.measurement import (  # noqa: TC001 - msgspec reads them at run time
    Caveat,
    RunInfo,
)

SCHEMA = 1
STAGE_SKIPPED = "stage_skipped"
"""Code of the caveat that a stage was not judged."""
Finding = Verdict | Literal["SKIPPED"]
Unit = Literal["share", "ms", "tok/s", "req/s", "GiB", "s", ""]
"""What a rule's value and limit are in; share: 1 is 100 %."""


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, and what was found."""

    rule: str
    """As it was written, e.g. `retained(domain) >= 95%`."""
    stage: str
    verdict: Finding
    value: float | None = None
    ci95: Interval | None = None
    limit: float | None = None
    unit: Unit = ""
    text: str
    """The finding in words, with the category that lost most where there is one."""
    category: str | None = None
    """Where a rule holds for each category: the one that decided it."""
    p_pass: float | None = None
    """p-value of "the rule is broken"; PASS below 0.05."""
    p_fail: float | None = None
    """p-value of "the rule is kept"; FAIL where it is below 0.05 by Holm's correction for all rules
    of the gate."""
    settle: str | None = None
    """Where INCONCLUSIVE: what would settle it."""


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    stage: str
    verdict: Finding
    elapsed_s: float
    """Spent on it, both builds together; servers' starts are not in it."""
    budget_s: float | None = None
    """For each build."""
    text: str = ""
    """What it asks; why it was skipped, or ended early."""


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """All of `gate.json`."""

    schema: int = SCHEMA
    run: RunInfo | None = None
    candidate: str
    baseline: str
    weights: dict[str, str] = {}
    """What those of the `candidate` and the `baseline` are, and the engine's kernel."""
    rules_file: str
    verdict: Verdict
    reason: str = ""
    """The verdict in one sentence: by which rule, and where."""
    rules: list[RuleResult]
    stages: list[StageResult]
    elapsed_s: float
    budget_s: float | None = None
    runs: list[str] = []
    """Folders of the load runs and evaluations that decided."""
    valid: bool = True
    caveats: list[Caveat] = []
