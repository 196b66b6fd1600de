"""A gate's folder, made up, and names that try to be more than text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.made.comparison import composite, info, quality_run
from harness.gating.result import GateResult, RuleResult, StageResult

if TYPE_CHECKING:
    from pathlib import Path

    from harness.rundir import RunFolder


HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    '<a href="javascript:alert(3)">x</a>\u202e\x1b[31m\u2028&amp;'
)


def gate_run(parent: Path, *, evil: str = "") -> RunFolder:
    """A gate that fails by a category."""
    run = composite(parent / "gate", "gate", "gate", "harness gate damaged --baseline fp16")
    quality_run(run.path / "quality", ("fp16", "damaged"), evil=evil)
    run.write_json(
        "gate.json",
        GateResult(
            run=info("20261126T040000Z-gate", "harness gate damaged --baseline fp16"),
            candidate=f"damaged{evil}",
            baseline="fp16",
            rules_file="default",
            verdict="FAIL",
            reason="retained(domain) >= 0.95 is broken: 72 % retained; "
            f"velocity lost most, 31 points{evil}.",
            rules=[
                RuleResult(
                    rule="perplexity_delta <= 5%", stage="perplexity", verdict="PASS", value=0.013,
                    ci95=(-0.004, 0.03), limit=0.05, text="perplexity rose by 1.3 %",
                ),
                RuleResult(
                    rule="retained(domain) >= 0.95", stage="domain", verdict="FAIL", value=0.72,
                    ci95=(0.68, 0.77), limit=0.95,
                    text=f"72 % retained; velocity{evil} lost most, 31 points",
                ),
                RuleResult(
                    rule="memory_peak_gib <= 4", stage="load", verdict="INCONCLUSIVE", limit=4.0,
                    text="not measured", settle="run the stage load",
                ),
            ],
            stages=[
                StageResult(stage="perplexity", verdict="PASS", elapsed_s=12.5, budget_s=120),
                StageResult(stage="domain", verdict="FAIL", elapsed_s=40, budget_s=240),
                StageResult(stage="load", verdict="SKIPPED", elapsed_s=0, text="domain failed"),
            ],
            elapsed_s=52.5,
            budget_s=1200,
            runs=["quality"],
        ),
    )  # fmt: skip
    return run
