"""The comparison as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comparison import WINDOW

if TYPE_CHECKING:
    from client import Client
    from comparison import Outcome, Pair

OURS = "ours"
SHARE = 0.6
"""This project's promise: CPU per token ÷ that of the best peer in the same run."""
JUDGED = (256, 1024)
"""Streams at which it holds."""
HELD = 0.95
"""A peer that keeps fewer of its streams in flight does other work, and is not compared with."""
_NONE = "–"
_EXPLAINED = """\
– not asked or not reported. ᵐ only a mean gap for each request, compared with the true mean. Held:
requests in flight at the server in the middle half of the run. CPU: user + system time of the whole
process tree from the first arrival to the last token, and on for as long as the client is late with
it. Locust rounds to two digits. Late: against an even spacing that starts with the earliest, by the
kernel's receive stamps at the server. ± one standard error of a true Poisson process."""


def markdown(outcomes: list[Outcome], clients: dict[str, Client], versions: dict[str, str]) -> str:
    """Return all tables: errors, cost, arrivals, and what went wrong."""
    closed = [one for one in outcomes if one.load.kind == "closed" and one.load.requests > 1]
    starts = {one.client: one for one in outcomes if one.load.requests == 1}
    opened = [one for one in outcomes if one.load.kind != "closed"]
    names = {
        name: f"{client.title} {versions[name]} ({client.http})"
        for name, client in clients.items()
        if any(one.client == name for one in outcomes)
    }
    parts = []
    if closed:
        for metric, title in (("ttft", "TTFT"), ("itl", "ITL"), ("e2e", "End-to-end latency")):
            parts += [f"**{title}: reported − true, ms, p50/p99**", _errors(closed, names, metric)]
        parts += ["**What it held and what it cost**", _cost(closed, starts, names)]
        if shares := _shares(closed, names):
            parts += [
                f"**CPU per token, this client ÷ the best peer that held {HELD:.0%}**",
                shares,
            ]
    if opened:
        parts += ["**How requests arrived in an open loop**", _arrivals(opened, names)]
    parts += [_notes(outcomes, clients)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _find(outcomes: list[Outcome], name: str, level: int) -> Outcome | None:
    found = [one for one in outcomes if one.client == name and one.load.level == level]
    return found[0] if found else None


def _errors(closed: list[Outcome], names: dict[str, str], metric: str) -> str:
    levels = sorted({one.load.level for one in closed})
    rows = []
    for name, title in names.items():
        cells = []
        for level in levels:
            one = _find(closed, name, level)
            pair = getattr(one, metric) if one else None
            mark = "ᵐ" if metric == "itl" and one and one.itl_mean and pair else ""
            cells.append(_pair(pair) + mark if one and not one.problem else _problem(one))
        rows.append([title, *cells])
    return _table(["client", *(f"{level} streams" for level in levels)], rows)


def _cost(closed: list[Outcome], starts: dict[str, Outcome], names: dict[str, str]) -> str:
    levels = [level for level in sorted({one.load.level for one in closed}) if level > 1]
    top = max(levels, default=1)
    headings = ["client"]
    headings += [f"held of {level}: mean (peak)" for level in levels]
    headings += [f"tokens/s at {top}"]
    headings += [f"CPU µs/token at {level}" for level in levels]
    headings += [f"peak memory at {top}, MiB", "start to first request + end, s"]
    rows = []
    for name, title in names.items():
        start = starts.get(name)
        found = [_find(closed, name, level) for level in levels]
        seen = [one if one and one.tokens else None for one in found]
        last = seen[-1] if seen else None
        row = [title]
        row += [f"{one.held:.0f} ({one.held_peak})" if one else _NONE for one in seen]
        row += [f"{last.tokens_per_s:,.0f}" if last else _NONE]
        row += [_number(one.cpu_us_per_token if one else None) for one in seen]
        row += [_number(last.peak_mib if last else None)]
        row += [_number(start.idle_s) if start and not start.problem else _problem(start)]
        rows.append(row)
    return _table(headings, rows)


def _shares(closed: list[Outcome], names: dict[str, str]) -> str:
    """Judge this client's CPU per token by the best peer's in this run, of those that held."""
    rows = []
    for level in sorted({one.load.level for one in closed}):
        at = [one for one in closed if one.load.level == level and one.tokens]
        own = next((one for one in at if one.client == OURS), None)
        if own is None:
            continue
        rows.append([f"{level:,}", *_share(own, [one for one in at if one is not own], names)])
    headings = ["streams", "goal", "÷ best peer", "best peer", "did not hold", ""]
    return _table(headings, rows) if rows and len(names) > 1 else ""


def _share(own: Outcome, peers: list[Outcome], names: dict[str, str]) -> list[str]:
    judged = own.load.level in JUDGED
    goal = f"≤ {SHARE:g}" if judged else _NONE
    out = ", ".join(one.client for one in [own, *peers] if not _held(one)) or _NONE
    fit = [one for one in peers if _held(one)]
    if not fit:
        return [goal, _NONE, "no peer held its streams", out, ""]
    best = min(fit, key=lambda one: one.cpu_us_per_token)
    ratio = own.cpu_us_per_token / best.cpu_us_per_token
    passed = _held(own) and ratio <= SHARE
    verdict = ("PASS" if passed else "**FAIL**") if judged else ""
    return [goal, f"{ratio:.2f}", names[best.client], out, verdict]


def _held(one: Outcome) -> bool:
    return one.problem is None and one.held >= HELD * one.load.level and one.cpu_us_per_token > 0


def _arrivals(opened: list[Outcome], names: dict[str, str]) -> str:
    kinds = sorted({(one.load.kind, one.load.level) for one in opened})
    even = [level for kind, level in kinds if kind == "constant"]
    headings = ["client", *(f"even {rate}/s: late, ms, p50/p99 (rate)" for rate in even)]
    count = max((one.load.requests for one in opened if one.load.kind == "poisson"), default=1)
    once = count**-0.5  # standard errors: of a rate and of a correlation
    headings += [f"Poisson: rate ÷ asked (1 ± {once:.2f})"]
    headings += [f"dispersion (1 ± {once * (2 * WINDOW) ** 0.5:.2f})"]
    headings += [f"autocorrelation (0 ± {once:.2f})"]
    rows = []
    for name, title in names.items():
        own = [one for one in opened if one.client == name]
        row = [title]
        for rate in even:
            one = _find([one for one in own if one.load.kind == "constant"], name, rate)
            seen = one.arrivals if one and not one.problem else None
            row.append(f"{_pair(seen.slip_ms)} ({seen.rate:.2f})" if seen else _problem(one))
        poisson = next((one for one in own if one.load.kind == "poisson"), None)
        seen = poisson.arrivals if poisson and not poisson.problem else None
        if seen:
            row += [f"{seen.rate:.2f}", f"{seen.dispersion:.2f}", f"{seen.autocorrelation:.2f}"]
        else:
            row += [_problem(poisson), _NONE, _NONE]
        rows.append(row)
    return _table(headings, rows)


def _notes(outcomes: list[Outcome], clients: dict[str, Client]) -> str:
    lines = [_EXPLAINED]
    lines += [
        f"- {clients[one.client].title}, {one.load.kind} {one.load.level}: {one.problem}"
        for one in outcomes
        if one.problem
    ]
    return "\n".join(lines)


def _problem(one: Outcome | None) -> str:
    if one is None or one.problem is None:
        return _NONE
    return "not installed" if one.problem.startswith("not installed") else "failed"


def _pair(pair: Pair | None) -> str:
    return _NONE if pair is None else f"{_signed(pair[0])}/{_signed(pair[1])}"


def _signed(value: float) -> str:
    digits = 3 if abs(value) < 1 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
