"""What one test of a rule says. A rule is one trial, or several: a category, or a level, each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.errors import HarnessError

if TYPE_CHECKING:
    from evals.compare.records import Interval, Verdict
    from harness.gating.result import Unit

ALPHA: Final = 0.05


class UnknownError(HarnessError):
    """A rule cannot be tried with what there is; the text says why.

    Attributes:
        settle: what would settle it, where that is known.
        invalid: whether there is something, but it must not be believed.
    """

    def __init__(self, text: str, *, settle: str | None = None, invalid: bool = False) -> None:
        super().__init__(text)
        self.settle = settle
        self.invalid = invalid


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One test, one-sided to either side."""

    name: str = ""
    """The category, task or level; empty where a rule is one trial."""
    value: float | None
    ci95: Interval | None = None
    unit: Unit = ""
    text: str
    p_pass: float | None = None
    """Of "the rule is broken"."""
    p_fail: float | None = None
    """Of "the rule is kept"."""
    as_seen: Verdict | None = None
    """Where a value is no estimate (a peak, a count) and is read as it was seen."""
    settle: str | None = None
    """What would settle it, where the two tests do not."""
    excess: float = 0.0
    """How far beyond the limit, in units of the limit; what is worst is told first."""


def finding(trial: Trial, adjusted: float | None) -> Verdict:
    """Return what a test finds: of a gate's rule, and of a limit that builds are compared under.

    Args:
        trial: the test.
        adjusted: its `p_fail` after Holm's correction; None: not known.
    """
    if trial.as_seen is not None:
        return trial.as_seen
    if adjusted is not None and adjusted < ALPHA:
        return "FAIL"
    return "PASS" if trial.p_pass is not None and trial.p_pass < ALPHA else "INCONCLUSIVE"


def holm(ps: list[float], family: int) -> list[float]:
    """Return Holm's adjusted p-values of tests of which `family` were planned.

    Those that were not made count with p = 1, so that a FAIL that ends the gate early is one that
    the whole of it would have made, too (S. Holm, *A simple sequentially rejective multiple test
    procedure*, Scand. J. Statist. 6 (1979) 65-70).
    """
    count = max(family, len(ps))
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, (count - rank) * ps[place])
        adjusted[place] = min(1.0, largest)
    return adjusted
