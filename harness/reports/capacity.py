"""What a search for the highest rate came to, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from harness.reports.figures import NOTHING, count, figure, plain

if TYPE_CHECKING:
    from rich.console import Console

    from harness.capacity.result import Capacity, Found, Probe


def print_capacity(capacity: Capacity, console: Console) -> None:
    """Write a table of the probes and a sentence for each build, then the caveats."""
    if not capacity.builds:
        console.print("No probe has numbers.")
    for found in capacity.builds:
        console.print(_table(found, capacity))
        console.print(Text(plain(f"{found.build}: {found.text}"), style="bold"))
        if found.saturation is not None:
            most = f"Most that was served: {figure(found.saturation.rate)} answers/s."
            console.print(Text(plain(most)))
    for caveat in capacity.caveats:
        console.print(Text(plain(f"{caveat.code}: {caveat.text}"), style="yellow"))


def _table(found: Found, capacity: Capacity) -> Table:
    title = f"{found.build}: highest rate for {capacity.slo}"
    table = Table(title=plain(title), title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("load", "requests", "s", "served/s"):
        table.add_column(name, justify="right")
    limits = found.probes[0].limits if found.probes else []
    for one in limits:
        table.add_column(f"{plain(one.limit)} broken (≤ {one.allowed:.3g})", justify="right")
    table.add_column("met")
    for probe in found.probes:
        broken = [f"{one.broken:.2%}" for one in probe.limits] or [NOTHING] * len(limits)
        early = ", ended early" if probe.ended_early else ""
        table.add_row(
            _load(probe, capacity.unit),
            count(probe.requests),
            figure(probe.window_s),
            figure(probe.served_rate),
            *broken,
            ("client too slow" if probe.met is None else "yes" if probe.met else "no") + early,
        )
    return table


def _load(probe: Probe, unit: str) -> str:
    if probe.rate is None:
        return f"{probe.streams} streams"
    return f"{probe.rate:g}/s" if unit == "requests/s" else f"{probe.rate:g} {unit}"
