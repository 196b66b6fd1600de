"""An evaluation for a pull request: GitHub-flavoured Markdown, tables first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.quality.evaluation import each
from harness.quality.record import read_evaluation
from harness.reports.evaluation import words
from harness.reports.figures import NOTHING, count
from harness.reports.markdown import code, escape, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evals.compare import GroupScore
    from harness.quality.evaluation import Evaluation, Result, SuiteResult
    from harness.reports import Report
    from harness.rundir import RunFolder

_MOST_PARTS: Final = 60


class Markdown:
    """Scores, comparisons, categories, what they say, caveats, how to reproduce."""

    suffix = ".md"

    def render(self, run: RunFolder) -> str:
        """Return the report as Markdown."""
        result = read_evaluation(run)
        parts = [f"## {escape(words.heading(result))}"]
        verdict = escape(words.validity(result))
        parts.append(verdict if result.valid else f"> [!CAUTION]\n> **{verdict}**")
        parts += [text for text in (_scores(result), _changes(result)) if text]
        said = [
            f"- {escape(_of_build(result, one, text))}"
            for one in each(result)
            for text in (*words.sentences(one), *filter(None, [words.quality(one)]))
        ]
        said += [f"- {escape(line)}" for line in words.conventions(result)]
        if said:
            parts.append("\n".join(said))
        parts += _parts(result)
        caveats = [
            f"- {'**Invalid:** ' if shown.invalidates else ''}{escape(shown.text)}"
            + (f" ({escape(shown.where)})" if shown.where else "")
            for shown in words.caveats(result)
        ]
        if caveats:
            parts.append("**Caveats**\n\n" + "\n".join(caveats))
        servers = "; ".join(escape(words.server_line(one)) for one in each(result))
        parts.append(
            f"{servers}. Seed {result.run.seed}, harness {escape(result.run.harness_version)}. "
            f"Run again: {code(result.run.command)}"
        )
        return "\n\n".join(parts) + "\n"


def _of_build(result: Result, one: Evaluation, text: str) -> str:
    return text if one is result else f"{one.server.build}: {text}"


def _rows(result: Result) -> Iterator[tuple[Evaluation, SuiteResult]]:
    for one in each(result):
        for suite in one.suites:
            yield one, suite


def _scores(result: Result) -> str:
    head = [
        "Suite", "Build", "Score", "95 % interval", "Items", "Not graded", "Metric", "Route"
    ]  # fmt: skip
    rows = [
        [
            code(suite.suite),
            code(one.server.build),
            words.score(suite, suite.score),
            words.interval(suite, suite.ci95) or NOTHING,
            count(suite.items),
            words.outcomes(suite) or NOTHING,
            escape(words.metric(suite)) or NOTHING,
            escape(suite.route or NOTHING),
        ]
        for one, suite in _rows(result)
    ]
    return table(head, rows, (0, 1, 5, 6, 7)) if rows else ""


def _changes(result: Result) -> str:
    head = [
        "Suite", "Build", "Against", "Difference", "95 % interval", "Retained", "Flips", "p",
        "Verdict",
    ]  # fmt: skip
    rows = [
        [
            code(suite.suite),
            code(one.server.build),
            f"{code(against.build)} {words.score(suite, against.score)}",
            words.change(suite, against)[0],
            words.change(suite, against)[1] or NOTHING,
            words.share(against.retained),
            words.flips(against.flips),
            words.p_value(against.p_value),
            words.verdict(suite, against),
        ]
        for one, suite in _rows(result)
        if (against := suite.baseline) is not None
    ]
    return table(head, rows, (0, 1, 2, 8)) if rows else ""


def _parts(result: Result) -> Iterator[str]:
    """A table a suite by category, and one by each tag that its answers have."""
    for name in dict.fromkeys(suite.suite for _, suite in _rows(result)):
        found = [(one, suite) for one, suite in _rows(result) if suite.suite == name]
        yield from _by(name, "category", [(one, s, s.categories) for one, s in found])
        for tag in dict.fromkeys(tag for _, suite in found for tag in suite.tags):
            yield from _by(name, tag, [(one, s, s.tags.get(tag, {})) for one, s in found])


def _by(
    name: str, what: str, found: list[tuple[Evaluation, SuiteResult, dict[str, GroupScore]]]
) -> Iterator[str]:
    labels = list(dict.fromkeys(label for _, _, parts in found for label in parts))
    if not 2 <= len(labels) <= _MOST_PARTS:  # noqa: PLR2004
        return
    before = words.before([suite for _, suite, _ in found], labels)
    builds = [*([before[0]] if before else []), *(one.server.build for one, _, _ in found)]
    head = [escape(what.capitalize()), "Items", *map(code, builds)]
    rows = []
    for place, label in enumerate(labels):
        row = [escape(label), "", *([before[1][place]] if before else [])]
        for _, suite, parts in found:
            part = parts.get(label)
            text = NOTHING if part is None else words.score(suite, part.score)
            if part is not None:
                row[1] = count(part.items)
                text += f" ({words.interval(suite, part.ci95)})" if part.ci95 else ""
            if suite.baseline is not None and label in suite.baseline.regressed:
                text += " ▼"
            row.append(text)
        rows.append(row)
    text = table(head, rows, (0,))
    mark = "\n\n▼ lost more than noise" if "▼" in text else ""
    title = f"{escape(name)} by {escape(what)}"
    yield f"<details><summary>{title}</summary>\n\n{text}{mark}\n\n</details>"


REPORT: Report = Markdown()
