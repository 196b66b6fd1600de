"""Traces in the layouts of the public ones: what is read, and what is refused with its line."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadprofiles.arrivals.trace import Trace
from loadprofiles.errors import ProfileError
from loadprofiles.traffic.traces import read_trace

if TYPE_CHECKING:
    from pathlib import Path

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:33.4590290,110,27
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-12 00:00:00.009930+00:00,2162,5
2024-05-12 00:00:00.019930+00:00,2399,6
2024-05-12 01:00:00.009930+00:00,76,15
"""
BURSTGPT_1 = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,276,693,API log
"""
BURSTGPT_3 = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
19440110.0,1722ac82-0a46-4bf0-aa08-89794e7a2b3f,43,GPT-4,906,446,1352,Conversation log
19440161.5,d5983bf9-4b48-497b-892b-a58995247443,2,ChatGPT,36,29,65,Conversation log
19440192.0,,2,ChatGPT,30,20,50,API log
"""  # noqa: E501 - as it is
MOONCAKE = "".join(
    json.dumps(row) + "\n"
    for row in (
        {"timestamp": 0, "input_length": 1200, "output_length": 52, "hash_ids": [0, 1, 2]},
        {"timestamp": 3052, "input_length": 700, "output_length": 26, "hash_ids": [0, 3]},
        {"timestamp": 3052, "input_length": 30, "output_length": 7, "hash_ids": [4]},
    )
)
GENERIC = "timestamp,prompt_tokens,output_tokens,who\n10.5,3,4,a\n12,5,6,b\n"


def write(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "name", "times_s", "prompts", "outputs"),
    [
        (AZURE_2023, "a.csv", [0, 0.052, 29.479069], [4808, 3180, 110], [10, 8, 27]),
        (AZURE_2024, "a.csv", [0, 0.01, 3600], [2162, 2399, 76], [5, 6, 15]),
        (BURSTGPT_1, "b.csv", [0, 40, 113], [472, 1087, 417], [18, 230, 276]),
        (BURSTGPT_3, "b.csv", [0, 51.5, 82], [906, 36, 30], [446, 29, 20]),
        (MOONCAKE, "m.jsonl", [0, 3.052, 3.052], [1200, 700, 30], [52, 26, 7]),
        (GENERIC, "g.csv", [0, 1.5], [3, 5], [4, 6]),
    ],
    ids=["azure 2023", "azure 2024", "burstgpt 1", "burstgpt 3", "mooncake", "generic"],
)
def test_each_layout_is_known_by_its_columns(
    tmp_path: Path, text: str, name: str, times_s: list[float], prompts: list[int],
    outputs: list[int],
) -> None:  # fmt: skip
    trace = read_trace(write(tmp_path, text, name))
    assert trace.times_s == pytest.approx(times_s, abs=1e-6)
    assert trace.prompt_tokens.tolist() == prompts
    assert trace.output_tokens.tolist() == outputs
    assert trace.unsorted == 0
    (tmp_path / "z").mkdir()
    packed = tmp_path / "z" / f"{name}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_trace(packed).times_s.tolist() == trace.times_s.tolist()


def test_only_mooncake_has_blocks(tmp_path: Path) -> None:
    mooncake = read_trace(write(tmp_path, MOONCAKE, "m.jsonl"))
    assert mooncake.blocks == ((0, 1, 2), (0, 3), (4,))
    assert read_trace(write(tmp_path, AZURE_2023, "a.csv")).blocks is None


def test_rows_out_of_order_are_put_in_order_and_counted(tmp_path: Path) -> None:
    text = "timestamp,prompt_tokens,output_tokens\n5,1,1\n3,2,1\n9,3,1\n7,4,1\n"
    trace = read_trace(write(tmp_path, text, "t.csv"))
    assert trace.times_s.tolist() == [0, 2, 4, 6]
    assert trace.prompt_tokens.tolist() == [2, 1, 4, 3]
    assert trace.unsorted == 2


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, GENERIC, "t.csv")
    assert len(read_trace(path)) == 2
    path.write_text(GENERIC + "13,5,6,c\n")
    assert len(read_trace(path)) == 3


