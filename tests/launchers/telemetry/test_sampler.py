"""The sampler against real processes and real sockets."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from launchers.server import Server
from launchers.telemetry.records import TELEMETRY_FILE, Gpu, Reading, read_telemetry
from launchers.telemetry.sampler import Telemetry, sample_telemetry
from launchers.telemetry.scraping import MOST_BYTES, PageSource, page_source
from tests.launchers.telemetry.conftest import (
    drip,
    flood,
    garbage,
    page,
    promise,
    rubbish,
    silence,
    trickle,
    until,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from tests.launchers.telemetry.conftest import PageServer


QUICK = {"interval_s": 0.02, "cpu_share": 1.0}


def source(server: PageServer, **fields: float) -> PageSource:
    return PageSource(urls=(server.url,), **{"timeout_s": 0.3, **QUICK, **fields})


def problems(readings: list[Reading]) -> str:
    return "; ".join(reading.problem for reading in readings if reading.problem)


def test_the_first_page_and_the_last_have_histograms(
    page_server: PageServer, tmp_path: Path
) -> None:
    times = "vllm:time_to_first_token_seconds_sum 1\nvllm:time_to_first_token_seconds_count"
    page_server.answer = page(f"vllm:generation_tokens_total 7\n{times} 1\n")
    before_ns = time.monotonic_ns()
    file = tmp_path / TELEMETRY_FILE
    with sample_telemetry(file, os.getpid(), source(page_server), interval_s=0.02) as seen:
        assert len(read_telemetry(tmp_path)) >= 1, "the first reading is there before the load"
        until(lambda: len(page_server.asked) > 4)
        page_server.answer = page(f"vllm:generation_tokens_total 9\n{times} 3\n")
    after_ns = time.monotonic_ns()
    readings = read_telemetry(tmp_path)
    assert problems(readings) == ""
    found = [one.engine for one in readings if one.engine]
    assert readings[0].engine is found[0]
    assert readings[-1].engine is found[-1]
    assert [bool(one.histograms) for one in found] == [True, *[False] * (len(found) - 2), True]
    assert found[-1].histograms["ttft_s"].count - found[0].histograms["ttft_s"].count == 2
    assert (found[0].generation_tokens, found[-1].generation_tokens) == (7, 9)
    times_ns = [one.at_ns for one in readings]
    assert before_ns < times_ns[0] < times_ns[-1] < after_ns
    assert times_ns == sorted(times_ns)
    assert all(one.memory_bytes and one.cpu_s for one in readings)
    assert seen.memory_peak_bytes == max(one.memory_bytes or 0 for one in readings)
    assert b"accept-encoding: identity" in page_server.asked[0].lower()


@pytest.mark.parametrize(
    ("answer", "said", "asked_again"),
    [
        (page("gone", "404 Not Found"), "answered 404", False),
        (page("<html>", "200 OK"), "no name of an engine", False),
        (page("vllm:num_requests_running lots\n"), "no number", False),
        (page("lmdeploy:running 2\n"), "no name of an engine", False),
        (page("vllm:num_requests_running 2\nvllm:num_requests_running 3\n"), "another", False),
        (rubbish, "no name of an engine", False),
        (flood, f"more than {MOST_BYTES >> 20} MiB", False),
        (garbage, "did not answer", True),
        (promise, "did not answer", True),
        (silence, "took more than 0.3 s", True),
        (trickle, "took more than 0.3 s", True),
    ],
)
def test_a_bad_page_costs_a_problem_and_nothing_else(
    page_server: PageServer,
    tmp_path: Path,
    answer: Callable[..., object],
    said: str,
    *,
    asked_again: bool,
) -> None:
    page_server.answer = answer
    file = tmp_path / TELEMETRY_FILE
    with sample_telemetry(file, os.getpid(), source(page_server), interval_s=0.02) as seen:
        until(lambda: len(page_server.asked) > (3 if asked_again else 2))
        until(lambda: asked_again or "not asked for any more" in problems(read_telemetry(tmp_path)))
        count = len(read_telemetry(tmp_path))
        until(lambda: len(read_telemetry(tmp_path)) > count + 3)
    assert said in problems(read_telemetry(tmp_path))
    assert all(one.engine is None and one.memory_bytes for one in read_telemetry(tmp_path))
    assert seen.memory_peak_bytes
    assert (len(page_server.asked) == 3) is not asked_again


def test_a_head_that_never_ends_costs_the_page_and_nothing_else(
    page_server: PageServer, tmp_path: Path
) -> None:
    page_server.answer = drip
    before_s = time.monotonic()
    with sample_telemetry(tmp_path / TELEMETRY_FILE, os.getpid(), source(page_server)):
        pass
    assert time.monotonic() - before_s < 30
    readings = read_telemetry(tmp_path)
    assert "did not come in time" in problems(readings)
    assert all(one.engine is None and one.memory_bytes for one in readings)


def test_a_page_with_odd_numbers_is_read_but_for_them(
    page_server: PageServer, tmp_path: Path
) -> None:
    page_server.answer = page(
        "vllm:num_requests_running NaN\nvllm:kv_cache_usage_perc +Inf\n"
        "vllm:num_requests_waiting 3\nvllm:generation_tokens_total -5\n"
    )
    with sample_telemetry(tmp_path / TELEMETRY_FILE, None, source(page_server)):
        pass
    readings = read_telemetry(tmp_path)
    found = [one.engine for one in readings if one.engine]
    assert {(one.running, one.waiting, one.kv_cache_use) for one in found} == {(None, 3, None)}
    assert "vllm:generation_tokens_total -5" in problems(readings)
    assert "vllm:num_requests_running NaN" in problems(readings)


def test_an_engine_started_anew_is_seen_on_its_page(
    page_server: PageServer, tmp_path: Path
) -> None:
    """Of two replicas one: their sum goes on growing."""
    served = iter(range(10**6))
    count = {"a": 100.0, "b": 0.0}

    def both(sock: socket.socket) -> None:
        name = "ab"[next(served) % 2]
        count["b"] += 50
        page(f"vllm:generation_tokens_total {count[name]}\n")(sock)

    page_server.answer = both
    two = PageSource(urls=(page_server.url, page_server.url), timeout_s=1, **QUICK)
    with sample_telemetry(tmp_path / TELEMETRY_FILE, None, two, interval_s=0.01):
        until(lambda: len(page_server.asked) > 6)
        count["a"] = 90
        asked = len(page_server.asked)
        until(lambda: len(page_server.asked) > asked + 6)
    found = [one.engine for one in read_telemetry(tmp_path) if one.engine]
    tokens = [one.generation_tokens or 0 for one in found]
    assert tokens == sorted(tokens)
    assert found[0].restarts == 0
    assert found[-1].restarts == 1


def test_a_large_page_is_asked_for_less_often(page_server: PageServer, tmp_path: Path) -> None:
    """So that all of them together take no more than their share of a CPU."""
    page_server.answer = page("vllm:num_requests_running 2\n" * 20_000)
    with sample_telemetry(
        tmp_path / TELEMETRY_FILE, None, source(page_server, timeout_s=5, cpu_share=1e-3)
    ):
        time.sleep(0.5)
    assert len(page_server.asked) == 2, "the first and the last"
    with sample_telemetry(tmp_path / TELEMETRY_FILE, None, source(page_server, timeout_s=5)):
        until(lambda: len(page_server.asked) > 4)


def test_a_slow_page_delays_no_other_source(page_server: PageServer, tmp_path: Path) -> None:
    page_server.answer = silence
    file = tmp_path / TELEMETRY_FILE
    page_of = source(page_server, timeout_s=1.0)
    with sample_telemetry(file, os.getpid(), page_of, interval_s=0.02):
        until(lambda: len(page_server.asked) == 2)
        before = len(read_telemetry(tmp_path))
        until(lambda: len(page_server.asked) == 3)
        between = len(read_telemetry(tmp_path)) - before
    assert between > 5, "readings went on while a page took 1 s"


def test_a_page_that_dies_leaves_its_last_histograms(
    page_server: PageServer, tmp_path: Path
) -> None:
    text = "vllm:e2e_request_latency_seconds_sum 1\nvllm:e2e_request_latency_seconds_count 2\n"
    page_server.answer = page(text)
    other = PageSource(urls=(page_server.url,), timeout_s=0.3, **QUICK)
    file = tmp_path / TELEMETRY_FILE
    with sample_telemetry(file, None, other, interval_s=0.02):
        until(lambda: len(page_server.asked) > 3)
        page_server.answer = lambda sock: sock.close()
        asked = len(page_server.asked)
        until(lambda: len(page_server.asked) > asked + 1)
    readings = read_telemetry(tmp_path)
    assert "did not answer" in problems(readings)
    assert readings[-1].engine is not None
    assert readings[-1].engine.histograms["e2e_s"].count == 2
    assert readings[-1].memory_bytes is None, "whose process tree is not ours"


def test_a_last_page_that_hangs_leaves_the_one_of_before(
    page_server: PageServer, tmp_path: Path
) -> None:
    text = "vllm:e2e_request_latency_seconds_sum 1\nvllm:e2e_request_latency_seconds_count 2\n"
    page_server.answer = page(text)
    with sample_telemetry(tmp_path / TELEMETRY_FILE, None, source(page_server, timeout_s=0.5)):
        until(lambda: len(page_server.asked) > 3)
        page_server.answer = trickle
        asked = len(page_server.asked)
        until(lambda: len(page_server.asked) > asked)
    last = read_telemetry(tmp_path)[-1]
    assert last.engine is not None
    assert last.engine.histograms["e2e_s"].count == 2
    assert "did not come in time" in last.problem or "took more than 0.5 s" in last.problem


def test_replicas_need_all_their_pages(page_server: PageServer, tmp_path: Path) -> None:
    both = PageSource(urls=(page_server.url, page_server.url), timeout_s=1, **QUICK)
    with sample_telemetry(tmp_path / TELEMETRY_FILE, None, both):
        pass
    found = [one.engine for one in read_telemetry(tmp_path) if one.engine]
    assert {one.generation_tokens for one in found} == {14}
    one_dead = PageSource(urls=(page_server.url, "http://127.0.0.1:9/metrics"), timeout_s=1)
    with sample_telemetry(tmp_path / TELEMETRY_FILE, None, one_dead):
        pass
    readings = read_telemetry(tmp_path)
    assert all(one.engine is None for one in readings)
    assert "127.0.0.1:9/metrics did not answer" in problems(readings)


def test_no_key_is_written(page_server: PageServer, tmp_path: Path) -> None:
    page_server.answer = page("no", "401 Unauthorized")
    server = Server(
        build="url", engine="vllm", engine_version=None, model="m",
        base_url=page_server.url.replace("/metrics", "/v1"),
    )  # fmt: skip
    keyed = page_source(server, {"Authorization": "Bearer hunter2"})
    assert keyed is not None
    assert keyed.urls == (page_server.url,)
    with sample_telemetry(tmp_path / TELEMETRY_FILE, None, keyed):
        pass
    assert b"Bearer hunter2" in page_server.asked[0]
    text = (tmp_path / TELEMETRY_FILE).read_text()
    assert "answered 401" in text
    assert "hunter2" not in text


def test_an_engine_without_a_page_is_not_asked_for_one() -> None:
    url = Server(
        build="url", engine="unknown", engine_version=None, model="m",
        base_url="http://127.0.0.1:9/v1",
    )  # fmt: skip
    assert page_source(url) is not None, "whatever it is"
    assert page_source(replace(url, build="x", engine="vllm")) is not None
    assert page_source(replace(url, build="x", engine="transformers")) is None


def test_a_file_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    with sample_telemetry(tmp_path / "no" / TELEMETRY_FILE, os.getpid(), None) as seen:
        pass
    assert seen.memory_peak_bytes


def test_a_server_that_has_gone_is_unknown(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    with sample_telemetry(tmp_path / TELEMETRY_FILE, process.pid, None) as seen:
        pass
    readings = read_telemetry(tmp_path)
    assert {(one.memory_bytes, one.cpu_s) for one in readings} == {(None, None)}
    assert seen.memory_peak_bytes is None


def test_the_vram_peak_is_the_servers_own_where_it_is_known() -> None:
    def reading(*gpus: tuple[int | None, int | None]) -> Reading:
        return Reading(
            at_ns=0, took_ms=0,
            gpus=[
                Gpu(index=0, uuid="", memory_used_bytes=used, memory_server_bytes=own)
                for used, own in gpus
            ],
        )  # fmt: skip

    seen = Telemetry()
    seen.add(reading())
    assert seen.vram_peak_bytes is None
    seen.add(reading((90, 40), (90, 5)))
    seen.add(reading((99, 30), (99, 5)))
    assert seen.vram_peak_bytes == 45
    unknown = Telemetry()
    unknown.add(reading((90, None), (20, 5)))
    assert unknown.vram_peak_bytes == 90 + 5


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    assert read_telemetry(tmp_path) == []
    line = msgspec.json.encode(Reading(at_ns=1, took_ms=2))
    (tmp_path / TELEMETRY_FILE).write_bytes(line + b"\n" + line[:5])
    assert read_telemetry(tmp_path) == [Reading(at_ns=1, took_ms=2)]
