"""The page as a whole: its sections, its style and script, and what it may do, which is nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from harness.reports import figures, findings, server, words
from harness.reports import sizing as sizing_words
from harness.reports.comparison import words as comparison_words
from harness.reports.evaluation import words as quality_words
from harness.reports.gate import words as gate_words
from harness.reports.page import (
    builds,
    capacity,
    curves,
    distributions,
    flips,
    prediction,
    provenance,
    quality,
    repeats,
    sidebyside,
    sweeps,
    timeline,
    verdict,
)
from harness.reports.page import sizing as sized
from harness.reports.page.material import gather, missing
from harness.reports.page.panels import hue
from harness.reports.page.svg import Pen

if TYPE_CHECKING:
    from harness.reports.page.material import Material, Traffic
    from harness.rundir import RunFolder
    from harness.sizing.record import Sizing

_MOST_ON_PAPER: Final = 8
"""Cells whose every number is printed."""


def render(run: RunFolder) -> str:
    """Return the page of a run. All text is escaped: names, prompts and answers are not trusted.

    Raises:
        BadInputError: a file of the run is missing or broken.
    """
    material, pen = gather(run), Pen()
    style, script = _file("page.css"), _file("page.js")
    found = flips.browser(material)
    return _environment().get_template("page.html.j2").render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - shipped with the package, not input
        script=Markup(script),  # noqa: S704 - as above
        data=None if found is None else script_json(found.data),
        m=material,
        head=verdict.head(material),
        warnings=verdict.warnings(material),
        validity=verdict.validity(material),
        objectives=verdict.objectives(material),
        missing=missing(material.evidence.load),
        problems=[problem for seen in material.seen for problem in seen.problems],
        machines=words.unique(filter(None, map(words.machine, _manifests(material)))),
        dig=Markup(' class="dig"') if _left_to_the_file(material) else "",
        compared=_compared(pen, material),
        beside=sidebyside.section(pen, material),
        searched=_searched(pen, material),
        swept=sweeps.sections(pen, material),
        traffics=[_traffic(pen, material, one) for one in material.traffic],
        quality_tables=quality.tables(material),
        evaluations=[one for run in material.evidence.quality for one in run.evaluations],
        flips=found,
        servers=provenance.servers(material),
        origins=provenance.origins(material),
        versions=list(provenance.client_versions(material)),
    )  # fmt: skip


def render_sizing(sizing: Sizing) -> str:
    """Return the page of a sizing of finished runs, which has no folder of its own."""
    pen, style, script = Pen(), _file("page.css"), _file("page.js")
    return _environment().get_template("sized.html.j2").render(
        policy=_policy(style, script),
        style=Markup(style),  # noqa: S704 - as above
        script=Markup(script),  # noqa: S704 - as above
        title=figures.plain(", ".join(one.build for one in sizing.builds)),
        runs=words.unique(figures.plain(one.supply.run) for one in sizing.builds),
        unknown=list(map(figures.plain, sizing_words.unknown(sizing))),
        bars=capacity.bars_of(sizing),
        sizing=sized.section(pen, sizing),
        predictions=prediction.sections(pen, [one.prediction for one in sizing.builds]),
    )  # fmt: skip


def _left_to_the_file(material: Material) -> bool:
    """Whether paper goes without the tables of every cell: they are for who digs."""
    decided = material.comparison is not None or material.gate is not None
    return decided or sum(len(one.cells) for one in material.traffic) > _MOST_ON_PAPER


def _manifests(material: Material) -> list[Any]:
    return [material.manifest, *(run.manifest for run in material.evidence.load),
            *({"host": run.manifest.host} for run in material.evidence.quality)]  # fmt: skip


def _compared(pen: Pen, material: Material) -> dict[str, Any] | None:
    """What a comparison says beyond its recommendation."""
    found = material.comparison
    if found is None:
        return None
    return {
        "glance": builds.glance(found),
        "everything": builds.everything(found),
        "front": builds.front(pen, found),
        "limits": found.recommendation.limits,
        "costs": list(comparison_words.costs(found)),
        "pairs": list(comparison_words.pairs(found)),
        "crossovers": list(comparison_words.crossovers(found)),
    }


def _searched(pen: Pen, material: Material) -> dict[str, Any] | None:
    """What a search came to."""
    found = material.capacity
    if found is None:
        return None
    sizing = found.sizing
    return {
        "bars": capacity.bars(found),
        "builds": capacity.sections(pen, found, material.evidence.load[0]),
        "sizing": None if sizing is None else sized.section(pen, sizing),
        "predictions": prediction.sections(pen, [one.prediction for one in found.builds]),
    }


def _traffic(pen: Pen, material: Material, one: Traffic) -> dict[str, Any]:
    """The sections of one profile's load."""
    cells = one.cells
    runs = [run for run in material.evidence.load if any(
        figures.plain(c.profile) == one.title for c in run.measurements.cells)]  # fmt: skip
    spots = repeats.spots(one, material.comparison)
    return {
        "t": one,
        "summary": words.summary(one.measurements, runs[0].manifest),
        "calibration": words.calibration(runs[0].manifest),
        "goodput": any(cell.metrics.goodput is not None for cell in cells),
        "trade": curves.trade(pen, one, spots),
        "by_level": curves.by_level(pen, one, spots),
        "ranges": curves.ranges(one),
        "distributions": distributions.distributions(pen, one),
        "timelines": timeline.timelines(pen, one),
        "bursts": any(s.over_time and s.over_time["bursts"] for s in one.seen.values()),
        "failing": [cell for cell in cells if words.failures(cell)],
        "all_metrics": {cell.id: _all_metrics(cell, one.itl) for cell in cells},
    }


def _all_metrics(cell: Any, itl: str) -> list[tuple[str, str, Any]]:  # noqa: ANN401
    rows = figures.all_metrics(cell, itl)
    if words.failures(cell):
        rows += [
            (f"{title}, failures as +∞", unit, stat)
            for title, unit, stat in figures.with_failures(cell)
        ]
    return rows


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        finalize=figures.tame,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_template),
    )
    environment.filters |= {"figure": figures.figure, "plain": figures.plain}
    environment.globals |= {
        "words": words,
        "quality_words": quality_words,
        "gate_words": gate_words,
        "figures": figures,
        "findings": findings,
        "server": server,
        "verdict": verdict,
        "hue": hue,
        "level_of": figures.level,
        "ttft_of": figures.headline_ttft,
        "definitions": words.DEFINITIONS,
    }
    return environment


def _template(name: str) -> str:
    return _file("templates", name)


@cache
def _file(*parts: str) -> str:
    return files("harness.reports.page").joinpath(*parts).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """What the page may do: use this style and this script, and reach nothing."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    """A hash source (Content Security Policy Level 3, W3C 2025, section 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


_UNSEEN: Final = re.compile("[<>&\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What could end a script, and what nobody sees in a text that steers how others are shown."""


def script_json(data: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    text = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return Markup(text)  # noqa: S704 - escaped just above
