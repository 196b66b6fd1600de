"""The server's side of a cell, from telemetry written by hand whose answers are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.measuring.server_use import grown, hit_rate
from launchers.telemetry.records import EnginePage, Gpu, Reading
from tests.harness.cells import answer, measured
from tests.harness.telemetry import page, reading

if TYPE_CHECKING:
    from harness.measuring.server_stats import ServerUse

GIB = 2**30


def use(*readings: Reading, window_s: float = 10.0, **drive: Any) -> ServerUse:  # noqa: ANN401
    """Of a cell with one answer of 4 tokens a second."""
    samples = [answer(n, n + 0.5) for n in range(10)]
    return measured(samples, window_s, readings=readings, drive=drive).server


def gpu(server_gib: float | None, **fields: Any) -> Gpu:  # noqa: ANN401
    held = None if server_gib is None else round(server_gib * GIB)
    return Gpu(**{"index": 0, "uuid": "GPU-a", "memory_server_bytes": held, **fields})


def test_nothing_seen_is_nothing_said() -> None:
    found = use()
    assert found.readings is None
    assert found.memory_peak_gib is found.preemptions is found.power_w_mean is None


def test_peaks_are_those_of_the_window() -> None:
    found = use(
        reading(-1, memory_bytes=9 * GIB, engine=page(-1, waiting=50, kv_cache_use=1.0)),
        reading(2, memory_bytes=3 * GIB, engine=page(2, running=4, waiting=7, kv_cache_use=0.5)),
        reading(8, memory_bytes=2 * GIB, engine=page(8, running=6, waiting=1, kv_cache_use=0.7)),
        reading(11, memory_bytes=9 * GIB, engine=page(11, running=60)),
    )
    assert (found.memory_peak_gib, found.memory_kind) == (3.0, "rss")
    assert (found.running_peak, found.waiting_peak, found.kv_cache_peak) == (6, 7, 0.7)
    assert found.readings == 2


def test_memory_of_a_cell_too_short_for_a_look_is_that_around_it() -> None:
    found = use(reading(-1, memory_bytes=GIB), reading(11, memory_bytes=2 * GIB))
    assert found.memory_peak_gib == 2.0
    assert found.readings == 0
    assert found.running_peak is None


def test_counters_are_differences() -> None:
    found = use(
        reading(-2, engine=page(-2, preemptions=5, prompt_tokens=100, generation_tokens=40)),
        reading(-1, engine=page(-1, preemptions=7, prompt_tokens=150, generation_tokens=50)),
        reading(5, engine=page(5, preemptions=8, prompt_tokens=200, generation_tokens=60)),
        reading(11, engine=page(11, preemptions=9, prompt_tokens=350, generation_tokens=90)),
        reading(12, engine=page(12, preemptions=20, prompt_tokens=360, generation_tokens=91)),
    )
    assert found.preemptions == 2  # from the last page before the window to the first after it
    assert (found.prompt_tokens, found.generation_tokens) == (260, 51)  # of the whole cell


def test_an_engine_that_was_started_anew_has_no_difference() -> None:
    pages = [page(0, preemptions=5), page(5, preemptions=1), page(9, preemptions=9)]
    assert grown(pages, "preemptions") is None
    assert grown([page(0), page(1, preemptions=3)], "preemptions") is None
    one_of_two = [page(0, preemptions=5), page(9, preemptions=9, restarts=1)]
    assert grown(one_of_two, "preemptions") is None


@pytest.mark.parametrize(
    ("first", "last", "rate"), [((100, 0), (300, 50), 0.25), ((100, 7), (100, 7), None)]
)
def test_the_hit_rate_is_of_what_was_looked_for(
    first: tuple[int, int], last: tuple[int, int], rate: float | None
) -> None:
    def told(second: float, counts: tuple[int, int]) -> EnginePage:
        return page(second, prefix_cache_queries=counts[0], prefix_cache_hits=counts[1])

    assert hit_rate([told(0, first), told(9, last)]) == rate


def test_prompts_that_the_warm_up_sends_again_are_in_no_hit_rate() -> None:
    """The streams that are warm go on with the warm-up's prompts until all of them are."""
    counts = {-3: (0, 0), -1: (100, 50), 1: (200, 50), 6: (300, 50), 11: (400, 70), 12: (500, 170)}
    looks = [
        reading(t, engine=page(t, prefix_cache_queries=looked, prefix_cache_hits=found))
        for t, (looked, found) in counts.items()
    ]
    assert use(*looks).prefix_cache_hit_rate == pytest.approx(20 / 200)


