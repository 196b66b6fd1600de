"""The mock's metrics page against what it did."""

from __future__ import annotations

import contextlib
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from launchers.mock.options import OptionsError, parse_page_lie
from launchers.telemetry.pages import read_page
from launchers.vllm_facts import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from launchers.telemetry.records import EnginePage

    StartMock = Callable[..., str]

TOKENS, PROMPT, STREAMS = 6, [7] * 20, 4


def ask(url: str, *, stream: bool = True) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    body = {"max_tokens": TOKENS, "stream": stream, "prompt": PROMPT}
    with contextlib.closing(connection):
        connection.request("POST", "/v1/completions", json.dumps(body))
        with connection.getresponse() as answer:
            answer.read()


def text(url: str) -> str:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    return page


def page(url: str) -> EnginePage:
    return read_page(text(url), at_ns=0, took_ms=0, histograms=True)


@pytest.mark.parametrize("step", [(), ("--step-ms", "4")])
def test_counts_and_times_are_those_of_the_truth(
    mock: StartMock, tmp_path: Path, step: tuple[str, ...]
) -> None:
    truth = tmp_path / "truth.jsonl"
    options = (*step, "--ttft-ms", "20", "--itl-ms", "4", "--slots", "2", "--truth", str(truth))
    url = mock(*options)
    before = page(url)
    assert (before.finished, before.prompt_tokens, before.generation_tokens) == (0, 0, 0)
    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(lambda _: ask(url), range(STREAMS)))
    found = page(url)
    assert (found.engine, found.finished) == ("vllm", STREAMS)
    assert (found.running, found.waiting, found.preemptions or 0) == (0, 0, 0)
    assert found.prompt_tokens == found.prefix_cache_queries == STREAMS * len(PROMPT)
    assert found.prefix_cache_hits == 0
    assert found.generation_tokens == STREAMS * TOKENS
    done = [json.loads(line) for line in truth.read_text().splitlines()]
    times = {
        "ttft_s": [one["sent_ns"][0] - one["received_ns"] for one in done],
        "e2e_s": [one["sent_ns"][-1] - one["received_ns"] for one in done],
        "decode_s": [one["sent_ns"][-1] - one["sent_ns"][0] for one in done],
    }
    for name, expected in times.items():
        histogram = found.histograms[name]
        assert histogram.count == STREAMS
        # With a truth file the kernel's stamp of the request counts, on the page as well.
        assert histogram.sum_s == pytest.approx(sum(expected) / 1e9)
        for bound, count in histogram.buckets:
            assert count == sum(bound is None or ns <= bound * 1e9 for ns in expected)
    sums = {name: histogram.sum_s for name, histogram in found.histograms.items()}
    assert sums["queue_s"] + sums["prefill_s"] == pytest.approx(sums["ttft_s"])
    assert sums["queue_s"] >= 2 * (TOKENS - 1) * 4e-3, "two of them waited for a slot"
    assert sums["itl_s"] == pytest.approx(sums["decode_s"])
    assert found.histograms["itl_s"].count == STREAMS * (TOKENS - 1)


def test_a_document_has_no_first_token(mock: StartMock) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1")
    ask(url, stream=False)
    found = page(url)
    assert (found.finished, found.generation_tokens) == (1, TOKENS)
    counts = {name: histogram.count for name, histogram in found.histograms.items()}
    assert counts == {
        "ttft_s": 0, "itl_s": 0, "prefill_s": 0, "decode_s": 0, "e2e_s": 1, "queue_s": 1,
    }  # fmt: skip


@pytest.mark.parametrize("step", [(), ("--step-ms", "2")])
def test_what_broke_off_counts_its_tokens_and_no_time(
    mock: StartMock, step: tuple[str, ...]
) -> None:
    url = mock(*step, "--fault", "truncated:1", "--ttft-ms", "1", "--itl-ms", "1")
    with pytest.raises(http.client.IncompleteRead):
        ask(url)
    found = page(url)
    assert (found.finished, found.histograms["e2e_s"].count) == (0, 0)
    assert found.prompt_tokens == len(PROMPT)
    assert 0 < (found.generation_tokens or 0) < TOKENS


def test_it_says_how_large_its_cache_is(mock: StartMock) -> None:
    sized = text(mock("--step-ms", "2", "--kv-tokens", "5000"))
    assert read_metrics(sized)["kv_cache_tokens"] == 5000
    assert read_metrics(text(mock())) == {}


@pytest.mark.parametrize(
    ("lie", "field", "factor"),
    [
        ("tokens", "generation_tokens", 1.5),
        ("tokens:3", "generation_tokens", 3),
        ("requests", "finished", 1.5),
        ("hits:0.25", "prefix_cache_hits", 0.25),
        ("ttft", "", 2),
    ],
)
def test_a_page_lies_as_it_is_told_to(
    mock: StartMock, tmp_path: Path, lie: str, field: str, factor: float
) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--ttft-ms=10", "--itl-ms=1", "--page-lie", lie, "--truth", str(truth))
    for _ in range(2):
        ask(url)
    found = page(url)
    real = {"generation_tokens": 2 * TOKENS, "finished": 2, "prefix_cache_hits": 2 * len(PROMPT)}
    if field:
        assert getattr(found, field) == factor * real[field]
    else:
        done = [json.loads(line) for line in truth.read_text().splitlines()]
        sent_s = sum(one["sent_ns"][0] - one["received_ns"] for one in done) / 1e9
        assert found.histograms["ttft_s"].sum_s == pytest.approx(factor * sent_s)
    assert found.prompt_tokens == 2 * len(PROMPT)  # no lie


def test_a_lie_of_the_page_that_is_none_lists_those_there_are() -> None:
    with pytest.raises(
        OptionsError, match="no lie 'token' of the metrics page; there are:\ntokens "
    ):
        parse_page_lie("token")
    with pytest.raises(OptionsError, match="'x' is no number"):
        parse_page_lie("tokens:x")
