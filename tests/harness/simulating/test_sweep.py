"""Which cells and limits of a run the simulator takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import BadInputError
from harness.simulating.engine import UNLIMITED, Limits
from harness.simulating.sweep import limits_of, read_sweep
from tests.harness.cells import answer
from tests.harness.simulating.folders import run_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from loadprofiles.records import Sample


def answers(count: int) -> list[Sample]:
    return [answer(n, n / 10) for n in range(count)]


def test_cells_are_read_with_their_engines_limits(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"one": "a"}, a={"reported": {"kv_cache_tokens": 4096}})
    write(run, "one", answers(40))
    (cell,), limits, caveats = read_sweep([run])
    assert (cell.id, cell.level, cell.streams, cell.window_s) == ("one", 10.0, None, 4.0)
    assert cell.name == "10 requests/s"
    assert cell.sent_s[:3].tolist() == pytest.approx([0.0, 0.1, 0.2])
    assert (cell.first_s - cell.sent_s)[0] == pytest.approx(0.05)
    assert cell.chunks[0] == cell.outputs[0] == 4
    assert cell.prompts[0] == 20
    assert cell.measured.all()
    assert limits == Limits(kv_tokens=4096)
    assert "max_num_seqs, max_num_batched_tokens" in caveats[0]


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ({"stream": False}, "one document each"),
        ({"after": [-1] * 40}, "prefix cache"),
        ({"think_ns": [1000]}, "paused to think"),
        ({"replicas": [{"host": "h", "port": 2, "path": "/v1"}]}, "2 addresses"),
    ],
)
def test_what_cannot_be_simulated_is_left_out_and_said(
    tmp_path: Path, plan: dict[str, Any], reason: str
) -> None:
    run = run_of(tmp_path, {"one": "a", "two": "a", "few": "a", "gone": "a"})
    write(run, "one", answers(40))
    write(run, "two", answers(40), **plan)
    write(run, "few", answers(3))
    cells, _, caveats = read_sweep([run])
    assert [cell.id for cell in cells] == ["one"]
    assert [text for text in caveats if reason in text and "cell two" in text]
    assert [text for text in caveats if "3 requests were answered" in text]
    assert [text for text in caveats if "cell gone cannot be read" in text]


def test_one_build_is_fitted(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"one": "a", "two": "b"})
    write(run, "one", answers(40))
    write(run, "two", answers(40), build="b")
    with pytest.raises(BadInputError, match="have cells of a, b"):
        read_sweep([run])
    cells, _, _ = read_sweep([run], "b")
    assert [cell.id for cell in cells] == ["two"]
    with pytest.raises(BadInputError, match="no cell can be simulated: none is of build c"):
        read_sweep([run], "c")
    other = run_of(tmp_path / "other", {"three": "c"})
    write(other, "three", answers(40), build="c")
    one = run_of(tmp_path / "one", {"one": "a"})
    write(one, "one", answers(40))
    with pytest.raises(BadInputError, match="have cells of a, c"):
        read_sweep([one, other])
    assert len(read_sweep([one, one])[0]) == 1, "a run that is named twice counts once"


def test_limits_come_from_arguments_before_reports_and_defaults() -> None:
    on_cpu = {"engine": "vllm", "device": "cpu", "reported": {"kv_cache_tokens": 1000}}
    assert limits_of(on_cpu) == (
        Limits(max_num_seqs=128, max_num_batched_tokens=2048, kv_tokens=1000), []
    )  # fmt: skip
    told = {**on_cpu, "argv": ["vllm", "--max-num-seqs=8", "--max-num-batched-tokens", "512"]}
    assert limits_of(told)[0] == Limits(max_num_seqs=8, max_num_batched_tokens=512, kv_tokens=1000)
    window = {"kv_window_tokens": 1024, "kv_bytes_per_token": 1 << 17, "kv_cache_gib": 2.0}
    limits, caveats = limits_of({**on_cpu, **window})
    assert limits.kv_tokens == 1000
    assert "sliding window of 1,024" in caveats[0]
    some = {**on_cpu, **window, "kv_bytes_beyond_window": 1 << 14}
    assert limits_of(some)[0].kv_tokens == 1 << 14, "2 GiB of 128 KiB; its own figure is a group's"
    several = {**some, "reported": {"kv_cache_tokens": 1000, "tensor_parallel_size": 2}}
    assert limits_of(several)[0].kv_tokens == UNLIMITED
    unknown, caveats = limits_of({"engine": "tgi"})
    assert unknown.kv_tokens == unknown.max_num_seqs == UNLIMITED
    assert "kv_tokens" in caveats[0]
