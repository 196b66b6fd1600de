"""What each peer saves is read as what it is: shapes as their pinned versions write them."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import client
import exactness
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

LOAD = client.Load("closed", 32, 64, 8, "http://127.0.0.1:9/v1")
OPEN = client.Load("constant", 50, 100, 8, "http://127.0.0.1:9/v1")
CLIENTS = client.clients()


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def vllm(folder: Path) -> None:
    ttfts, itls = [0.05, 0.07, 9.0], [[0.01, 0.02], [0.01, 0.02], []]
    fields: dict[str, Any] = {"ttfts": ttfts, "itls": itls, "latencies": [0.08, 0.1, 9.0]}
    put(folder / "result.json", fields | {"errors": ["", "", "timeout"]})


def aiperf(folder: Path) -> None:
    lines = [
        {
            "metrics": {
                "time_to_first_token": {"value": ttft, "unit": "ms"},
                "inter_chunk_latency": {"value": [10.0, 20.0], "unit": "ms"},
                "request_latency": {"value": ttft + 30, "unit": "ms"},
            }
        }
        for ttft in (50.0, 70.0)
    ]
    failed = {"metrics": {}, "error": {"code": 500}}
    text = "\n".join(json.dumps(line) for line in [*lines, failed])
    put(folder / "out" / "profile_export.jsonl", text)


def evalscope(folder: Path) -> None:
    path = folder / "out" / "mock" / "parallel_32_number_64" / "benchmark_data.db"
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as database:
        columns = "first_chunk_latency REAL, inter_token_latencies TEXT, latency REAL, success INT"
        database.execute(f"create table result({columns})")
        rows = [
            (0.05, "[0.01, 0.02]", 0.08, 1),
            (0.07, "[0.01, 0.02]", 0.1, 1),
            (9.0, "[]", 9.0, 0),
        ]
        database.executemany("insert into result values (?, ?, ?, ?)", rows)
    database.close()


def guidellm(folder: Path) -> None:
    requests = [
        {
            "time_to_first_token_ms": ttft,
            "inter_token_latency_ms": 15.0,
            "request_latency": (ttft + 30) / 1e3,
        }
        for ttft in (50.0, 70.0)
    ]
    put(folder / "result.json", {"benchmarks": [{"requests": {"successful": requests}}]})


def genai_bench(folder: Path) -> None:
    metrics: list[dict[str, Any]] = [
        {"ttft": ttft, "tpot": 0.015, "e2e_latency": ttft + 0.03, "error_code": None}
        for ttft in (0.05, 0.07)
    ]
    metrics[0]["tpot"] = None  # as it says of an answer of one token
    metrics.append({"ttft": None, "tpot": None, "e2e_latency": None, "error_code": 500})
    name = "D32_8_text-to-text_num_concurrency_32_time_60s.json"
    put(folder / "out" / name, {"individual_request_metrics": metrics})


def servebench(folder: Path) -> None:
    requests: list[dict[str, Any]] = [
        {"ok": True, "ttft": ttft, "e2e": ttft + 0.03, "chunk_times": [ttft, ttft + 0.015]}
        for ttft in (0.05, 0.07)
    ]
    requests.append({"ok": False, "ttft": None, "e2e": None, "chunk_times": []})
    put(folder / "run.json", {"levels": [{"requests": requests}]})


@pytest.mark.parametrize(
    ("name", "write", "itl"),
    [
        ("vllm", vllm, 15.0),
        ("aiperf", aiperf, 15.0),
        ("evalscope", evalscope, 15.0),
        ("guidellm", guidellm, 15.0),
        ("genai-bench", genai_bench, 15.0),
        ("servebench", servebench, 15.0),
    ],
)
def test_requests_are_read_in_ms_and_failures_left_out(
    tmp_path: Path, name: str, write: Callable[[Path], None], itl: float
) -> None:
    write(tmp_path)
    reported = CLIENTS[name].read(tmp_path, LOAD)
    assert reported.pair("ttft") == pytest.approx((60.0, 69.8))
    assert reported.pair("e2e") == pytest.approx((90.0, 99.8))
    assert reported.pair("itl") is not None
    assert reported.pair("itl")[0] == pytest.approx(itl)  # type: ignore[index]
    assert reported.itl_mean == (name in {"guidellm", "genai-bench"})


def test_locusts_own_percentiles_are_taken(tmp_path: Path) -> None:
    rows = ["Type,Name,50%,99%", "LLM,ttft,54,130", "LLM,itl,10,30", "LLM,e2e,210,270"]
    put(tmp_path / "out_stats.csv", "\n".join(rows))
    reported = CLIENTS["locust"].read(tmp_path, LOAD)
    assert reported.pair("ttft") == (54, 130)
    assert reported.pair("e2e") == (210, 270)


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_is_asked_for_the_same(name: str, tmp_path: Path) -> None:
    one = CLIENTS[name]
    closed = " ".join(one.argv(Path("/bin"), LOAD, tmp_path))
    assert "32" in closed
    assert "127.0.0.1:9" in closed
    if "constant" in one.kinds:
        opened = one.argv(Path("/bin"), OPEN, tmp_path)
        assert any("50" in part for part in opened)
        assert opened != one.argv(Path("/bin"), LOAD, tmp_path)


def test_a_table_goes_between_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exactness, "ROOT", tmp_path)
    page = tmp_path / exactness.PAGE
    page.parent.mkdir()
    page.write_text("a\n<!-- peers -->\nold\n<!-- /peers -->\nz\n")
    exactness.write("peers", "| new |\n")
    assert page.read_text() == "a\n<!-- peers -->\n\n| new |\n\n<!-- /peers -->\nz\n"
    with pytest.raises(ValueError, match="must be there once"):
        exactness.write("figures", "| new |")


def test_the_page_has_both_places() -> None:
    text = (Path(__file__).parents[2] / exactness.PAGE).read_text()
    for name in ("figures", "peers"):
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- /{name} -->") == 1
