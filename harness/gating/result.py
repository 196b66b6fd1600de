"""The shape of `gate.json`; every number in it is a pure function of the runs it is made of."""

from __future__ import annotations

from typing import Literal

import msgspec

from evals.compare.records import Interval, Verdict  # noqa: TC001 - msgspec reads them
from harness.measuring.measurement import (  # noqa: TC001 - msgspec reads them at run time
    Caveat,
    RunInfo,
)

SCHEMA = 1


class RuleResult(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, and what was found."""

    rule: str
    """As it was written, e.g. `retained(domain) >= 0.95`."""
    stage: str
    verdict: Verdict
    value: float | None = None
    ci95: Interval | None = None
    limit: float
    text: str
    """The finding in words, with the category that lost most where there is one."""
    settle: str | None = None
    """Where INCONCLUSIVE: what would settle it."""


class StageResult(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    stage: str
    verdict: Verdict | Literal["SKIPPED"]
    elapsed_s: float
    budget_s: float | None = None
    text: str = ""
    """Why it was skipped, or ended early."""


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """All of `gate.json`."""

    schema: int = SCHEMA
    run: RunInfo | None = None
    candidate: str
    baseline: str
    rules_file: str
    verdict: Verdict
    rules: list[RuleResult]
    stages: list[StageResult]
    elapsed_s: float
    budget_s: float | None = None
    runs: list[str] = []
    valid: bool = True
    caveats: list[Caveat] = []