HEAD = "timestamp,prompt_tokens,output_tokens\n"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            HEAD + "1,2,3\nsoon,2,3\n",
            "t.csv",
            "t.csv, line 3: timestamp: 'soon' is no time: neither seconds",
        ),
        (
            HEAD + "2023-11-16 18:17:61,2,3\n",
            "t.csv",
            "timestamp: '2023-11-16 18:17:61' is no time",
        ),
        (
            HEAD + "2023-13-16 18:17:01,2,3\n",
            "t.csv",
            "timestamp: '2023-13-16 18:17:01' is no time",
        ),
        (HEAD + "nan,2,3\n", "t.csv", "line 2: timestamp: 'nan' is no time"),
        (HEAD + "1,x,3\n", "t.csv", "line 2: prompt_tokens: 'x' is no number of tokens"),
        (HEAD + "1,2,x\n", "t.csv", "line 2: output_tokens: 'x' is no number of tokens"),
        (HEAD + "1,2.5,3\n", "t.csv", "line 2: prompt_tokens: '2.5' is no number of tokens"),
        (HEAD + "1,-2,3\n", "t.csv", "line 2: prompt_tokens: '-2' is no number of tokens"),
        (HEAD + "1,2\n", "t.csv", "line 2: it has not as many columns"),
        (HEAD + "1,2,3,4\n", "t.csv", "line 2: it has not as many columns"),
        ("time,tokens\n1,2\n", "t.csv", "columns time, tokens, which is no layout that is known"),
        (HEAD, "t.csv", "holds no request"),
        ("", "t.csv", "holds no request"),
        ('{"timestamp": 1}\n', "t.jsonl", "columns timestamp, which is no layout"),
        (MOONCAKE + "{oops\n", "t.jsonl", "line 4: no JSON"),
        (MOONCAKE + "[1]\n", "t.jsonl", "line 4: no JSON object"),
        (MOONCAKE + '{"timestamp": 1}\n', "t.jsonl", "line 4: 'input_length' is missing"),
        (MOONCAKE.replace("[4]", '["x"]'), "t.jsonl", "line 3: hash_ids: ['x'] is no list"),
        ("\0\0", "t.csv.gz", "not a gzip"),
    ],
)
def test_a_bad_row_is_told_with_its_line(
    tmp_path: Path, text: str, name: str, message: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        read_trace(write(tmp_path, text, name))
    assert message in str(caught.value).lower() or message in str(caught.value)


def test_a_file_that_is_not_there_and_a_layout_that_it_has_not(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no such file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(ProfileError, match=r"\(burstgpt: Timestamp, Request tokens"):
        read_trace(write(tmp_path, AZURE_2023, "a.csv"), "burstgpt")


LINES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [HEAD.encode(), b"1,2,3\n", b'"1,2', b"1e400,2,3\n", b"1,1e30,3\n", b"[" * 5000, b"{}\n",
         *(line.encode() + b"\n" for line in MOONCAKE.splitlines()),
         b'{"timestamp": null, "input_length": [], "output_length": {}}\n',
         b'{"timestamp": 1, "input_length": true, "output_length": 3, "hash_ids": 7}\n',
         b"2023-11-16 18:17:03.9799600,4808,10\n", b"\xef\xbb\xbf", b"\0\n", b"\r", b"1," * 9]
    ),
)  # fmt: skip


