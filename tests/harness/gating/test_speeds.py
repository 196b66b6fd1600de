from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from harness.evidence.evidence import Evidence
from harness.evidence.limits import parse_limit
from harness.gating.speeds import tries
from harness.gating.trial import UnknownError
from harness.measuring.measurement import Caveat, Stat
from tests.harness.comparing import made

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.gating.trial import Trial


def driven(build: str, slow: Sequence[float], level: float = 8, **more: object) -> Evidence:
    """One repeat for each slowness."""
    cells = [made.cell(build, level, n + 1, each, **more) for n, each in enumerate(slow)]
    return Evidence(load=[made.load(cells)], quality=[])


BASE = driven("fp16", (1.0, 1.01, 0.99))


def trial(rule: str, ours: Evidence, theirs: Evidence = BASE) -> Trial:
    [found] = tries(parse_limit(rule), ours, theirs)
    return found


def test_a_ratio_within_its_limit_passes_and_one_beyond_it_fails() -> None:
    fast, slow = driven("awq", (1.1, 1.12, 1.11)), driven("awq", (2.0, 2.02, 1.98))
    for rule in ("ratio(ttft_p95_ms@c8)<=150%", "ratio(aggregate_tps@c8)>=60%"):
        kept, broken = trial(rule, fast), trial(rule, slow)
        assert kept.p_pass is not None
        assert kept.p_pass < 0.001
        assert broken.p_fail is not None
        assert broken.p_fail < 0.001
        assert broken.excess > 1 > kept.excess
    assert trial("ratio(ttft_p95_ms@c8)<=150%", slow).value == pytest.approx(2, rel=1e-3)
    assert trial("ratio(aggregate_tps@c8)>=60%", slow).value == pytest.approx(0.5, rel=1e-3)


def test_noisy_repeats_cannot_tell_and_say_how_many_would() -> None:
    found = trial("ratio(ttft_p95_ms@c8)<=150%", driven("awq", (1.0, 1.7, 1.3)))
    assert found.p_pass is not None
    assert found.p_pass > 0.05
    assert found.p_fail is not None
    assert found.p_fail > 0.05
    assert found.settle is not None
    assert found.settle.startswith("about ")
    assert found.settle.endswith("more repeats")


def test_the_test_keeps_its_level_at_the_limit() -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(300):
        ours = driven("awq", 1.5 * np.exp(rng.normal(0, 0.05, 3)))
        theirs = driven("fp16", np.exp(rng.normal(0, 0.05, 3)))
        p = trial("ratio(ttft_p95_ms@c8)<=150%", ours, theirs).p_fail
        assert p is not None
        wrong += p < 0.05
    assert wrong / 300 == pytest.approx(0.05, abs=0.03)


def test_an_absolute_limit_looks_at_the_candidate_alone() -> None:
    ours = driven("awq", (1.0, 1.02, 0.98))
    found = trial("ttft_p95_ms@c8<=100", ours, Evidence(load=[], quality=[]))
    assert found.value == pytest.approx(75, rel=1e-3)
    assert found.unit == "ms"
    assert found.p_pass is not None
    assert found.p_pass < 0.05
    low, high = found.ci95 or (math.nan, math.nan)
    assert low < 75 < high


def test_one_repeat_has_no_interval() -> None:
    found = trial("ratio(ttft_p95_ms@c8)<=150%", driven("awq", (1.0,)))
    assert (found.p_pass, found.p_fail) == (None, None)
    assert found.settle == "at least 1 more repeat of each build"


def test_peaks_and_counts_are_read_as_seen() -> None:
    more = driven("awq", (1.0, 1.0), memory=1.2)
    assert trial("ratio(memory_peak_gib)<=110%", more).as_seen == "FAIL"
    assert trial("ratio(memory_peak_gib)<=130%", more).as_seen == "PASS"
    assert trial("memory_peak_gib<=1", more).text == "1.20 GiB, as it was seen"
    assert trial("error_rate<=1%", more).as_seen == "PASS"


def test_failures_are_counted_over_the_repeats_and_break_a_rule_only_by_more_than_chance() -> None:
    def failing(*failed: int) -> Evidence:
        cells = []
        for n, bad in enumerate(failed):
            one = made.cell("awq", 8, n + 1)
            counts = msgspec.structs.replace(
                one.requests, sent=100, ok=100 - bad, failed=bad, dropped=0
            )
            cells.append(msgspec.structs.replace(one, requests=counts))
        return Evidence(load=[made.load(cells)], quality=[])

    kept = trial("error_rate<=1%", failing(2, 0, 0))  # 2 % of one cell, 0.67 % of all
    assert (kept.as_seen, kept.text) == ("PASS", "2 of 300 requests failed")
    chance = trial("error_rate<=1%", failing(2, 2, 1))
    assert chance.as_seen is None
    assert chance.p_pass is None
    # P(X >= 5) of 300 at 1 %.
    assert chance.p_fail == pytest.approx(
        1 - sum(math.comb(300, k) * 0.01**k * 0.99 ** (300 - k) for k in range(5))
    )
    assert chance.settle
    broken = trial("error_rate<=1%", failing(10, 10, 10))
    assert broken.p_fail is not None
    assert broken.p_fail < 1e-6


