"""An evaluation's numbers as text, the same in all formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.quality.evaluation import each
from harness.reports.figures import NOTHING, count, figure, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evals.compare.divergence import Divergence
    from evals.compare.records import Flips, Interval
    from harness.measuring.measurement import Caveat
    from harness.quality.evaluation import (
        Against,
        Evaluation,
        LoadEffect,
        Result,
        SuiteResult,
    )

PERPLEXITY: Final = "perplexity"
_TINY: Final = 0.001
_DIGITS: Final = 5
ROUTE_WORDS: Final = {
    "next": "choices of one token scored by the next token's log-probabilities, others by echo",
    "echo": "choices scored by the prompt's log-probabilities (echo)",
    "native": "choices scored at the engine's own page",
    "label": "first-token log-probabilities of the labels",
    "generative": "what the model writes is graded",
}


_ALONE: Final = {
    "PASS": "would have passed this build, which fails",
    "FAIL": "would have failed this build, which fails also",
    "INCONCLUSIVE": "would have left this build undecided, which fails",
}


@dataclass(frozen=True)
class Shown:
    """One caveat, with where it holds."""

    text: str
    where: str
    invalidates: bool


def is_ratio(suite: SuiteResult) -> bool:
    """Whether a suite's scores are compared as a ratio, and lower is better."""
    return PERPLEXITY in suite.metric


def score(suite: SuiteResult, value: float | None) -> str:
    """A score: per cent to a tenth, or a perplexity to five digits."""
    if value is None:
        return NOTHING
    return _perplexity(value) if is_ratio(suite) else f"{100 * value:.1f} %"


def _perplexity(value: float) -> str:
    whole = len(str(int(abs(value))))
    return f"{value:,.{max(0, _DIGITS - whole)}f}"


def metric(suite: SuiteResult) -> str:
    """The metric in a word or two; a perplexity's convention is told by `conventions`."""
    return plain(suite.metric.partition(",")[0])


def conventions(result: Result) -> list[str]:
    """What each perplexity, and each score of lm-eval's, is by."""
    found = [
        f"{plain(suite.suite)}: {plain(suite.metric)}"
        for one in each(result)
        for suite in one.suites
        if is_ratio(suite) or "," in suite.metric
    ]
    return list(dict.fromkeys(found))


def interval(suite: SuiteResult, ci95: Interval | None) -> str:
    """An interval of a score as `92.3–94.9`; empty without one."""
    if ci95 is None:
        return ""
    low, high = ci95
    if is_ratio(suite):
        return f"{_perplexity(low)}–{_perplexity(high)}"
    return f"{100 * low:.1f}–{100 * high:.1f}"


def before(suites: Sequence[SuiteResult], labels: Sequence[str]) -> tuple[str, list[str]] | None:
    """The baseline's name, and its score of each category or task; None without them."""
    against = [(suite, suite.baseline) for suite in suites if suite.baseline is not None]
    for suite, found in against[:1]:
        parts = [found.categories.get(label) or found.tasks.get(label) for label in labels]
        if any(part is not None for part in parts):
            scores = [
                NOTHING if part is None else score(suite, part.baseline_score) for part in parts
            ]
            return plain(found.build), scores
    return None


def difference(suite: SuiteResult, value: float | None) -> str:
    """A difference with its sign: points of the score, or per cent of the perplexity."""
    if value is None:
        return NOTHING
    unit = " %" if is_ratio(suite) else ""
    return f"{100 * value:+.2f}{unit}".replace("-", "−")


def change(suite: SuiteResult, against: Against) -> tuple[str, str]:
    """What a suite lost or gained, and its interval; of a perplexity in per cent of itself."""
    ratio = against.perplexity
    if ratio is None:
        value, ci95 = against.difference, against.difference_ci95
    else:
        value = ratio.ratio - 1
        ci95 = None if ratio.ci95 is None else (ratio.ci95[0] - 1, ratio.ci95[1] - 1)
    return difference(suite, value), difference_interval(ci95)


def difference_interval(ci95: Interval | None) -> str:
    """An interval of a difference as `−1.2 … +0.4`; empty without one."""
    if ci95 is None:
        return ""
    return " … ".join(f"{100 * value:+.2f}".replace("-", "−") for value in ci95)


