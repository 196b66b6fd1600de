"""Answers that changed against the baseline, for the page's browser of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from evals.compare.builds import NEAR_TIE_NATS, likelihood_gap
from evals.store import read_answers
from harness.quality.passes import EVALS
from harness.reports.figures import plain, plain_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from evals.records import Answer
    from harness.evidence.evidence import QualityRun
    from harness.quality.evaluation import SuiteResult
    from harness.reports.page.material import Material

BUDGET: Final = 1_100_000
"""Bytes that changed answers may take; those beyond are left out, and counted."""
_RIGHT: Final = 0.5
"""A score from here on is a right answer."""
_MOST_TEXT: Final = 1500
_ALIKE: Final = 200
"""A start that all prompts of a suite share is kept once from so many characters on."""


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One item that was right by one build and wrong by the other."""

    suite: str
    build: str
    baseline: str
    category: str
    item: str
    lost: bool
    near_tie: bool | None
    """Whether the baseline held both answers for nearly equally likely; None: not known."""
    prompt: str
    expected: str
    ours: str
    theirs: str
    outcome: str


@dataclass(frozen=True, kw_only=True)
class Browser:
    """What the page's browser is given."""

    found: int
    shown: int
    data: dict[str, Any]
    ties: bool
    """Whether near ties are known of any."""
    counts: list[tuple[str, str, str, int, int]]
    """Suite, build, baseline, lost, gained: of all, shown or not."""


def browser(material: Material) -> Browser | None:
    """Return the changed answers of all evaluations; None where nothing was compared."""
    compared = [
        (suite, one.server.build, run)
        for run in material.evidence.quality
        for one in run.evaluations
        for suite in one.suites
        if suite.baseline is not None and suite.baseline.flips is not None
    ]
    if not compared:
        return None
    lists = [list(_flips(run, build, suite)) for suite, build, run in compared]
    counts = []
    for (suite, build, _), flips in zip(compared, lists, strict=True):
        lost = sum(flip.lost for flip in flips)
        against = suite.baseline.build if suite.baseline else ""
        counts.append((plain(suite.suite), plain(build), plain(against), lost, len(flips) - lost))
    everything = [flip for flips in lists for flip in flips]
    starts = {
        suite: _start([flip.prompt for flip in everything if flip.suite == suite])
        for suite in _names(flip.suite for flip in everything)
    }
    kept = _within(_fairly(everything), starts)
    return Browser(
        found=len(everything),
        shown=len(kept),
        data=_data(kept, starts),
        ties=any(flip.near_tie is not None for flip in kept),
        counts=counts,
    )


def _flips(run: QualityRun, build: str, suite: SuiteResult) -> Iterator[Flip]:
    against = suite.baseline
    if against is None:
        return
    folder = run.folder.path / EVALS / suite.suite
    before = {(a.task, a.item): a for a in read_answers(folder / against.build)}
    for ours in read_answers(folder / build):
        theirs = before.get((ours.task, ours.item))
        if theirs is None or "error" in {ours.outcome, theirs.outcome}:
            continue
        if (ours.score >= _RIGHT) == (theirs.score >= _RIGHT):
            continue
        gap = likelihood_gap(ours, theirs)
        yield Flip(
            suite=plain(suite.suite),
            build=plain(build),
            baseline=plain(against.build),
            category=plain(ours.category or ours.task or "–"),
            item=plain(f"{ours.task} {ours.item}".strip()),
            lost=theirs.score >= _RIGHT,
            near_tie=None if gap is None else gap < NEAR_TIE_NATS,
            prompt=plain_lines(ours.prompt),
            expected=text(ours.expected),
            ours=_answer(ours),
            theirs=_answer(theirs),
            outcome=plain(ours.outcome),
        )


