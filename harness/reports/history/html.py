"""A history as one self-contained HTML file: no network, no script, light and dark."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from harness.reports import figures
from harness.reports.history import plot, words

if TYPE_CHECKING:
    from harness.history.history import History
    from harness.reports.history import HistoryReport


class Html:
    """A plot a series, its runs in a table, then the list of runs."""

    def render(self, history: History) -> str:
        """Return the page. All text is escaped."""
        environment = Environment(
            autoescape=True,
            finalize=figures.tame,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["plain"] = figures.plain
        environment.globals |= {"words": words, "plots": plot}
        template = environment.from_string(_file("harness.reports.history", "page.html.j2"))
        return template.render(
            history=history,
            metrics=[
                (name, [(one, plot.plot(one)) for one in found])
                for name, found in words.by_metric(history)
                if found
            ],
            style=Markup(_file("harness.reports.page", "page.css")),  # noqa: S704 - our own file
        )


def _file(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


REPORT: HistoryReport = Html()
