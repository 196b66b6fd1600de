"""The run in words: what was run, what came out, what to mind. Plain text for all formats."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.calibration import sentence
from harness.evidence.weights import weights_of
from harness.measuring.measurement import Caveat, Stat
from harness.measuring.slo import observed, parse_slo
from harness.reports.figures import (
    NOTHING,
    UNSTABLE,
    count,
    duration,
    figure,
    headline_ttft,
    is_open,
    itl_name,
    level,
    level_value,
    percentile,
    plain,
    series_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.measuring.measurement import CellMeasurement, Measurements

DEFINITIONS: Final[dict[str, str]] = {
    "TTFT": "first generated text − request sent. “From due”, the headline in an open loop: first "
    "generated text − the moment the request was due, which is what a user felt.",
    "ITL": "gaps between successive generated chunks, pooled over all answered requests; called "
    "inter-chunk where a chunk holds more or less than one token.",
    "TPOT": "(last − first generated text) / (output tokens − tokens of the first chunk), one "
    "value a request.",
    "e2e": "last generated text − the moment the request was due, one value a request.",
    "longest gap": "the longest gap of each request.",
    "tok/s per sequence": "output tokens / (last generated text − sent), one value a request.",
    "tok/s in all": "tokens whose own stamps fall in the measured window / length of the window.",
    "dropped": "due, but not sent before the end; never skipped on the way.",
    "failures as +∞": "the metric with each failed or dropped request counted as infinite; ∞ "
    "where a percentile falls among them.",
    "slip": "sent − due − connecting: how late the client let a request go.",
    "lag": "when the client read a chunk − when the kernel had received it.",
    "lo–hi": "95 % bootstrap interval.",
    "–": "too few values for this percentile: fewer than 1 / (1 − q).",
    "unstable": "more came in than the server did, so the queue grew throughout the window: how "
    "long a request waits then depends on how long was measured, and has no percentiles.",
    "~": "imprecise: fewer than 10 / (1 − q) values.",
}


@dataclass(frozen=True, kw_only=True)
class Warned:
    """A caveat and where it holds."""

    code: str
    text: str
    invalidates: bool
    where: str = ""
    """The cells in words, in brackets; empty when it concerns the whole run."""


def label(cell: CellMeasurement, *, repeats: bool = False) -> str:
    """`awq · 32 streams`, with the repeat's number where there are several."""
    text = f"{plain(series_of(cell))} · {level(cell)}"
    return f"{text} · repeat {cell.repeat}" if repeats else text


def has_repeats(measurements: Measurements) -> bool:
    """True when some build × profile × level was measured more than once."""
    return any(cell.repeat > 1 for cell in measurements.cells)


def in_order(measurements: Measurements) -> list[CellMeasurement]:
    """The cells by level, then build (in the order of the run), then repeat."""
    builds = unique(series_of(cell) for cell in measurements.cells)
    return sorted(
        measurements.cells,
        key=lambda cell: (level_value(cell), builds.index(series_of(cell)), cell.repeat),
    )


def unique(values: Iterable[str]) -> list[str]:
    """The different values in the order in which they first come."""
    return list(dict.fromkeys(values))


def warnings(measurements: Measurements) -> list[Warned]:
    """All caveats, those that invalidate first; one that several cells share stands once."""
    found = [_warned(caveat, "") for caveat in measurements.caveats]
    if measurements.side_by_side is not None:
        notes = measurements.side_by_side.notes
        found += [_warned(Caveat(note.code, note.text), "") for note in notes]
    repeats, in_all = has_repeats(measurements), len(measurements.cells)
    shared: dict[tuple[str, bool, str], list[tuple[Caveat, str]]] = {}
    for cell in in_order(measurements):
        for caveat in cell.client.caveats:
            # what differs in its numbers alone is the same
            words = re.sub(r"(?<!\w)[\d.,]*\d", "0", caveat.text)
            told = shared.setdefault((caveat.code, caveat.invalidates, words), [])
            told.append((caveat, label(cell, repeats=repeats)))
    for told in shared.values():
        first = told[0][0]
        same = [name for caveat, name in told if caveat.text == first.text]
        others = [name for caveat, name in told if caveat.text != first.text]
        where = ", ".join(same) if len(same) < max(2, in_all) else "all cells"
        if others:
            rest = ", ".join(others) if len(told) < in_all else "the others"
            where += f"; likewise {rest}"
        found.append(_warned(first, f"({where})"))
    codes = unique(warned.code for warned in found)
    return sorted(found, key=lambda one: (not one.invalidates, codes.index(one.code)))


def _warned(caveat: Caveat, where: str) -> Warned:
    return Warned(
        code=plain(caveat.code),
        text="\n".join(map(plain, caveat.text.splitlines())),
        invalidates=caveat.invalidates,
        where=where,
    )


