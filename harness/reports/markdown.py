"""A report for a pull request: GitHub-flavoured Markdown, tables first."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.reports import findings, ietf, server, sweeps
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
    with_failures,
)
from harness.reports.words import (
    Warned,
    calibration,
    failures,
    has_repeats,
    in_order,
    label,
    missing,
    objectives,
    sessions,
    summary,
    validity,
    warnings,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from harness.comparing.rows import SideBySide
    from harness.measuring.measurement import CellMeasurement, Measurements, Stat
    from harness.measuring.sweep import Sweep
    from harness.reports import Report
    from harness.reports.figures import Percentile
    from harness.rundir import RunFolder


class Markdown:
    """Summary, verdict on validity, two tables, failures, caveats, how to reproduce."""

    suffix = ".md"

    def render(self, run: RunFolder) -> str:
        """Return the report as Markdown."""
        measurements = run.read_measurements()
        manifest = run.read_manifest()
        cells = in_order(measurements)
        parts = [f"## Load: {escape(measurements.run.id)}"]
        verdict = escape(validity(measurements))
        parts.append(verdict if measurements.valid else f"> [!CAUTION]\n> **{verdict}**")
        parts.append(" ".join(escape(sentence) for sentence in summary(measurements, manifest)))
        if measurements.side_by_side is not None:
            parts += _side_by_side(measurements.side_by_side)
        parts += [_swept(sweep) for sweep in measurements.sweeps]
        if cells:
            parts += [_latency(cells, measurements), _throughput(cells, measurements)]
        if any(cell.sessions for cell in cells):
            parts.append(_sessions(cells, measurements))
        if any(cell.endpoints for cell in cells):
            parts.append(_replicas(cells, measurements))
        parts += _findings(cells, measurements)
        if any(cell.arrivals for cell in cells):
            parts.append(_arrivals(cells, measurements))
        limits = objectives(measurements, manifest)
        if limits:
            parts.append("### SLO\n" + "\n".join(f"- {escape(limit)}" for limit in limits))
        failed = [cell for cell in cells if failures(cell)]
        if failed:
            listed = "\n".join(_failed(cell, measurements) for cell in failed)
            parts += [f"### Failures\n{listed}", _with_failures(failed, measurements)]
        notes = [_warned(warned) for warned in warnings(measurements)]
        absent = missing(measurements, manifest)
        if absent:
            notes.append(f"- Planned, but not measured: {', '.join(map(code, absent))}")
        if notes:
            parts.append("### Caveats\n" + "\n".join(notes))
        parts += [escape(calibration(manifest)), _reproduce(measurements)]
        parts.append(_asked_for(measurements, manifest))
        return "\n\n".join(parts) + "\n"


def escape(text: object) -> str:
    """Text with no effect in Markdown, HTML or as a mention."""
    shown = re.sub(r"([\\`*_{}\[\]<>#|~!$])", r"\\\1", plain(text))
    return shown.replace("&", "&amp;").replace("\\<", "&lt;").replace("@", "@\u200b")


def code(text: object) -> str:
    """Text as inline code that also stands in a table."""
    return "`" + plain(text).replace("`", "'").replace("|", "\\|") + "`"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text: int | Collection[int]) -> str:
    """A table of numbers but for some columns of text: the first few, or those of these places."""
    places = range(text) if isinstance(text, int) else text
    rule = ["---" if place in places else "---:" for place in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def _names(cell: CellMeasurement, measurements: Measurements) -> list[str]:
    repeat = [str(cell.repeat)] if has_repeats(measurements) else []
    return [code(series_of(cell)), level(cell), *repeat]


def _name_header(measurements: Measurements) -> list[str]:
    return ["Build", "Level", *(["Repeat"] if has_repeats(measurements) else [])]


def _with_interval(stat: Stat, name: Percentile) -> str:
    spread = interval(stat, name)
    return f"{percentile(stat, name)} [{spread}]" if spread else percentile(stat, name)


def _latency(cells: Sequence[CellMeasurement], measurements: Measurements) -> str:
    ttft = "TTFT from due" if is_open(cells[0]) else "TTFT"
    names = _name_header(measurements)
    header = [
        *names,
        *(f"{ttft} {q} ms" for q in ("p50", "p95", "p99")),
        *(f"{itl_name(cells)} {q} ms" for q in ("p50", "p95")),
        *(f"e2e {q} ms" for q in ("p50", "p95", "p99")),
    ]
    rows = [
        [
            *_names(cell, measurements),
            _with_interval(headline_ttft(cell), "p50"),
            _with_interval(headline_ttft(cell), "p95"),
            percentile(headline_ttft(cell), "p99"),
            _with_interval(cell.metrics.itl_ms, "p50"),
            _with_interval(cell.metrics.itl_ms, "p95"),
            _with_interval(cell.metrics.e2e_ms, "p50"),
            _with_interval(cell.metrics.e2e_ms, "p95"),
            percentile(cell.metrics.e2e_ms, "p99"),
        ]
        for cell in cells
    ]
    return "### Latency\n\n" + table(header, rows, len(names))


def _throughput(cells: Sequence[CellMeasurement], measurements: Measurements) -> str:
    names = _name_header(measurements)
    header = [
        *names, "ok", "failed", "dropped", "due/s", "req/s", "in flight, mean", "in flight, peak",
        "tok/s per sequence", "tok/s in all",
    ]  # fmt: skip
    rows = [
        [
            *_names(cell, measurements),
            count(cell.requests.ok),
            count(cell.requests.failed),
            count(cell.requests.dropped),
            figure(cell.offered_rate),
            figure(cell.metrics.request_rate),
            figure(cell.in_flight_mean),
            count(cell.in_flight_peak),
            percentile(cell.metrics.sequence_tps, "p50"),
            figure(cell.metrics.aggregate_tps),
            "yes" if cell.client.valid else "**no**",
        ]
        for cell in cells
    ]
    legend = (
        "due/s: what was asked, req/s: what was answered. "
        f"[lo–hi]: 95 % bootstrap interval. {NOTHING}: too few values for this percentile. "
        "\\~: imprecise (fewer than 10 / (1 − q) values). Definitions: docs/method.md."
    )
    return f"### Throughput\n\n{table([*header, 'valid'], rows, len(names))}\n\n{legend}"


def _swept(sweep: Sweep) -> str:
    said = "\n".join(f"- {escape(text)}" for text in sweeps.sentences(sweep))
    shown = [[*map(escape, row)] for row in sweeps.rows(sweep)]
    return f"### Sweep\n\n{said}\n\n{table(sweeps.header(sweep), shown, 0)}"


def _side_by_side(found: SideBySide) -> Iterator[str]:
    from harness.reports import sidebyside  # numpy and scipy, which one build does without
    from harness.reports.sheets import markdown_sheet

    said = "\n".join(f"- **{escape(text)}**" for text in found.sentences)
    yield f"### {sidebyside.TITLE}\n\n{said}"
    yield from map(markdown_sheet, sidebyside.sheets(found))
    yield " ".join(
        map(escape, filter(None, (sidebyside.legend(found), sidebyside.line_told(found))))
    )
    if told := list(sidebyside.told(found)):
        yield "\n".join(f"- {escape(text)}" for text in told)


def _sessions(cells: Sequence[CellMeasurement], measurements: Measurements) -> str:
    names = _name_header(measurements)
    header = [*names, "turn", "answered", "TTFT p50 ms", "TTFT p95 ms", "prompt tokens, mean"]
    rows = [
        [
            *_names(cell, measurements),
            count(turn.turn),
            count(turn.n),
            _with_interval(turn.ttft_ms, "p50"),
            _with_interval(turn.ttft_ms, "p95"),
            figure(turn.prompt_tokens_mean),
        ]
        for cell in cells
        for turn in (cell.sessions.turns if cell.sessions else ())
    ]
    ended = "\n".join(
        f"- {code(label(cell, repeats=has_repeats(measurements)))}: {escape(sessions(cell))}"
        for cell in cells
        if cell.sessions
    )
    return f"### Sessions\n\n{table(header, rows, len(names))}\n\n{ended}"


def _arrivals(cells: Sequence[CellMeasurement], measurements: Measurements) -> str:
    names = _name_header(measurements)
    rows = [
        [*_names(cell, measurements), *row]
        for cell in cells
        for row in findings.rows_of_arrivals(cell)
    ]
    return "### Arrivals\n\n" + table([*names, *findings.ARRIVAL_HEADER], rows, len(names))


def _curve(cell: CellMeasurement, measurements: Measurements) -> Iterator[str]:
    if measurements.side_by_side is None and (text := findings.prefill(cell)):
        yield text


def _findings(cells: Sequence[CellMeasurement], measurements: Measurements) -> Iterator[str]:
    """A line for each thing worth one, and the output audit as a table."""
    lines = [
        f"- {code(label(cell, repeats=has_repeats(measurements)))}: {escape(text)}"
        for cell in cells
        for text in (*findings.sentences(cell), *_curve(cell, measurements))
    ]
    if lines:
        yield "### Beyond the percentiles\n" + "\n".join(lines)
    names = _name_header(measurements)
    for title, header, rows_of, texts in (
        ("Output audit", findings.OUTPUT_HEADER, findings.rows_of_outputs, 1),
        ("The server’s side", server.USE_HEADER, server.rows_of_use, 0),
        ("Server and client compared", server.COUNT_HEADER, server.rows_of_counts, 0),
        ("TTFT of server and client, ms", server.TTFT_HEADER, server.rows_of_ttft, 0),
        ("Where a request’s time went", server.TIME_HEADER, server.rows_of_time, 0),
    ):
        rows = [
            [*_names(cell, measurements), *map(escape, row)]
            for cell in cells
            for row in rows_of(cell)
        ]
        if rows:
            yield f"### {title}\n\n{table([*names, *header], rows, len(names) + texts)}"


def _replicas(cells: Sequence[CellMeasurement], measurements: Measurements) -> str:
    names = _name_header(measurements)
    header = [*names, "address", "sent", "failed", "TTFT p50 ms", "TTFT p95 ms"]
    rows = [
        [
            *_names(cell, measurements),
            code(use.address),
            count(use.sent),
            count(use.failed),
            _with_interval(use.ttft_ms, "p50"),
            _with_interval(use.ttft_ms, "p95"),
        ]
        for cell in cells
        for use in cell.endpoints
    ]
    return f"### Replicas\n\n{table(header, rows, len(names) + 1)}"


def _with_failures(cells: Sequence[CellMeasurement], measurements: Measurements) -> str:
    names = _name_header(measurements)
    wanted: tuple[Percentile, ...] = ("p50", "p95", "p99")
    header = [*names, *(f"{title} {q} ms" for title in ("TTFT from due", "e2e") for q in wanted)]
    rows = [
        [
            *_names(cell, measurements),
            *(percentile(stat, q) for _, _, stat in with_failures(cell) for q in wanted),
        ]
        for cell in cells
    ]
    found = table(header, rows, len(names))
    return f"With each failed or dropped request counted as +∞:\n\n{found}"


def _failed(cell: CellMeasurement, measurements: Measurements) -> str:
    name = label(cell, repeats=has_repeats(measurements))
    return f"- {code(name)}: {escape(failures(cell))}"


def _warned(warned: Warned) -> str:
    mark = "**invalid** " if warned.invalidates else ""
    text = "<br>".join(map(escape, warned.text.splitlines()))
    return f"- {mark}{text} {escape(warned.where)}".rstrip()


def _reproduce(measurements: Measurements) -> str:
    run = measurements.run
    command = plain(run.command)
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", command)), 3)
    return (
        f"### Reproduce\n\n{fence}sh\n{command}\n{fence}\n\n"
        f"Seed {run.seed}, harness {escape(run.harness_version)}, "
        f"started {escape(run.started)}, run {code(run.id)}."
    )


def _asked_for(measurements: Measurements, manifest: Mapping[str, object]) -> str:
    facts = ietf.ietf_facts(measurements, manifest)
    shown = table(
        ("Fact", "Level", "This run"), [[*map(escape, row)] for row in ietf.rows(facts)], 3
    )
    return f"<details><summary>{escape(ietf.summary(facts))}</summary>\n\n{shown}\n\n</details>"


REPORT: Report = Markdown()
