from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from launchers.telemetry.exposition import ExpositionError
from launchers.telemetry.pages import PageError, combine, fell, pages, read_page
from launchers.telemetry.records import EnginePage, Histogram

PAGES = Path(__file__).with_name("pages")
NUMBERS = {name for page in pages() for name in page.numbers}


def read(text: str, *, histograms: bool = True) -> EnginePage:
    return read_page(text, at_ns=5, took_ms=1.5, histograms=histograms)


def recorded(name: str) -> EnginePage:
    return read((PAGES / f"{name}.txt").read_text())


def numbers(page: EnginePage) -> dict[str, float]:
    """Those that are known."""
    told = msgspec.structs.asdict(page)
    return {name: told[name] for name in NUMBERS if told[name] is not None}


def test_names_are_fields_of_the_record_and_begin_as_the_engines_do() -> None:
    assert {one.engine for one in pages()} == {"vllm", "sglang", "tgi", "llama.cpp"}
    fields = set(EnginePage.__struct_fields__)
    times = {"ttft_s", "itl_s", "e2e_s", "queue_s", "prefill_s", "decode_s"}
    for one in pages():
        assert set(one.numbers) <= fields - {"at_ns", "took_ms", "engine", "histograms"}
        assert set(one.histograms) <= times
        for several in (*one.numbers.values(), *one.histograms.values()):
            assert all(name.startswith(one.prefix) for name in several)


def test_vllm() -> None:
    page = recorded("vllm-0.32")
    assert (page.engine, page.at_ns, page.took_ms) == ("vllm", 5, 1.5)
    assert numbers(page) == {
        "running": 0, "waiting": 0, "kv_cache_use": 0, "preemptions": 0,
        "prefix_cache_queries": 17, "prefix_cache_hits": 0, "prompt_tokens": 17,
        "generation_tokens": 73, "finished": 4,
    }  # fmt: skip
    assert {name: (h.count, round(h.sum_s, 4)) for name, h in page.histograms.items()} == {
        "ttft_s": (4, 0.0986),
        "itl_s": (69, 0.5933),
        "e2e_s": (4, 0.68),
        "queue_s": (4, 0.0001),
        "prefill_s": (4, 0.0572),
        "decode_s": (4, 0.5933),
    }
    buckets = page.histograms["ttft_s"].buckets
    assert buckets[0] == (0.001, 0)
    assert buckets[-1] == (None, 4)
    assert [n for _, n in buckets] == sorted(n for _, n in buckets)


def test_vllm_of_before() -> None:
    page = read(
        'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\n'
        'vllm:gpu_prefix_cache_queries_total{model_name="m"} 10\n'
        'vllm:gpu_prefix_cache_hits_total{model_name="m"} 4\n'
        'vllm:time_per_output_token_seconds_sum{model_name="m"} 2.5\n'
        'vllm:time_per_output_token_seconds_count{model_name="m"} 9\n'
    )
    expected = {"kv_cache_use": 0.5, "prefix_cache_queries": 10, "prefix_cache_hits": 4}
    assert numbers(page) == expected
    assert page.histograms == {"itl_s": Histogram(sum_s=2.5, count=9)}


def test_engines_of_one_page_are_added_up_and_the_fullest_cache_counts() -> None:
    page = read(
        'vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="1"} 4\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.2\nvllm:kv_cache_usage_perc{engine="1"} 0.9\n'
    )
    assert numbers(page) == {"running": 7, "kv_cache_use": 0.9}


def test_sglang_with_what_it_has_not_counted_yet() -> None:
    page = recorded("sglang")
    assert numbers(page) == {
        "running": 162, "waiting": 2826, "kv_cache_use": 0.28, "kv_cache_tokens": 442368,
        "preemptions": 3, "prefix_cache_queries": 8128902, "prefix_cache_hits": 0,
        "prompt_tokens": 8128902, "generation_tokens": 7557572, "finished": 11008,
    }  # fmt: skip
    assert page.histograms["queue_s"] == Histogram(sum_s=0, count=0)
    assert page.histograms["ttft_s"].buckets == [(0.1, 0), (1.0, 7), (None, 11008)]
    assert set(page.histograms) == {"queue_s", "ttft_s"}


def test_tgi() -> None:
    page = recorded("tgi")
    assert numbers(page) == {
        "running": 4, "waiting": 7, "prompt_tokens": 12044, "generation_tokens": 8123,
        "finished": 44,
    }  # fmt: skip
    assert page.histograms == {
        "e2e_s": Histogram(sum_s=96.5, count=44, buckets=[(None, 44)]),
        "queue_s": Histogram(sum_s=3.25, count=44, buckets=[(0.0001, 12), (0.1, 41), (None, 44)]),
    }


