"""Which layers are quantized, and the child that does it: a stand-in that needs no torch."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from launchers.errors import PlanError, QuantizeError
from launchers.quantize.layers import choose, fused_with, pattern_of
from launchers.quantize.plan import Failed, Layer, Plan, Started, Written, encode
from launchers.quantize.process import compress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from launchers.quantize.plan import Event

BLOCK = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
COLUMNS = {f"model.layers.{n}.{name}": 256 for n in (0, 1) for name in BLOCK} | {"lm_head": 256}
WRITTEN = Written(
    layers=(Layer(name="a", rows=1, columns=2, weight_error=0.1, output_error=0.2),),
    kept=("lm_head",),
    kept_beside=(),
    error_samples=1,
    recipe="r",
    device="cpu",
    dtype="float16",
    threads=1,
    versions={},
    seconds={"load": 1.0},
)


def test_all_linear_layers_but_the_head_are_quantized() -> None:
    chosen = choose(COLUMNS, ("lm_head",), 128)
    assert chosen.kept == ("lm_head",)
    assert chosen.beside == ()
    assert set(chosen.quantized) == set(COLUMNS) - {"lm_head"}


def test_what_an_engine_fuses_is_skipped_together() -> None:
    chosen = choose(COLUMNS, ("*.0.k_proj", "model.layers.1.up_proj"), 128)
    assert set(chosen.kept) == {
        *(f"model.layers.0.{name}" for name in ("q_proj", "k_proj", "v_proj")),
        *(f"model.layers.1.{name}" for name in ("gate_proj", "up_proj")),
    }
    assert set(chosen.beside) == set(chosen.kept) - {
        "model.layers.0.k_proj",
        "model.layers.1.up_proj",
    }
    assert set(chosen.quantized) | set(chosen.kept) == set(COLUMNS)
    assert fused_with("model.layers.0.o_proj") == ["model.layers.0.o_proj"]


@pytest.mark.parametrize(
    ("skip", "group_size", "told"),
    [
        (("*.down_prj",), 128, "--skip: no linear layer fits '*.down_prj'"),
        (("model.layers.0.o_proi",), 128, "did you mean 'model.layers.0.o_proj'?"),
        (("*",), 128, "--skip leaves no layer"),
        (("lm_head",), 96, "--group-size: 96 does not divide the columns of model.layers.0.q_proj"),
    ],
)
def test_what_cannot_be_done_is_told_by_flag(
    skip: tuple[str, ...], group_size: int, told: str
) -> None:
    with pytest.raises(PlanError) as error:
        choose(COLUMNS, skip, group_size)
    assert told in str(error.value)


def test_a_model_without_a_head_of_its_own_has_none_to_skip() -> None:
    assert choose({"a.o_proj": 128}, ("lm_head",), 128).kept == ()


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Path]:
    """A program in Python's place that says what it is told to."""

    def make(*events: Event, log: str = "", end: str = "") -> Path:
        path = tmp_path / "python"
        code = [f"#!{sys.executable}", "import sys, time", "sys.stdin.buffer.readline()"]
        code += [f"sys.stderr.write({log!r}); sys.stderr.flush()"]
        code += [f"print({encode(event).decode()!r}, flush=True)" for event in events]
        path.write_text("\n".join([*code, end]))
        path.chmod(0o755)
        return path

    return make


def plan(tmp_path: Path) -> Plan:
    return Plan(
        model="m",
        out=str(tmp_path),
        samples="s",
        method="gptq",
        group_size=128,
        sequence_length=64,
        skip=(),
        seed=0,
    )


def test_what_is_written_comes_back_and_progress_is_heard(
    tmp_path: Path, child: Callable[..., Path]
) -> None:
    log = "INFO - begun\n\r(1/5): Calibrating:  10%|#\r(1/5): Calibrating:  90%|#\r(2/5): Calibrat"
    log += "ing: 0%|\nGrid search for model.norm:  5%|\n"
    heard: list[str] = []
    events = (Started(step="calibrating"), WRITTEN)
    python = child(*events, log=log, end="print('stray output'); time.sleep(0.2)")
    assert compress(plan(tmp_path), python, heard.append) == WRITTEN
    assert set(heard) == {
        "calibrating",
        "calibrating part 1 of 5",
        "calibrating part 2 of 5",
        "scaling after model.norm",
    }
    assert len(heard) == 4, "each once"


def test_a_child_that_fails_says_why(tmp_path: Path, child: Callable[..., Path]) -> None:
    wrong = child(Failed(error="PlanError", text="--skip: no"), log="noise\n", end="sys.exit(1)")
    with pytest.raises(PlanError, match=r"^--skip: no$"):
        compress(plan(tmp_path), wrong, lambda _: None)
    failed = child(Failed(error="QuantizeError", text="boom"), log="at layer 3\n")
    with pytest.raises(QuantizeError, match=r"(?s)^boom; its log ends with.*at layer 3"):
        compress(plan(tmp_path), failed, lambda _: None)
    killed = child(log="loading 1/9\n", end="sys.exit(9)")
    with pytest.raises(QuantizeError, match=r"(?s)exit status 9.*loading 1/9"):
        compress(plan(tmp_path), killed, lambda _: None)


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match=r"--python: .*nowhere cannot be started"):
        compress(plan(tmp_path), tmp_path / "nowhere", lambda _: None)


def test_an_interrupt_ends_the_child(tmp_path: Path, child: Callable[..., Path]) -> None:
    python = child(Started(step="loading"), end="sys.stdin.read(); time.sleep(0.1)")

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        compress(plan(tmp_path), python, interrupt)
    assert time.monotonic() - began < 30
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not any(str(python) in (command or ()) for command in commands)


@pytest.mark.parametrize(
    "fused",
    [
        ("q_a_proj", "kv_a_proj_with_mqa"),
        ("in_proj_qkv", "in_proj_z"),
        ("in_proj_b", "in_proj_a"),
        ("wq", "wk", "wv"),
    ],
)
def test_other_architectures_layers_are_skipped_together(fused: tuple[str, ...]) -> None:
    columns = {f"layers.0.attn.{name}": 128 for name in (*fused, "o_proj")}
    chosen = choose(columns, (f"*.{fused[0]}",), 128)
    assert set(chosen.kept) == {f"layers.0.attn.{name}" for name in fused}
    assert pattern_of("model.layers.12.mlp.experts.3.w1") == "model.layers.*.mlp.experts.*.w1"
