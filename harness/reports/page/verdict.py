"""What is said first: the verdict, its reasons, and what could not be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.evidence.folders import CAPACITY, COMPARISON, EVAL, GATE
from harness.reports import sizing as sizing_words
from harness.reports import words
from harness.reports.comparison import words as comparison_words
from harness.reports.evaluation import words as quality_words
from harness.reports.figures import NOTHING, figure, plain, plain_lines
from harness.reports.page import sidebyside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evals.compare.records import Interval
    from harness.capacity.result import Capacity
    from harness.reports.page.material import Material

KINDS: Final = {COMPARISON: "Comparison", GATE: "Gate", EVAL: "Quality report",
                CAPACITY: "Capacity report"}  # fmt: skip
CLASSES: Final = {"PASS": "good", "FAIL": "bad", "INCONCLUSIVE": "warn", "SKIPPED": "soft"}


@dataclass(frozen=True, kw_only=True)
class Head:
    """The top of the page."""

    title: str
    kind: str
    verdict: str | None
    """PASS, FAIL or INCONCLUSIVE."""
    sentence: str | None
    """The finding in one sentence."""
    points: list[str]
    """The reasons."""
    unknown: list[str]
    """What could not be told, with what would settle it."""


@dataclass(frozen=True, kw_only=True)
class Warned:
    """A caveat, and where it holds."""

    text: str
    where: str
    invalidates: bool


def head(material: Material) -> Head:
    """Return what stands first."""
    verdict = sentence = None
    points: list[str] = []
    unknown: list[str] = []
    if material.gate is not None:
        verdict, sentence = material.gate.verdict, plain(material.gate.reason) or None
        points = [plain(r.text) for r in material.gate.rules if r.verdict == "FAIL"][1:]
        unknown = [
            plain(f"{rule.rule}: {rule.settle}") for rule in material.gate.rules if rule.settle
        ]
    elif material.comparison is not None:
        found = material.comparison.recommendation
        verdict, sentence = found.verdict, comparison_words.headline(material.comparison)
        points, unknown = list(map(plain, found.reasons)), list(map(plain, found.unknown))
    elif material.capacity is not None:
        sentence, points, unknown = _of_capacity(material.capacity)
    elif (beside := sidebyside.of(material)) is not None:
        told = list(map(plain, beside.sentences))
        sentence, points = (told[0] if told else None), told[1:]
    elif material.kind == EVAL:
        points = [
            f"{build} · {text}" if len(material.evidence.quality[0].evaluations) > 1 else text
            for build, text in sentences(material)
        ]
    return Head(
        title=_title(material),
        kind=KINDS.get(material.kind, "Load report"),
        verdict=verdict,
        sentence=sentence,
        points=points,
        unknown=unknown,
    )


def _of_capacity(found: Capacity) -> tuple[str | None, list[str], list[str]]:
    """Which of several builds takes the least, else the first's answer; the rest; the unknown."""
    told = [f"{one.build}: {one.text}" for one in found.builds]
    unknown: list[str] = []
    if (sizing := found.sizing) is not None:
        told += [*sizing_words.of_builds(sizing), *sizing_words.further(sizing)]
        if sizing.text:
            told.insert(0 if sizing.cheapest else len(told), sizing.text)
        unknown = sizing_words.unknown(sizing)
    told = list(map(plain, told))
    return told[0] if told else None, told[1:], list(map(plain, unknown))


def _title(material: Material) -> str:
    if material.gate is not None:
        return plain(f"{material.gate.candidate} against {material.gate.baseline}")
    if material.comparison is not None:
        return comparison_words.heading(material.comparison)
    if material.capacity is not None:
        limits = material.capacity.slo.replace(",", ", ")  # a narrow page breaks lines there
        return plain(": ".join(filter(None, [", ".join(material.builds), limits])))
    if material.kind in {COMPARISON, GATE}:
        return ", ".join(material.builds) or material.info.id
    if material.kind == EVAL:
        return quality_words.heading(material.evidence.quality[0].result)
    beside = sidebyside.of(material)
    others = "" if beside is None else ", ".join(beside.builds[1:])
    return plain(f"{others} against {beside.baseline}" if beside else material.info.id)


def sentences(material: Material) -> Iterator[tuple[str, str]]:
    """What there is to say of each build's answers: the build, and a sentence."""
    for run in material.evidence.quality:
        for one in run.evaluations:
            build = plain(one.server.build)
            for text in (*quality_words.sentences(one), quality_words.quality(one)):
                if text:
                    yield build, text


def warnings(material: Material) -> list[Warned]:
    """All caveats of the run and its parts, those that invalidate first, each once."""
    found: list[Warned] = []
    own = material.comparison or material.gate or material.capacity
    if own is not None:
        found += [Warned(text=plain_lines(c.text), where="", invalidates=c.invalidates)
                  for c in own.caveats]  # fmt: skip
    for load in material.evidence.load:
        found += [
            Warned(text=one.text, where=one.where, invalidates=one.invalidates)
            for one in words.warnings(load.measurements)
        ]
    for quality in material.evidence.quality:
        found += [
            Warned(text=one.text, where=one.where, invalidates=one.invalidates)
            for one in quality_words.caveats(quality.result)
        ]
    return sorted(dict.fromkeys(found), key=lambda one: not one.invalidates)


def validity(material: Material) -> str:
    """Whether the numbers may be believed, in a sentence."""
    if material.capacity is not None and material.valid:
        return _of_probes(material)
    told = [words.validity(run.measurements) for run in material.evidence.load]
    told += [quality_words.validity(run.result) for run in material.evidence.quality]
    if len(told) == 1:
        return told[0]
    if material.valid:
        return "All parts are valid."
    bad = [text for text in told if "INVALID" in text or "NOT VALID" in text]
    return " ".join(bad) or "NOT VALID: see the caveats."


def _of_probes(material: Material) -> str:
    cells = [cell for _, cell in material.evidence.cells]
    bad = sum(not cell.client.valid for cell in cells)
    if not bad:
        return f"All {len(cells)} probes are valid."
    return (
        f"{bad} of {len(cells)} probes are invalid as measurements (see Validity); those in which "
        "the client was too slow for their rate count for nothing."
    )


def spread(ci95: Interval | None) -> str:
    """An interval as `lo–hi`, with words between where one end is negative."""
    if ci95 is None:
        return ""
    low, high = (signed(value) if min(ci95) < 0 else figure(value) for value in ci95)
    return f"{low} … {high}" if min(ci95) < 0 else f"{low}–{high}"


def signed(value: float | None) -> str:
    """A number with its sign."""
    if value is None:
        return NOTHING
    return ("+" if value > 0 else "−" if value < 0 else "") + figure(abs(value))


def objectives(material: Material) -> list[str]:
    """For each limit that a load run was given: which cells hold it and which break it.

    A comparison's limits have a table of their own, over the repeats, and so has a search.
    """
    if material.comparison is not None or material.capacity is not None:
        return []
    found: Sequence[list[str]] = [
        words.objectives(run.measurements, run.manifest) for run in material.evidence.load
    ]
    return [text for texts in found for text in texts]