def failures(cell: CellMeasurement) -> str:
    """Failed and dropped requests by kind, the most frequent first: `timeout 3, dropped 1`."""
    kinds = cell.requests.errors | {"dropped": cell.requests.dropped}
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{plain(kind)} {count(number)}" for kind, number in ordered if number)


def sessions(cell: CellMeasurement) -> str:
    """What became of a cell's sessions; empty where it has none."""
    found = cell.sessions
    if found is None:
        return ""
    return (
        f"{count(found.planned)} sessions: {count(found.complete)} complete, "
        f"{count(found.broken)} broken by a turn that failed, "
        f"{count(found.cut_off)} cut off by the end of the window"
    )


def server_facts(provenance: Mapping[str, object]) -> dict[str, str]:
    """A server's provenance as flat facts; what it reported itself stands among the others."""
    facts = flat(provenance)
    for name in [name for name in facts if name.startswith("reported.")]:
        own = name.removeprefix("reported.")
        if own not in facts or facts[own] == facts[name]:
            facts[own] = facts.pop(name)
    return facts


def summary(measurements: Measurements, manifest: Mapping[str, object]) -> list[str]:
    """Sentences that say what was run, on what and what came out; `validity` judges it."""
    cells = in_order(measurements)
    if not cells:
        return ["No cell of this run was measured."]
    return [
        _what(cells, manifest),
        _where(cells, manifest),
        _outcome(cells),
        *_best(cells, repeats=has_repeats(measurements)),
    ]


def _what(cells: Sequence[CellMeasurement], manifest: Mapping[str, object]) -> str:
    profiles = unique(plain(cell.profile) for cell in cells)
    levels = unique(f"{level_value(cell):,g}" for cell in cells)
    one, many = ("request", "requests") if is_open(cells[0]) else ("stream", "streams")
    if cells[0].sessions:
        one, many = ("session", "sessions") if is_open(cells[0]) else ("user", "users")
    unit = one if levels == ["1"] else many
    unit += (
        " a second" if is_open(cells[0]) else " at a time" if cells[0].sessions else " kept open"
    )
    windows = sorted(cell.window_s for cell in cells)
    length = duration(windows[0])
    if duration(windows[-1]) != length:
        length = f"{length} to {duration(windows[-1])}"
    each = " each" if len(cells) > 1 else ""
    warmup = table(manifest, "profile").get("warmup_requests")
    before = " without a warm-up" if warmup == 0 else " after a warm-up that does not count"
    return (
        f"Traffic of the profile {_listed(profiles)} at {_listed(levels)} {unit}, "
        f"measured for {length}{each}{'' if warmup is None else before}."
    )


def _where(cells: Sequence[CellMeasurement], manifest: Mapping[str, object]) -> str:
    known = weights(cells, manifest)
    builds = []
    for name in unique(cell.build for cell in cells):
        used = known.get(name)
        builds.append(f"{plain(name)} ({used})" if used else plain(name))
    engines = unique(
        f"{plain(cell.engine)} {plain(cell.engine_version or '')}".strip() for cell in cells
    )
    models = unique(plain(cell.model) for cell in cells)
    model = "" if set(models) == {cell.build for cell in cells} else f" of {_listed(models)}"
    word = "build" if len(builds) == 1 else "builds"
    hardware = machine(manifest)
    on = f" on {hardware}" if hardware else ""
    return f"Served by {_listed(engines)}: {word} {_listed(builds)}{model}{on}."


def weights(cells: Sequence[CellMeasurement], manifest: Mapping[str, object]) -> dict[str, str]:
    """What each build's weights are, and its kernel; builds of which nobody says it left out."""
    servers = table(manifest, "servers")
    found = {cell.build: weights_of(table(servers, cell.build)) for cell in cells}
    return {name: plain(text) for name, text in found.items() if text}


def machine(manifest: Mapping[str, object]) -> str:
    """The host in one phrase: GPUs or CPU, cores, memory; empty when unknown."""
    host = table(manifest, "host")
    gpus = host.get("gpus")
    parts = []
    if isinstance(gpus, list) and gpus:
        names = [plain(gpu.get("name", "GPU") if isinstance(gpu, Mapping) else gpu) for gpu in gpus]
        parts += [f"{names.count(name)} × {name}" for name in unique(names)]
    cpu = host.get("cpu")
    if cpu:
        parts.append(plain(cpu))
    if host.get("cores"):
        parts.append(f"{plain(host['cores'])} cores")
    memory = host.get("memory_gib")
    if isinstance(memory, int | float):
        parts.append(f"{memory:.3g} GiB")
    return ", ".join(parts)


def _outcome(cells: Sequence[CellMeasurement]) -> str:
    sent = sum(cell.requests.sent for cell in cells)
    failed = sum(cell.requests.failed for cell in cells)
    dropped = sum(cell.requests.dropped for cell in cells)
    if not sent and not dropped:
        return "No request was sent in the measured window."
    text = f"{count(sent)} measured requests were sent"
    lost = "all" if failed == sent else count(failed)
    text += f", {lost} of them failed" if failed else ", none failed"
    return f"{text}, {count(dropped)} were due but never sent." if dropped else f"{text}."