def share(value: float | None) -> str:
    """A retained share in per cent."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def flips(found: Flips | None) -> str:
    """Answers lost and gained, as `−17 +12`."""
    return NOTHING if found is None else f"−{count(found.lost)} +{count(found.gained)}"


def p_value(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return NOTHING
    return f"< {_TINY}" if value < _TINY else f"{value:.3f}"


def margin(suite: SuiteResult, against: Against) -> str:
    """The margin that a verdict is about."""
    if against.noninferiority is None:
        return ""
    value = f"{100 * against.noninferiority.margin:.4g}"
    return f"at most {value} % worse" if is_ratio(suite) else f"at most {value} points lost"


def verdict(suite: SuiteResult, against: Against) -> str:
    """A verdict with its margin and, where it is open, what would settle it."""
    found = against.noninferiority
    if against.verdict is None or found is None:
        return "no verdict"
    text = f"{against.verdict} ({margin(suite, against)})"
    if against.verdict == "INCONCLUSIVE":
        if found.items_needed:
            text += f"; about {count(found.items_needed)} items would settle it 4 times in 5"
        else:
            text += "; no number of items would settle it"
    return text


def outcomes(suite: SuiteResult) -> str:
    """What became of items that were not simply graded; empty where all were."""
    parts = [
        (suite.errors, "without an answer"),
        (suite.truncated, "cut off"),
        (suite.unparsed, "unreadable"),
        (suite.empty, "empty"),
    ]
    return ", ".join(f"{count(number)} {what}" for number, what in parts if number)


def heading(result: Result) -> str:
    """What a report is called."""
    builds = ", ".join(plain(one.server.build) for one in each(result))
    return f"Quality of {builds}"


def server_line(one: Evaluation) -> str:
    """Who was asked."""
    server = one.server
    version = f" {server.engine_version}" if server.engine_version else ""
    weights = f" ({server.weights})" if server.weights else ""
    return plain(
        f"{server.build}{weights}: {server.model or NOTHING} on {server.engine or NOTHING}{version}"
    )


def sentences(one: Evaluation) -> Iterator[str]:
    """What there is to say of a build, a suite a sentence or two."""
    for suite in one.suites:
        against = suite.baseline
        if against is None or against.difference is None:
            continue
        name = plain(suite.suite)
        changed, spread = change(suite, against)
        words = f"{name}: {changed}"
        words += "" if is_ratio(suite) else " points"
        words += f" against {plain(against.build)}"
        if spread:
            words += f" (95 % interval {spread})"
        yield f"{words}: {verdict(suite, against)}."
        yield from against.notes
        if against.divergence is not None:
            yield f"{name}: {divergence(against.divergence)}"
        if against.regressed:
            worst, *others = (plain(category) for category in against.regressed)
            parts = {**against.tasks, **against.categories}
            lost = parts.get(against.regressed[0])
            by = "" if lost is None else f" ({difference(suite, lost.difference)} points)"
            more = f", and also {', '.join(others)}" if others else ""
            yield f"{name}: {worst} lost most{by}{more} (Holm-adjusted p < 0.05)."
    yield from _perplexity_alone(one)
    for suite in one.suites:
        if suite.load is not None:
            yield from load_sentences(suite, suite.load)


def _perplexity_alone(one: Evaluation) -> Iterator[str]:
    """What a rule on perplexity would have made of a build whose graded answers fail it."""
    judged = [(suite, suite.baseline.verdict) for suite in one.suites if suite.baseline]
    failed = [
        plain(suite.suite) for suite, found in judged if found == "FAIL" and not is_ratio(suite)
    ]
    for suite, found in judged if failed else ():
        if is_ratio(suite) and found is not None:
            yield f"{plain(suite.suite)} alone {_ALONE[found]} by {', '.join(failed)}."


def divergence(found: Divergence) -> str:
    """How far next-token distributions moved."""
    spread = ""
    if found.kl_mean_ci95 is not None:
        spread = f" ({figure(found.kl_mean_ci95[0])}–{figure(found.kl_mean_ci95[1])})"
    return (
        f"KL divergence from the baseline at least {figure(found.kl_mean)} nats a token{spread}, "
        f"99 % of tokens below {figure(found.kl_p99)}; both find the same token likeliest at "
        f"{share(found.top1)} of {count(found.tokens)} places (top {found.top_k} tokens, "
        f"{share(found.mass)} of the probability)."
    )


def load_sentences(suite: SuiteResult, effect: LoadEffect) -> Iterator[str]:
    """What the load did to the graded answers."""
    name = plain(suite.suite)
    yield f"{name} under {plain(effect.profile)}@{effect.level:g}: {effect.statement}"
    latency, idle = effect.latency_ms, effect.latency_idle_ms
    yield (
        f"{name}: graded answers took {figure(latency.p50)} ms (p50) and {figure(latency.p95)} ms "
        f"(p95) under load, {figure(idle.p50)} and {figure(idle.p95)} ms idle; "
        f"{figure(effect.output_tokens)} tokens long, {figure(effect.output_tokens_idle)} idle; "
        f"{count(effect.truncated)} cut off, {count(effect.truncated_idle)} idle."
    )
    if not effect.valid:
        yield f"{name}: the load cell's own figures are not valid; see its caveats."


def caveats(result: Result) -> list[Shown]:
    """All caveats, those that invalidate first."""
    found = [_shown(caveat, "") for caveat in result.caveats]
    for one in each(result):
        build = plain(one.server.build)
        if one is not result:
            found += [_shown(caveat, build) for caveat in one.caveats]
        for suite in one.suites:
            where = f"{build} · {plain(suite.suite)}"
            found += [_shown(caveat, where) for caveat in suite.caveats]
        for cell in one.load:
            found += [Shown(plain(c.text), plain(cell.id), False) for c in cell.client.caveats]
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda shown: not shown.invalidates)


def _shown(caveat: Caveat, where: str) -> Shown:
    return Shown(plain(caveat.text), where, caveat.invalidates)


def validity(result: Result) -> str:
    """Whether the whole is to be believed."""
    if result.valid:
        return "Valid."
    reasons = [shown for shown in caveats(result) if shown.invalidates]
    return f"NOT VALID: {reasons[0].text}" if reasons else "NOT VALID."


def quality(one: Evaluation) -> str:
    """The mean of the retained shares; empty without one."""
    found = one.quality
    if found is None:
        return ""
    spread = ""
    if found.ci95 is not None:
        spread = f" (95 % interval {100 * found.ci95[0]:.1f}–{100 * found.ci95[1]:.1f})"
    return (
        f"Quality score {share(found.score)}{spread}: the mean of what was retained over "
        f"{', '.join(map(plain, found.tasks))}."
    )
