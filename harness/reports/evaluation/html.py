"""An evaluation as one self-contained HTML file: no network, light and dark, fit to print."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from harness.quality.evaluation import each
from harness.quality.record import read_evaluation, read_manifest
from harness.reports import figures
from harness.reports.evaluation import bars, words
from harness.reports.evaluation.flips import MOST, flip_lists
from harness.reports.html import server_table
from harness.reports.words import flat

if TYPE_CHECKING:
    from harness.quality.record import EvalManifest
    from harness.reports import Report
    from harness.rundir import RunFolder


class Html:
    """The whole report of an evaluation as one page."""

    suffix = ".html"

    def render(self, run: RunFolder) -> str:
        """Return the page. All text is escaped: prompts and answers are not to be trusted."""
        result, manifest = read_evaluation(run), read_manifest(run)
        environment = Environment(
            autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        environment.filters |= {"figure": figures.figure, "plain": figures.plain}
        environment.globals |= {"words": words, "figures": figures, "bars": bars}
        template = environment.from_string(_file("harness.reports.evaluation", "page.html.j2"))
        everything = each(result)
        return template.render(
            run=result.run,
            result=result,
            evaluations=everything,
            several=len(everything) > 1,
            rows=[(one, suite) for one in everything for suite in one.suites],
            changes=[
                (one, suite, suite.baseline)
                for one in everything
                for suite in one.suites
                if suite.baseline is not None
            ],
            under_load=[
                (one, suite, suite.load)
                for one in everything
                for suite in one.suites
                if suite.load is not None
            ],
            sentences=[
                (figures.plain(one.server.build), text)
                for one in everything
                for text in (*words.sentences(one), *filter(None, [words.quality(one)]))
            ],
            charts=bars.charts(result),
            flips=list(flip_lists(run, result)),
            most=MOST,
            servers=server_table(
                {name: facts.provenance for name, facts in manifest.servers.items()}
            ),
            probes=[(figures.plain(one.server.build), _facts(one.probe)) for one in everything],
            suites=_suites(manifest),
            request=flat(manifest.request),
            host=flat(manifest.host or {}),
            git=flat(manifest.git or {}),
            packages=flat(manifest.packages or {}),
            style=Markup(_file("harness.reports", "report.css")),  # noqa: S704 - our own file
        )


def _facts(card: dict[str, Any] | None) -> dict[str, str]:
    """A capability card, a line a fact."""
    return {} if card is None else flat(card)


def _suites(manifest: EvalManifest) -> list[tuple[str, str]]:
    return [
        (figures.plain(suite.name), json.dumps(suite.settings, indent=2, ensure_ascii=False))
        for suite in manifest.suites
    ]


def _file(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


REPORT: Report = Html()