@given(
    lines=st.lists(LINES, max_size=6),
    name=st.sampled_from(["f.csv", "f.jsonl", "f.csv.gz", "f.jsonl.gz"]),
    packed=st.booleans(),
    cut=st.integers(0, 30),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_is_read_or_refused(
    tmp_path: Path, lines: list[bytes], name: str, *, packed: bool, cut: int
) -> None:
    content = b"".join(lines)
    if packed:
        content = gzip.compress(content)[: -cut or None]
    path = tmp_path / name
    path.write_bytes(content)
    try:
        trace = read_trace(path)
    except ProfileError:
        return
    assert np.all(np.diff(trace.times_s) >= 0)
    assert trace.times_s[0] == 0
    assert np.all(np.isfinite(trace.times_s))


# --- laid out over a window --------------------------------------------------------------------


def made(folder: Path, times_s: list[float], prompts: list[int] | None = None) -> str:
    prompts = prompts or [100] * len(times_s)
    rows = [f"{at},{tokens},10" for at, tokens in zip(times_s, prompts, strict=True)]
    return str(write(folder, HEAD + "\n".join(rows) + "\n", "made.csv"))


RNG = np.random.default_rng


def test_the_time_is_stretched_so_that_the_mean_rate_is_the_level(tmp_path: Path) -> None:
    arrival = Trace(kind="trace", file=made(tmp_path, [0, 1, 2, 6, 8, 20]))
    got = arrival.replay(2.0, 2.0, None, RNG(0))
    assert got.due_ns.tolist() == [0, 250_000_000, 500_000_000, 1_500_000_000]
    assert (got.duration_ns, got.time_scale) == (2_000_000_000, 4.0)
    by_requests = arrival.replay(2.0, None, 4, RNG(0))
    assert by_requests.due_ns.tolist() == got.due_ns.tolist()
    assert by_requests.duration_ns == got.duration_ns
    later = Trace(kind="trace", file=arrival.file, start_s=1.5).replay(1.0, 2.0, None, RNG(0))
    assert later.due_ns / 1e9 == pytest.approx([0.5 / 6.5 * 2, 4.5 / 6.5 * 2])


def test_stretching_keeps_the_shape(tmp_path: Path) -> None:
    times = np.sort(RNG(3).gamma(0.3, 1, 400).cumsum())
    arrival = Trace(kind="trace", file=made(tmp_path, times.tolist()))
    slow, fast = (arrival.replay(rate, None, 300, RNG(0)).due_ns for rate in (5, 50))
    gaps = np.diff(times[:300])
    for due in (slow, fast):
        assert np.diff(due) / np.diff(due).mean() == pytest.approx(gaps / gaps.mean(), abs=1e-5)


def test_as_recorded_but_faster(tmp_path: Path) -> None:
    times = [0, 1, 2, 6, 8, 20]
    arrival = Trace(kind="trace", file=made(tmp_path, times), time_scale=2)
    assert arrival.own_rate(5) == 1.0
    got = arrival.replay(1.0, 5.0, None, RNG(0))
    assert (got.due_ns / 1e9).tolist() == [0, 0.5, 1, 3, 4]
    assert (got.time_scale, got.thinned) == (2, 0)
    with pytest.raises(ProfileError, match=r"3 is more than .* has: 1 requests/s"):
        arrival.replay(3.0, 5.0, None, RNG(0))
    with pytest.raises(ProfileError, match="which is 20 s long; at most 10 s"):
        arrival.replay(1.0, 30.0, None, RNG(0))
    with pytest.raises(ProfileError, match="needs a window in seconds"):
        arrival.replay(1.0, None, 3, RNG(0))


def test_a_lower_level_leaves_out_at_random_and_says_how_many(tmp_path: Path) -> None:
    arrival = Trace(kind="trace", file=made(tmp_path, list(np.arange(4000) / 40)), time_scale=1)
    got = arrival.replay(10.0, 99.0, None, RNG(5))
    assert len(got.due_ns) == pytest.approx(990, abs=120)
    assert got.thinned == 3960 - len(got.due_ns)
    gaps = np.diff(got.due_ns) / 25_000_000  # geometric: a thinned metronome
    assert gaps.mean() == pytest.approx(4, rel=0.1)
    assert gaps.var() == pytest.approx(12, rel=0.3)
    again = arrival.replay(10.0, 99.0, None, RNG(5))
    assert again.due_ns.tolist() == got.due_ns.tolist()


def test_long_and_empty_requests_are_refused_clipped_or_skipped_never_dropped(
    tmp_path: Path,
) -> None:
    file = made(tmp_path, [0, 1, 2, 3, 4], [50, 0, 500, 95, 60])
    with pytest.raises(ProfileError, match=r"1 requests of .* no answer .*skip_above.*clip_to"):
        Trace(kind="trace", file=file).replay(1, None, 3, RNG(0))
    clipped = Trace(kind="trace", file=file, clip_to=100).replay(1, None, 4, RNG(0))
    assert clipped.prompt_tokens.tolist() == [50, 1, 90, 90]
    assert clipped.output_tokens.tolist() == [10, 10, 10, 10]
    assert (clipped.clipped, clipped.skipped) == (3, 0)
    skipped = Trace(kind="trace", file=file, skip_above=100).replay(1, None, 2, RNG(0))
    assert skipped.prompt_tokens.tolist() == [50, 60]
    assert (skipped.clipped, skipped.skipped) == (0, 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start_s": 100}, "100 lies behind the end of .* 4 s long"),
        ({}, "has 5 requests from start_s = 0 on and 9 are needed"),
    ],
)
def test_a_trace_that_is_too_short_is_told(
    tmp_path: Path, fields: dict[str, float], message: str
) -> None:
    arrival = Trace(kind="trace", file=made(tmp_path, [0, 1, 2, 3, 4]), **fields)
    with pytest.raises(ProfileError, match=message):
        arrival.replay(1, None, 9, RNG(0))


def test_the_last_requests_window_ends_a_mean_gap_behind_it(tmp_path: Path) -> None:
    arrival = Trace(kind="trace", file=made(tmp_path, [0, 1, 2, 3, 4]))
    got = arrival.replay(1, None, 5, RNG(0))
    assert (got.due_ns / 1e9).tolist() == pytest.approx([0, 1, 2, 3, 4])
    at_once = Trace(kind="trace", file=made(tmp_path, [0, 0, 0]))
    with pytest.raises(ProfileError, match="came in one moment"):
        at_once.replay(1, None, 2, RNG(0))


def test_requests_of_one_moment_stay_together_and_in_the_window(tmp_path: Path) -> None:
    arrival = Trace(kind="trace", file=made(tmp_path, [0, 2, 2, 2, 5]))
    got = arrival.replay(1, 3.0, None, RNG(0))
    assert got.due_ns.tolist() == [0, 2_999_999_999, 2_999_999_999]


def test_of_a_large_file_the_window_is_kept(tmp_path: Path) -> None:
    rows = "".join(f"{n},ChatGPT,{n % 900 + 1},7,8,API log\n" for n in range(200_000))
    path = write(tmp_path, BURSTGPT_1.splitlines()[0] + "\n" + rows, "big.csv")
    got = Trace(kind="trace", file=str(path), start_s=150_000).replay(10, 30, None, RNG(0))
    assert len(got.due_ns) == 300
    assert got.prompt_tokens[0] == 150_000 % 900 + 1