def _fairly(flips: Iterable[Flip]) -> list[Flip]:
    """Put flips in turns: any beginning has some of every build, suite, category and direction.

    Lost answers, and confident ones among them, come first.
    """
    piles: dict[tuple[str, str, bool, str], list[Flip]] = {}
    for flip in flips:
        key = (flip.suite, flip.build, not flip.lost, flip.category)
        piles.setdefault(key, []).append(flip)
    for pile in piles.values():
        pile.sort(key=lambda flip: (bool(flip.near_tie), flip.item))
    turns = zip_longest(*(piles[key] for key in sorted(piles)))
    return [flip for turn in turns for flip in turn if flip is not None]


def _within(flips: Sequence[Flip], starts: Mapping[str, str]) -> list[Flip]:
    """Return the first flips that the budget has room for, prompts of one item counted once."""
    seen: set[tuple[str, str]] = set()
    left, kept = BUDGET - sum(map(_size, starts.values())), []
    for flip in flips:
        size = 60 + _size(flip.ours)
        if (flip.suite, flip.item) not in seen:
            prompt = _question(flip, starts)
            size += 60 + sum(map(_size, (prompt, flip.expected, flip.theirs, flip.item)))
        if size > left:
            break
        left -= size
        seen.add((flip.suite, flip.item))
        kept.append(flip)
    return sorted(kept, key=_place)


def _place(flip: Flip) -> tuple[str, str, bool, str, bool, str]:
    """Where a flip stands: lost answers first, confident ones before near ties."""
    tie = bool(flip.near_tie)
    return (flip.suite, flip.build, not flip.lost, flip.category, tie, flip.item)


def _question(flip: Flip, starts: Mapping[str, str]) -> str:
    """Return what a prompt has beyond its suite's shared start; of a long one the end."""
    rest = flip.prompt[len(starts[flip.suite]) :]
    return rest if len(rest) <= _MOST_TEXT else f"… {rest[-_MOST_TEXT:]}"


def _size(words: str) -> int:
    return len(json.dumps(words))


def _data(flips: Sequence[Flip], starts: Mapping[str, str]) -> dict[str, Any]:
    """Return the flips with what they share written once."""
    suites = _names(flip.suite for flip in flips)
    builds = _names(flip.build for flip in flips)
    categories = sorted({flip.category for flip in flips})
    baselines = _names(flip.baseline for flip in flips)
    items: dict[tuple[str, str, str], int] = {}
    told: list[list[Any]] = []
    rows = []
    for flip in flips:
        key = (flip.suite, flip.baseline, flip.item)
        if key not in items:
            items[key] = len(told)
            told.append([
                suites.index(flip.suite), categories.index(flip.category), flip.item,
                _question(flip, starts), flip.expected, flip.theirs,
                baselines.index(flip.baseline),
            ])  # fmt: skip
        tie = -1 if flip.near_tie is None else int(flip.near_tie)
        outcome = "" if flip.outcome == "scored" else flip.outcome
        rows.append([items[key], builds.index(flip.build), int(flip.lost), tie, flip.ours, outcome])
    return {
        "suites": suites,
        "builds": builds,
        "categories": categories,
        "baselines": baselines,
        "starts": [starts[suite] for suite in suites],
        "items": told,
        "flips": rows,
    }


def _names(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _start(prompts: Sequence[str]) -> str:
    """Return what all prompts begin with (the same worked examples), up to the end of a line."""
    first, last = min(prompts), max(prompts)
    if first == last:
        return ""
    alike = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    shared = first[: first.rfind("\n", 0, alike) + 1]
    return shared if len(shared) >= _ALIKE else ""


def _answer(answer: Answer) -> str:
    if answer.text is not None:
        return text(answer.text) or "(nothing)"
    return "–" if answer.choice is None else f"choice {answer.choice}"


def text(words: str) -> str:
    """Text as it was, line breaks included, that can neither steer nor hide, and not too long."""
    shown = plain_lines(words)
    return shown if len(shown) <= _MOST_TEXT else f"{shown[:_MOST_TEXT]} …"