def _best(cells: Sequence[CellMeasurement], *, repeats: bool) -> list[str]:
    """The fastest of the valid cells, and where the queue grew."""
    found = []
    valid = [cell for cell in cells if cell.client.valid]
    answered = [cell for cell in valid if cell.requests.ok]
    if answered:
        top = max(answered, key=lambda cell: cell.metrics.aggregate_tps)
        ttft = headline_ttft(top)
        start = " from due" if is_open(top) else ""
        what = "Output tokens per second"
        if len(cells) > 1:
            among = " of the valid cells" if len(valid) < len(cells) else ""
            what = f"Most tokens per second{among} with {label(top, repeats=repeats)}"
        found.append(
            f"{what}: {figure(top.metrics.aggregate_tps)} ("
            + (
                f"TTFT{start} p50 {percentile(ttft, 'p50')} ms, p95 {percentile(ttft, 'p95')} ms; "
                if top.stable
                else ""
            )
            + f"{itl_name(cells)} p50 {percentile(top.metrics.itl_ms, 'p50')} ms)."
        )
    unstable = [
        f"{label(cell, repeats=repeats)} the backlog grew by {figure(cell.backlog_growth_rps)} "
        "requests/s"
        for cell in cells
        if not cell.stable
    ]
    if unstable:
        found.append(f"Unstable: at {_listed(unstable)}.")
    return found


def objectives(measurements: Measurements, manifest: Mapping[str, object]) -> list[str]:
    """For each limit of the SLO: which cells hold it and which break it, with their values."""
    asked = table(manifest, "request").get("slo")
    repeats = has_repeats(measurements)
    found = []
    for limit in parse_slo(asked).limits if isinstance(asked, str) else ():
        held: list[str] = []
        broken: list[str] = []
        unknown: list[str] = []
        for cell in in_order(measurements):
            name, value = label(cell, repeats=repeats), observed(limit, cell)
            if value is None:
                unknown.append(name)
            else:
                waits = getattr(cell.metrics, limit.metric, None)
                unstable = isinstance(waits, Stat) and waits.unstable
                shown = f"{name} ({UNSTABLE if unstable else figure(value)})"
                (held if limit.holds(value) else broken).append(shown)
        parts = (("held by", held), ("broken by", broken), ("cannot be told of", unknown))
        text = "; ".join(f"{verb} {_listed(names)}" for verb, names in parts if names)
        found.append(f"{plain(limit.text)}: {text or 'nothing was measured'}.")
    return found


def validity(measurements: Measurements) -> str:
    """Whether the numbers may be believed, in one sentence."""
    cells = len(measurements.cells)
    bad = sum(not cell.client.valid for cell in measurements.cells)
    if measurements.valid and not bad:
        return "The measurement is valid."
    if not cells:
        return "INVALID: nothing was measured."
    if bad == cells:
        return "INVALID measurement: do not use these numbers."
    if bad:
        return f"INVALID in {bad} of {cells} cells: do not use their numbers."
    codes = unique(one.code.replace("_", " ") for one in warnings(measurements) if one.invalidates)
    reasons = f" ({', '.join(codes)})" if codes else ""
    measured = f"all {cells} measured cells are" if cells > 1 else "the measured cell is"
    return f"INVALID as a whole{reasons}, but {measured} valid."


def calibration(manifest: Mapping[str, object]) -> str:
    """What was known of this machine's client when the run began."""
    found = table(manifest, "calibration")
    try:
        return plain(sentence(found))
    except (KeyError, TypeError, ValueError):
        return "The manifest's calibration is not as harness wrote it."


def missing(measurements: Measurements, manifest: Mapping[str, object]) -> list[str]:
    """Ids of the cells that were planned but have no measurement."""
    planned = manifest.get("cells")
    if not isinstance(planned, list):
        return []
    there = {cell.id for cell in measurements.cells}
    ids = [str(cell.get("id")) for cell in planned if isinstance(cell, Mapping)]
    return [plain(cell_id) for cell_id in ids if cell_id not in there]


def table(values: Mapping[str, object], key: str) -> Mapping[str, object]:
    """The table under a key; an empty one when there is none."""
    found = values.get(key)
    return {str(k): v for k, v in found.items()} if isinstance(found, Mapping) else {}


def flat(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested tables as `a.b` → text; lists of words as a command line."""
    rows: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{plain(key)}"
        if isinstance(value, Mapping):
            rows |= flat({str(k): v for k, v in value.items()}, f"{name}.")
        else:
            rows[name] = _scalar(value)
    return rows


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return plain(shlex.join(value))
    if isinstance(value, list) and value:
        return ", ".join(_scalar(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {text}" for key, text in flat(value).items())
    return NOTHING if value is None or value == [] else plain(value)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
