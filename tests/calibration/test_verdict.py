"""Is the verdict on the client right? Slow clients, made on purpose, against the server's truth.

What the client really missed is known here: a gap that it saw as 0 and that the server had made.
The verdict, which does not know that, has to agree: it calls a run invalid where gaps were
missed, and it does not where none were, however late the client was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.ladder import Load, run_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.calibration import Step

    Cpus = tuple[list[int], list[int]]
    Hogs = Callable[[int], None]

pytestmark = pytest.mark.calibration

WINDOW_S = 3.0
MANY = 0.02
"""Share of missed gaps from which a run must be called invalid; the rules say 1 %."""


def drive(load: Load, cpus: Cpus) -> Step:
    """Run a step; the verdict agrees with the truth, as far as it can be told."""
    step = run_step(load, WINDOW_S, *cpus)
    smeared = "itl_smeared" in step.caveats
    if step.hidden_gaps > MANY:
        assert smeared, step
        assert not step.valid, step
    if missed_none(step):
        assert not (smeared and not step.valid), step
    return step


def missed_none(step: Step) -> bool:
    return step.hidden_gaps == step.hidden_firsts == 0


def check_kernel_stamps(step: Step) -> None:
    """The kernel's TTFT is right where the client's own clock is not."""
    kernel, user = step.ttft_kernel_us, step.ttft_user_us
    assert kernel is not None
    assert user is not None
    assert kernel.p50 < user.p50 / 2, step
    if step.hidden_firsts < MANY / 4:
        assert kernel.p99 is not None
        assert user.p99 is not None
        assert kernel.p99 < user.p99 / 2, step


def test_a_hog_that_costs_time_but_no_gap(cpus: Cpus, hog: Hogs) -> None:
    hog(1)
    step = drive(Load(pattern="staggered", level=64, tokens=20), cpus)
    assert "run_delay" in step.caveats
    check_kernel_stamps(step)
    assert step.valid or not missed_none(step), (
        "no limit on lateness where every kernel stamp is exact"
    )


@pytest.mark.parametrize("pattern", ["staggered", "at once"])
def test_hogs_that_cost_gaps(cpus: Cpus, hog: Hogs, pattern: str) -> None:
    hog(6)
    load = Load(pattern=pattern, level=16, tokens=100, ttft=20.0, itl=1.0)  # type: ignore[arg-type]
    step = drive(load, cpus)
    assert step.hidden_gaps > MANY
    assert {"itl_smeared", "run_delay"} <= set(step.caveats)
    if pattern == "staggered":
        kernel, user = step.ttft_kernel_us, step.ttft_user_us
        assert kernel is not None
        assert user is not None
        assert kernel.p50 < user.p50


@pytest.mark.parametrize("pattern", ["staggered", "at once"])
def test_far_too_many_streams(cpus: Cpus, pattern: str) -> None:
    load = Load(pattern=pattern, level=2000, tokens=60, itl=10.0)  # type: ignore[arg-type]
    step = drive(load, cpus)
    assert step.tokens_per_s < 0.9 * step.offered_tokens_per_s
    if step.hidden_gaps <= MANY:
        pytest.skip("this client is faster than this server")
    assert not step.valid


@pytest.mark.usefixtures("collecting")
def test_a_collector_that_costs_gaps(cpus: Cpus) -> None:
    step = drive(Load(pattern="staggered", level=32, tokens=40, itl=10.0), cpus)
    assert step.hidden_gaps > MANY
    assert {"itl_smeared", "gc_ran"} <= set(step.caveats)


@pytest.mark.usefixtures("collecting")
def test_a_collector_that_costs_time_but_no_gap(cpus: Cpus) -> None:
    load = Load(pattern="staggered", level=200, tokens=6, ttft=200.0, itl=400.0)
    step = drive(load, cpus)
    assert "gc_ran" in step.caveats
    check_kernel_stamps(step)
    assert step.valid or not missed_none(step)


@pytest.mark.parametrize("hogs", [0, 1])
def test_what_the_server_sends_together_is_not_the_clients_doing(
    cpus: Cpus, hog: Hogs, hogs: int
) -> None:
    hog(hogs)
    load = Load(pattern="at once", level=32, tokens=40, itl=40.0, together=2)
    step = drive(load, cpus)
    assert step.merged_reads > step.answers * 10, "half of all gaps are 0"
    if missed_none(step):
        assert step.valid, step
        assert step.late_merges < step.merged_reads / 50


def test_late_departures_are_told(cpus: Cpus, hog: Hogs) -> None:
    hog(4)
    step = drive(Load(pattern="poisson", level=100, tokens=8, ttft=4.0, itl=20.0), cpus)
    assert step.late_us is not None
    assert step.late_us.p99 is not None
    if step.late_us.p99 > 5_000:  # of a median TTFT of some 15 ms
        assert "late_departures" in step.caveats
    check_kernel_stamps(step)