def test_memory_and_power_are_of_the_gpus_that_the_server_is_on() -> None:
    def look(second: float, own_gib: float, power: float) -> Reading:
        mine = gpu(own_gib, power_w=power, utilization=power / 400)
        second_gpu = gpu(1.0, uuid="GPU-b", index=1, power_w=50.0, utilization=0.5)
        others = gpu(0.0, uuid="GPU-c", index=2, memory_used_bytes=70 * GIB, power_w=999.0)
        return reading(second, memory_bytes=30 * GIB, gpus=[mine, second_gpu, others])

    found = use(look(0, 2.0, 100.0), look(5, 6.0, 200.0), look(10, 4.0, 200.0))
    assert (found.memory_peak_gib, found.memory_kind, found.gpus) == (7.0, "vram", 2)
    # 0–5 s: 150 W on average, 5–10 s: 200 W, and 50 W of the second one all the time
    assert found.power_w_mean == pytest.approx(175 + 50)
    assert found.energy_j == pytest.approx(2250)
    assert found.gpu_utilization_mean == pytest.approx((0.25 + 0.5 + 0.5 + 3 * 0.5) / 6)
    assert found.joules_per_output_token == pytest.approx(225 / 4)  # 4 tokens a second


def test_a_card_that_counts_its_energy_is_believed_before_its_power() -> None:
    looks = [reading(t, gpus=[gpu(1.0, power_w=500.0, energy_j=1000 + 80 * t)]) for t in (1, 9)]
    assert use(*looks).power_w_mean == pytest.approx(80)


def test_where_nvml_cannot_tell_whose_memory_it_is_all_that_is_used_counts() -> None:
    found = use(reading(1, gpus=[gpu(None, memory_used_bytes=5 * GIB)]))
    assert (found.memory_peak_gib, found.memory_kind) == (5.0, "vram")
    assert found.power_w_mean is None


def test_a_card_of_others_that_vanishes_does_not_become_the_servers() -> None:
    def look(second: float, others: float | None) -> Reading:
        mine = gpu(1.0, power_w=100.0)
        theirs = gpu(others, uuid="GPU-b", memory_used_bytes=70 * GIB, power_w=500.0)
        return reading(second, gpus=[mine, theirs])

    found = use(look(1, 0.0), look(5, None))
    assert (found.memory_peak_gib, found.gpus, found.power_w_mean) == (1.0, 1, 100.0)


def test_energy_per_token_is_not_told_of_builds_that_took_turns() -> None:
    looks = [reading(t, gpus=[gpu(1.0, power_w=100.0)]) for t in (1, 9)]
    found = use(*looks, elsewhere_s=5.0)
    assert found.power_w_mean == pytest.approx(100)
    assert found.energy_j is None
    assert found.joules_per_output_token is None


def test_cpu_cores_are_cpu_time_by_time() -> None:
    assert use(reading(-5, cpu_s=0), reading(1, cpu_s=10), reading(9, cpu_s=22)).cpu_cores_used == (
        pytest.approx(1.5)
    )


def test_what_the_page_says_of_the_cache_is_taken() -> None:
    assert use(reading(1, engine=page(1, kv_cache_tokens=4096.0))).kv_cache_tokens == 4096
