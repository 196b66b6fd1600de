"""What a build holds by a search for its highest rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.sizing.replicas import add_up
from harness.sizing.supply import servers_of, supply_at

if TYPE_CHECKING:
    from harness.capacity.result import Capacity, Found, Probe
    from harness.evidence.evidence import LoadRun
    from harness.sizing.record import Supply


def supplies_of_search(run: LoadRun, capacity: Capacity) -> list[Supply]:
    """Return what each build of a search holds.

    Args:
        run: the search's run.
        capacity: what it came to.
    """
    cells = {cell.id: cell for cell in run.measurements.cells}
    found = []
    for one in capacity.builds:
        probes = [probe for probe in one.probes if probe.cell in cells]
        if not probes:
            continue
        cell = cells[_nearest(one, probes).cell]
        supply = supply_at(one.build, (run, cell), "search", servers_of(cell))
        reached = one.max_rate
        held = one.held_rate if one.outcome in {"not_reached_by_client", "unfinished"} else None
        found.append(
            msgspec.structs.replace(
                supply,
                rate=held if reached is None else reached,
                rate_ci95=one.max_rate_ci95,
                rate_between=None if held is None or reached is not None else (held, None),
            )
        )
    return found


def of_most_servers(found: list[Supply]) -> list[Supply]:
    """Return one of each build: of the most addresses that were searched together.

    Where one alone was searched, too, it has the efficiency.
    """
    by_build: dict[str, list[Supply]] = {}
    for one in found:
        by_build.setdefault(one.build, []).append(one)
    return [add_up(of) for of in by_build.values()]


def _nearest(one: Found, probes: list[Probe]) -> Probe:
    """The open-loop probe that is nearest to the highest rate; a scout where there is none."""
    rate = one.max_rate or one.held_rate or 0.0
    # Not one at which the client was too slow; one that was ended early only for want of others.
    judged = [probe for probe in probes if probe.rate is not None and probe.met is not None]
    return min(
        judged or probes,
        key=lambda probe: (probe.ended_early, abs((probe.rate or 0.0) - rate)),
    )
