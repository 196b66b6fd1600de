"""What stands on the terminal after a run: tables by level, caveats, where the report lies."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.reports import sweeps
from harness.reports.figures import (
    NOTHING,
    count,
    figure,
    headline_ttft,
    interval,
    is_open,
    itl_name,
    level,
    percentile,
    plain,
    series_of,
)
from harness.reports.findings import prefill, sentences
from harness.reports.words import (
    calibration,
    failures,
    has_repeats,
    in_order,
    label,
    missing,
    objectives,
    sessions,
    validity,
    warnings,
    weights,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.measuring.measurement import CellMeasurement, EndpointUse, Measurements, Stat
    from harness.measuring.sweep import Sweep
    from harness.reports import Report
    from harness.reports.figures import Percentile
    from harness.rundir import RunFolder

_WIDTH: Final = 120
_REPORT_FILE: Final = "report.html"
_UNSTABLE: Final = "†"
_NAME_WIDTH: Final = 12
"""Longer names of builds may be broken; shorter ones only where the numbers need the room."""
_DEPARTS: Final = 0.05
_DEPARTS_BY: Final = 3
"""The rates differ by more than a twentieth, and by some requests."""


class Terminal:
    """The tables as plain text, 120 columns wide; `print_run` suits itself to a terminal."""

    suffix = ".txt"

    def render(self, run: RunFolder) -> str:
        """Return the text without colours."""
        out = io.StringIO()
        console = Console(
            file=out, width=_WIDTH, color_system=None, force_terminal=False, legacy_windows=False
        )
        print_run(run, console)
        return out.getvalue()


def print_run(run: RunFolder, console: Console) -> None:
    """Print tables, failures, caveats and the report's place, as wide as the console allows."""
    measurements, manifest = run.read_measurements(), run.read_manifest()
    cells = in_order(measurements)
    _print_side_by_side(measurements, console)
    if cells:
        for table in _tables(cells, measurements, console):
            console.print(table)
            console.print()
        console.print(_legend(cells))
    _print_sweeps(measurements, console)
    for cell in cells:
        for line in _lines(cell, measurements):
            console.print(Text(line))
    for limit in objectives(measurements, manifest):
        console.print(Text(f"SLO {limit}"))
    for text in _notes(measurements):
        console.print(text)
    absent = missing(measurements, manifest)
    if absent:
        console.print(Text(f"Planned, but not measured: {', '.join(absent)}", style="yellow"))
    console.print(Text(validity(measurements), style="green" if measurements.valid else "bold red"))
    console.print(Text(calibration(manifest)))
    for build, served in weights(cells, manifest).items():
        console.print(Text(f"{plain(build)}: {served}"))
    place = run.path / _REPORT_FILE
    if place.is_file():
        console.print(Text(f"Report: {plain(place)}"), soft_wrap=True)
    else:
        console.print(Text(f"Run folder: {plain(run.path)}"), soft_wrap=True)


def _print_side_by_side(measurements: Measurements, console: Console) -> None:
    found = measurements.side_by_side
    if found is None:
        return
    from harness.reports import sidebyside  # numpy and scipy, which one build does without
    from harness.reports.sheets import print_sheet

    for text in found.sentences:
        console.print(Text(text, style="bold"))
    console.print()
    for sheet in sidebyside.sheets(found):
        print_sheet(sheet, console)
    for text in (sidebyside.legend(found), sidebyside.line_told(found)):
        if text:
            console.print(Text(text, style="dim"))
    console.print()
    for text in sidebyside.told(found):
        console.print(Text(text))
    console.print()


def _print_sweeps(measurements: Measurements, console: Console) -> None:
    for sweep in measurements.sweeps:
        console.print()
        console.print(_levels(sweep))
        for line in sweeps.sentences(sweep):
            console.print(Text(line))


def _levels(sweep: Sweep) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in sweeps.header(sweep):
        table.add_column(name, justify="right")
    for row in sweeps.rows(sweep):
        table.add_row(*row)
    return table


def _lines(cell: CellMeasurement, measurements: Measurements) -> Iterator[str]:
    """What there is to say of a cell under the tables."""
    name = label(cell, repeats=has_repeats(measurements))
    if _departs(cell):
        yield (
            f"Offered {figure(cell.offered_rate)}/s, answered {figure(cell.metrics.request_rate)}"
            f"/s; in flight {figure(cell.in_flight_mean)} on average, "
            f"{count(cell.in_flight_peak)} at most, {name}"
        )
    if failures(cell):
        yield f"Failures, {name}: {failures(cell)}"
    if cell.sessions:
        yield f"{sessions(cell)}, {name}; {_by_turn(cell)}"
    for use in cell.endpoints:
        yield f"Replica {_replica(use)}, {name}"
    where = f" ({name})" if len(measurements.cells) > 1 else ""
    curve = prefill(cell) if measurements.side_by_side is None else ""
    for text in (*sentences(cell), *filter(None, [curve])):
        yield f"{text[0].upper()}{text[1:]}{where}"


def _departs(cell: CellMeasurement) -> bool:
    """Whether an open loop's answers came at another rate than its requests were due at."""
    off = abs(cell.offered_rate - cell.metrics.request_rate)
    return (
        is_open(cell) and off > _DEPARTS * cell.offered_rate and off * cell.window_s >= _DEPARTS_BY
    )


def _replica(use: EndpointUse) -> str:
    ttft = percentile(use.ttft_ms, "p50")
    return (
        f"{plain(use.address)}: {count(use.sent)} sent, {count(use.failed)} failed, "
        f"TTFT p50 {ttft if use.ttft_ms.unstable else f'{ttft} ms'}"
    )


