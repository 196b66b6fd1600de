"""One self-contained HTML file: no network, light and dark, fit to print."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from harness.reports import charts, figures, findings, words
from harness.reports.cells import read_cell
from harness.reports.ranges import ranges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.measuring.measurement import CellMeasurement, Measurements, Stat
    from harness.reports import Report
    from harness.rundir import RunFolder

_FIRST: Final = (
    "engine", "engine_version", "model", "quantization", "linear_kernel", "dtype", "device",
    "kv_cache_tokens", "kv_cache_blocks", "kv_cache_dtype", "max_model_len", "weights", "ready_s",
    "argv",
)  # fmt: skip
"""The facts about a server that come first; the others follow in alphabetical order."""
_FACT_NAMES: Final = {"argv": "command line", "ready_s": "start-up, s"}


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What the page shows of a cell's samples. The samples themselves, which are many, are gone."""

    values: charts.Values
    over_time: charts.Chart | None
    rows: list[tuple[float, float, float, int, float]]
    failures: list[tuple[str, int, str]]
    versions: dict[str, str]
    problems: tuple[str, ...]


class Html:
    """The whole report of a run as one page."""

    suffix = ".html"

    def render(self, run: RunFolder) -> str:
        """Return the page."""
        measurements, manifest = run.read_measurements(), run.read_manifest()
        cells = words.in_order(measurements)
        profile, most = words.table(manifest, "profile"), charts.points_a_chart(len(cells))
        shown = {cell.id: _shown(run, cell, profile, most) for cell in cells}
        # The page is one string with strict escaping; the only marked-up parts are our own files.
        environment = Environment(
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            loader=DictLoader({"findings.html.j2": _file("findings.html.j2")}),
        )
        environment.filters |= {"figure": figures.figure, "plain": figures.plain}
        environment.globals |= {
            "words": words,
            "figures": figures,
            "findings": findings,
            "level_of": figures.level,
            "ttft_of": figures.headline_ttft,
        }
        template = environment.from_string(_file("template.html.j2"))
        return template.render(
            run=measurements.run,
            measurements=measurements,
            cells=cells,
            groups=[list(group) for _, group in groupby(cells, figures.level_value)],
            style=_inline("vendor", "uPlot.min.css") + _inline("report.css"),
            licence=_inline("vendor", "uPlot-LICENSE.txt"),
            library=_inline("vendor", "uPlot.iife.min.js"),
            script=_inline("report.js"),
            **_parts(measurements, manifest, cells, shown),
        )


def _shown(
    run: RunFolder, cell: CellMeasurement, profile: Mapping[str, object], most: int
) -> _Shown:
    records = read_cell(run, cell.id)
    return _Shown(
        values=charts.values_of(cell, records),
        over_time=charts.over_time(cell, records, profile, most=most),
        rows=charts.over_time_rows(cell, records),
        failures=records.failures(),
        versions=records.drive.versions if records.drive else {},
        problems=records.problems,
    )


def _parts(
    measurements: Measurements,
    manifest: Mapping[str, object],
    cells: Sequence[CellMeasurement],
    shown: Mapping[str, _Shown],
) -> dict[str, Any]:
    """What the template shows beside the measurements."""
    one_level = len({figures.level_value(cell) for cell in cells}) == 1
    data = _data(measurements, shown)
    itl = figures.itl_name(cells)
    return {
        "data": _script_json(data),
        "summary": words.summary(measurements, manifest),
        "warnings": words.warnings(measurements),
        "missing": words.missing(measurements, manifest),
        "problems": [problem for cell in cells for problem in shown[cell.id].problems],
        "objectives": words.objectives(measurements, manifest),
        "validity": words.validity(measurements),
        "open_loop": bool(cells) and figures.is_open(cells[0]),
        "goodput": any(cell.metrics.goodput is not None for cell in cells),
        "itl": itl,
        "repeats": words.has_repeats(measurements),
        "builds": data["builds"],
        "ranges": ranges(measurements, cells) if one_level else [],
        "by_level": data["by_level"],
        "distributions": data["distributions"],
        "over_time": data["over_time"],
        "rows": {cell.id: shown[cell.id].rows for cell in cells},
        "bursts": any(chart and chart["bursts"] for chart in data["over_time"].values()),
        "with_bursts": [cell for cell in cells if cell.bursts is not None],
        "with_mixture": [cell for cell in cells if cell.mixture is not None],
        "with_stalls": [cell for cell in cells if cell.steady is not None],
        "with_outputs": [cell for cell in cells if cell.outputs is not None],
        "failing": [cell for cell in cells if words.failures(cell)],
        "failures": {cell.id: shown[cell.id].failures for cell in cells},
        "versions": next((one.versions for one in shown.values() if one.versions), {}),
        "servers": server_table(words.table(manifest, "servers")),
        "host": words.flat(words.table(manifest, "host")),
        "git": words.flat(words.table(manifest, "git")),
        "packages": words.flat(words.table(manifest, "packages")),
        "profile": words.flat(words.table(manifest, "profile")),
        "request": words.flat(words.table(manifest, "request")),
        "all_metrics": {cell.id: _all_metrics(cell, itl) for cell in cells},
        "definitions": words.DEFINITIONS,
        "machine": words.machine(manifest),
        "calibration": words.calibration(manifest),
    }


def _all_metrics(cell: CellMeasurement, itl: str) -> list[tuple[str, str, Stat]]:
    rows = figures.all_metrics(cell, itl)
    if words.failures(cell):
        rows += [
            (f"{title}, failures as +∞", unit, stat)
            for title, unit, stat in figures.with_failures(cell)
        ]
    return rows


def _data(measurements: Measurements, shown: Mapping[str, _Shown]) -> dict[str, Any]:
    """What the charts draw."""
    return {
        "builds": words.unique(
            figures.plain(figures.series_of(cell)) for cell in measurements.cells
        ),
        "by_level": charts.by_level(measurements),
        "distributions": charts.distributions(
            measurements, {cell_id: one.values for cell_id, one in shown.items()}
        ),
        "over_time": {cell_id: one.over_time for cell_id, one in shown.items()},
    }


def server_table(servers: Mapping[str, object]) -> dict[str, Any]:
    """Facts about the servers, a row a fact: `same` holds the text when all builds share it.

    `rows` are the facts that every reader wants, `more` are the others.
    """
    columns = {
        figures.plain(name): words.server_facts(words.table(servers, name)) for name in servers
    }
    rows: list[dict[str, Any]] = []
    more: list[dict[str, Any]] = []
    for name in sorted({key for facts in columns.values() for key in facts}, key=_place):
        values = [facts.get(name, figures.NOTHING) for facts in columns.values()]
        same = values[0] if len(set(values)) == 1 else None
        shown = _FACT_NAMES.get(name) or (name.replace("_", " ") if name.islower() else name)
        part = more if _place(name)[0] == len(_FIRST) else rows
        part.append({"name": shown, "values": values, "same": same})
    return {"builds": list(columns), "rows": rows, "more": more}


def _place(name: str) -> tuple[int, str]:
    """Where a fact stands: the known ones first, `weights.sha256` where `weights` is."""
    whole = name.partition(".")[0]
    return (_FIRST.index(whole) if whole in _FIRST else len(_FIRST), name)


def _script_json(data: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped just above


def _file(*parts: str) -> str:
    return files("harness.reports").joinpath(*parts).read_text(encoding="utf-8")


def _inline(*parts: str) -> Markup:
    """One of our own files, to stand in a style or script element."""
    return Markup(_file(*parts))  # noqa: S704 - shipped with the package, not input


REPORT: Report = Html()