def test_requests_that_a_slow_client_never_sent_break_no_rule_of_the_candidates() -> None:
    def driven_by_a_slow_client(failed: int) -> Evidence:
        one = made.cell("awq", 8, 1)
        counts = msgspec.structs.replace(
            one.requests, sent=200, ok=200 - failed, failed=failed, dropped=100
        )
        client = msgspec.structs.replace(
            one.client, valid=False, caveats=[Caveat("departures_dropped", "100 of 300", True)]
        )
        cell = msgspec.structs.replace(one, requests=counts, client=client)
        return Evidence(load=[made.load([cell])], quality=[])

    with pytest.raises(UnknownError, match="100 of 300") as caught:
        trial("error_rate<=1%", driven_by_a_slow_client(0))
    assert caught.value.invalid
    broken = trial("error_rate<=1%", driven_by_a_slow_client(50))
    assert broken.text == "50 of 200 requests failed"
    assert broken.p_fail is not None
    assert broken.p_fail < 1e-6


def queueing(build: str, *stable: bool, level: float = 8) -> Evidence:
    """Repeats, some of whose queue grew throughout: they have no latency of what waits."""
    cells = []
    for n, well in enumerate(stable):
        one = made.cell(build, level, n + 1, kind="rate")
        if not well:
            none = Stat(n=200, unstable=True)
            metrics = msgspec.structs.replace(one.metrics, ttft_ms=none, e2e_ms=none)
            one = msgspec.structs.replace(one, stable=False, metrics=metrics)
        cells.append(one)
    return Evidence(load=[made.load(cells)], quality=[])


def test_a_queue_that_grew_throughout_breaks_limits_on_what_waits_and_no_other() -> None:
    grew = queueing("awq", False, False, False)
    for rule in ("e2e_p95_ms@r8<=500", "ratio(ttft_p95_ms@r8)<=150%"):
        found = trial(rule, grew, queueing("fp16", True, True, True))
        assert found.as_seen == "FAIL"
        assert "the queue grew throughout" in found.text
    assert trial("tpot_p50_ms@r8<=500", grew).p_pass is not None
    with pytest.raises(UnknownError, match=r"candidate: the queue .* in 1 of 3 repeats at r8"):
        trial("e2e_p95_ms<=500", queueing("awq", True, False, True))
    with pytest.raises(UnknownError, match="the baseline's queue grew throughout at r8"):
        trial(
            "ratio(e2e_p95_ms)<=150%", queueing("awq", True, True), queueing("fp16", False, False)
        )


def test_a_ratio_to_another_machine_or_other_traffic_is_none() -> None:
    cells = [made.cell("awq", 8, n) for n in (1, 2)]
    moved = Evidence(load=[made.load(cells, host={"cpu": "another", "cores": 96})], quality=[])
    with pytest.raises(UnknownError, match="another machine"):
        trial("ratio(ttft_p95_ms@c8)<=150%", moved)
    profile = {"name": "closed", "levels": [8], "prompt_tokens": 2000}
    longer = Evidence(load=[made.load(cells, profile=profile)], quality=[])
    with pytest.raises(UnknownError, match="other traffic"):
        trial("ratio(memory_peak_gib)<=110%", longer)
    natural = driven("awq", (1.0, 1.0), lengths="natural")
    with pytest.raises(UnknownError, match=r"asked otherwise: .*, the candidate .*natural lengths"):
        trial("ratio(ttft_p95_ms@c8)<=150%", natural)
    assert trial("memory_peak_gib<=110", longer).as_seen == "PASS"


def test_without_a_level_every_level_is_tried() -> None:
    cells = [made.cell("awq", level, n, 1.0) for level in (1, 8) for n in (1, 2)]
    ours = Evidence(load=[made.load(cells)], quality=[])
    found = tries(parse_limit("ttft_p95_ms<=1000"), ours, BASE)
    assert [one.name for one in found] == ["c1", "c8"]


def test_an_invalid_cell_is_told_by_its_own_words() -> None:
    bad = msgspec.structs.replace(
        made.cell("awq", 8, 1).client,
        valid=False,
        caveats=[Caveat("late", "the client was late", invalidates=True)],
    )
    ours = driven("awq", (1.0, 1.0), client=bad)
    with pytest.raises(UnknownError, match="the candidate: awq-8-1: the client was late") as caught:
        trial("ratio(ttft_p95_ms@c8)<=150%", ours)
    assert caught.value.invalid
    with pytest.raises(UnknownError, match="the client was late") as caught:
        trial("error_rate<=1%", ours)  # nothing that was seen in it shows that a rule is kept
    assert caught.value.invalid
    assert trial("memory_peak_gib<=0.001", ours).as_seen == "FAIL"


def test_too_few_values_ask_for_longer_cells() -> None:
    short = msgspec.structs.replace(made.cell("awq", 8, 1).metrics, ttft_ms=Stat(p50=1, n=5))
    with pytest.raises(UnknownError, match="too few values for ttft_p95_ms") as caught:
        trial("ttft_p95_ms<=150", driven("awq", (1.0, 1.0), metrics=short))
    assert caught.value.settle == "a longer duration_s of the stage"
    assert not caught.value.invalid


def test_what_cannot_be_tried_says_why() -> None:
    ours = driven("awq", (1.0, 1.0), level=4)
    with pytest.raises(UnknownError, match="the candidate has no ttft_p95_ms at c8"):
        trial("ttft_p95_ms@c8<=1000", ours)
    with pytest.raises(UnknownError, match="the baseline has no ttft_p95_ms at c4"):
        trial("ratio(ttft_p95_ms@c4)<=150%", ours)