def test_llamacpp() -> None:
    page = recorded("llamacpp")
    assert numbers(page) == {
        "running": 4, "waiting": 46, "prompt_tokens": 32100, "generation_tokens": 17029,
        "prefill_s": 38.037, "decode_s": 607.03,
    }  # fmt: skip
    assert page.histograms == {}


def test_histograms_are_read_only_where_they_are_wanted() -> None:
    page = read((PAGES / "vllm-0.32.txt").read_text(), histograms=False)
    assert page.histograms == {}
    assert page.generation_tokens == 73


@pytest.mark.parametrize("text", ["", "{}", "<html>", "python_info 1\n", "myvllm: 3\n"])
def test_a_page_of_nobody(text: str) -> None:
    with pytest.raises(PageError, match="vllm"):
        read(text)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("vllm:num_requests_running", "no sample"),
        ("vllm:num_requests_running{a=", "no sample"),
        ("vllm:num_requests_running many", "no number"),
        ("vllm:time_to_first_token_seconds_bucket{a='b'} 3", "without bound"),
        ('vllm:time_to_first_token_seconds_bucket{le="x"} 3', "no number"),
    ],
)
def test_a_malformed_line_of_a_name_that_counts(line: str, why: str) -> None:
    with pytest.raises(ExpositionError, match=why):
        read(f"vllm:num_requests_waiting 3\n{line}\n")
    assert read("vllm:num_requests_waiting 3\nvllm:whatever{ oops\n").waiting == 3


@pytest.mark.parametrize("odd", ["NaN", "+Inf", "-1"])
def test_what_is_no_amount_of_anything_is_not_known(odd: str) -> None:
    page = read(f"vllm:num_requests_waiting {odd}\nvllm:num_requests_running 2 1700000000000\n")
    assert numbers(page) == {"running": 2}
    assert page.odd == [f"vllm:num_requests_waiting {odd}"]


def test_a_part_that_is_not_known_leaves_the_whole_unknown() -> None:
    """Not the rest of it, and not the 0 of a counter that has counted nothing."""
    ttft = "vllm:time_to_first_token_seconds"
    page = read(
        "# TYPE vllm:prompt_tokens_total counter\nvllm:prompt_tokens_total NaN\n"
        'vllm:generation_tokens_total{engine="0"} NaN\n'
        'vllm:generation_tokens_total{engine="1"} 7\n'
        f"# TYPE {ttft} histogram\n{ttft}_count NaN\n{ttft}_sum 3\n"
        "vllm:num_requests_running 2\n"
    )
    assert numbers(page) == {"running": 2}
    assert page.histograms == {}


def test_the_same_twice_counts_once_and_a_contradiction_is_no_page() -> None:
    line = 'vllm:generation_tokens_total{engine="0"} 7\n'
    assert read(line + line).generation_tokens == 7
    with pytest.raises(ExpositionError, match="another value"):
        read(line + line.replace("7", "8"))


def test_an_engine_started_anew_has_counted_less() -> None:
    before = read("vllm:prompt_tokens_total 7\nvllm:num_requests_running 3\n")
    after = read("vllm:prompt_tokens_total 7\nvllm:num_requests_running 1\n")
    assert not fell(before, after)
    assert fell(before, read("vllm:prompt_tokens_total 6\n"))
    assert not fell(before, read("vllm:num_requests_running 1\n"))


def test_labels_may_hold_anything() -> None:
    page = read('vllm:num_requests_waiting{m="a } b \\" {c"} 3\n')
    assert page.waiting == 3


def test_replicas_are_one_deployment() -> None:
    one, other = recorded("vllm-0.32"), recorded("sglang")
    twice = combine([one, msgspec.structs.replace(one, took_ms=9, at_ns=7, kv_cache_use=0.5)])
    assert (twice.engine, twice.took_ms, twice.at_ns) == ("vllm", 9, 7)
    assert (twice.generation_tokens, twice.kv_cache_use) == (146, 0.5)
    assert twice.histograms["e2e_s"].count == 8
    assert twice.histograms["e2e_s"].buckets[-1] == (None, 8)
    mixed = combine([one, other])
    assert mixed.engine == "vllm + sglang"
    assert mixed.kv_cache_tokens is None, "one of them does not say"
    assert mixed.histograms["ttft_s"].count == 4 + 11008
    assert mixed.histograms["ttft_s"].buckets == [], "of other bounds"
    assert mixed.histograms["queue_s"].buckets == one.histograms["queue_s"].buckets
    assert combine([one]) is one