def _by_turn(cell: CellMeasurement) -> str:
    turns = cell.sessions.turns if cell.sessions else []
    return "TTFT p50 by turn " + ", ".join(percentile(turn.ttft_ms, "p50") for turn in turns)


def _tables(
    cells: Sequence[CellMeasurement], measurements: Measurements, console: Console
) -> list[Table]:
    """One table when it fits, else two; intervals where there is room for them."""
    repeats = has_repeats(measurements)
    layouts: list[list[Table]] = [
        [_table(cells, repeats=repeats, latency=True, throughput=True, intervals=True)],
        [
            _table(cells, repeats=repeats, latency=True, intervals=True),
            _table(cells, repeats=repeats, throughput=True),
        ],
        [
            _table(cells, repeats=repeats, latency=True),
            _table(cells, repeats=repeats, throughput=True),
        ],
    ]
    wide = console.options.update(width=1000)
    for layout in layouts:
        if max(Measurement.get(console, wide, t).maximum for t in layout) <= console.width:
            return layout
    _narrow(layouts[-1], cells, console)
    return layouts[-1]


def _narrow(tables: list[Table], cells: Sequence[CellMeasurement], console: Console) -> None:
    """Break names of builds and levels so far that no number and no verdict is cut."""
    wide = console.options.update(width=1000)
    names = max(Text(plain(series_of(cell))).cell_len for cell in cells)
    levels = [level(cell) for cell in cells]
    words = max(len(word) for text in levels for word in text.split())
    for table in tables:
        build, at = table.columns[:2]
        whole = Measurement.get(console, wide, table).maximum
        room = console.width - whole + max(names, len("Build"))
        if room < min(names, _NAME_WIDTH):
            at.no_wrap, at.width = False, max(words, len("Level"))
            room += max(map(len, levels)) - at.width
        if room < names:
            build.min_width, build.width = None, max(1, room)


def _table(
    cells: Sequence[CellMeasurement],
    *,
    repeats: bool,
    latency: bool = False,
    throughput: bool = False,
    intervals: bool = False,
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    longest = max(len(plain(series_of(cell))) for cell in cells)
    table.add_column("Build", overflow="fold", min_width=min(longest, _NAME_WIDTH))
    table.add_column("Level", no_wrap=True)
    if repeats:
        table.add_column("#", justify="right")
    if latency:
        for name in _latency_names(cells):
            table.add_column(name, justify="right", no_wrap=True)
    if throughput:
        for head in _THROUGHPUT:
            table.add_column(head, justify="right", no_wrap=True)
    for index, cell in enumerate(cells):
        row = [Text(plain(series_of(cell))), Text(level(cell))]
        if repeats:
            row.append(Text(str(cell.repeat)))
        if latency:
            row += _latency_row(cell, intervals=intervals)
        if throughput:
            row += _throughput_row(cell)
        last = index + 1 == len(cells) or level(cells[index + 1]) != level(cell)
        table.add_row(*row, end_section=last)
    return table


def _latency_names(cells: Sequence[CellMeasurement]) -> Iterator[Text]:
    """Two-line headers: metric above percentile, `TTFT*` when it counts from due."""
    ttft = "TTFT*" if is_open(cells[0]) else "TTFT"
    for metric, names in ((ttft, _P3), (itl_name(cells), _P2), ("e2e", _P3)):
        for name in names:
            yield Text(f"{metric}\n{name}")


_P2: Final[tuple[Percentile, ...]] = ("p50", "p95")
_P3: Final[tuple[Percentile, ...]] = ("p50", "p95", "p99")
_THROUGHPUT: Final = (
    "Requests\nok",
    "\nfailed",
    "\ndropped",
    "\nreq/s",
    "tok/s\nper seq.",
    "tok/s\nin all",
    "\nvalid",
)


def _latency_row(cell: CellMeasurement, *, intervals: bool) -> list[Text]:
    metrics = cell.metrics
    stats = ((headline_ttft(cell), _P3), (metrics.itl_ms, _P2), (metrics.e2e_ms, _P3))
    return [_value(stat, name, intervals=intervals) for stat, names in stats for name in names]


def _value(stat: Stat, name: Percentile, *, intervals: bool) -> Text:
    if stat.unstable:
        return Text(_UNSTABLE, style="yellow")
    text = Text(percentile(stat, name))
    spread = interval(stat, name)
    if intervals and spread:
        text.append(f"\n{spread}", style="dim")
    return text


def _throughput_row(cell: CellMeasurement) -> list[Text]:
    requests = cell.requests
    return [
        Text(count(requests.ok)),
        Text(count(requests.failed), style="red" if requests.failed else ""),
        Text(count(requests.dropped), style="red" if requests.dropped else ""),
        Text(figure(cell.metrics.request_rate)),
        _value(cell.metrics.sequence_tps, "p50", intervals=False),
        Text(figure(cell.metrics.aggregate_tps)),
        Text("yes", style="green") if cell.client.valid else Text("NO", style="bold red"),
    ]


def _legend(cells: Sequence[CellMeasurement]) -> Text:
    due = "*from the moment a request was due. " if is_open(cells[0]) else ""
    grew = "" if all(cell.stable for cell in cells) else f" {_UNSTABLE} unstable: the backlog grew."
    return Text(
        f"Latencies in ms; lo–hi is the 95 % interval. {due}"
        f"{NOTHING} too few values for this percentile, ~ imprecise.{grew}",
        style="dim",
    )


def _notes(measurements: Measurements) -> Iterator[Text]:
    for warned in warnings(measurements):
        text = Text()
        if warned.invalidates:
            text.append("Invalid: ", style="bold red")
        else:
            text.append("Caveat: ", style="yellow")
        text.append(warned.text)
        if warned.where:
            text.append(f" {warned.where}", style="dim")
        yield text


REPORT: Report = Terminal()
