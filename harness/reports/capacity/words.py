"""What a search came to, as sentences and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reports.figures import NOTHING, count, figure, share
from harness.reports.prediction import fleets_of
from harness.reports.prediction import sheet_of as predicted
from harness.reports.sheets import Sheet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.capacity.result import Capacity, Found, Probe


def heading(capacity: Capacity) -> str:
    """What was searched for, at which builds."""
    return f"{', '.join(one.build for one in capacity.builds)}: highest rate for {capacity.slo}"


def sentences(found: Found, capacity: Capacity) -> Iterator[str]:
    """One build's answer, and what is known beside it."""
    yield answer(found)
    yield from further(found, capacity)


def answer(found: Found) -> str:
    """One build's answer."""
    weights = f" ({found.weights})" if found.weights else ""
    return f"{found.build}{weights}: {found.text}"


def further(found: Found, capacity: Capacity) -> Iterator[str]:
    """The most that it served, and how well it is predicted; a sizing has the latter, too."""
    if found.saturation is not None:
        most = figure(found.saturation.rate)
        yield f"{found.build}: the most that was served are {most} answers/s."
    if found.prediction is not None and capacity.sizing is None:
        yield found.prediction.text


def sheets(found: Found, capacity: Capacity) -> list[Sheet]:
    """The probes, and the levels that the simulator had not seen."""
    some = [probes(found, capacity)]
    if found.prediction is not None:
        some.append(predicted(found.prediction))
        if found.prediction.fleets:
            some.append(fleets_of(found.prediction))
    return some


def probes(found: Found, capacity: Capacity) -> Sheet:
    """The probes in their order, with the share that broke each limit."""
    limits = next((probe.limits for probe in found.probes if probe.limits), [])
    rows = []
    for probe in found.probes:
        broken = [share(one.broken) for one in probe.limits] or [NOTHING] * len(limits)
        rows.append(
            (
                _load(probe, capacity.unit),
                count(probe.requests),
                figure(probe.window_s),
                figure(probe.served_rate),
                *broken,
                _met(probe),
            )
        )
    return Sheet(
        f"Probes of {found.build}, in their order",
        (
            "load",
            "requests",
            "s",
            "served/s",
            *(f"{one.limit} broken (≤ {share(one.allowed)})" for one in limits),
            "met",
        ),
        rows,
    )


def _met(probe: Probe) -> str:
    if probe.met is None:
        return "nothing counted" if probe.empty else "client too slow"
    early = ", ended early" if probe.ended_early else ""
    return ("yes" if probe.met else "no") + early


def _load(probe: Probe, unit: str) -> str:
    if probe.rate is None:
        return f"{probe.streams} stream{'' if probe.streams == 1 else 's'}"
    return f"{probe.rate:g}/s" if unit == "requests/s" else f"{probe.rate:g} {unit}"
