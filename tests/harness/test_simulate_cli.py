"""`harness simulate` on the folder of a made-up run."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.cli import run
from harness.errors import ExitCode
from harness.simulating.simulate import Simulation
from tests.harness.simulating.folders import sweep_of

if TYPE_CHECKING:
    from pathlib import Path

RATES = (3.0, 8.0, 14.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(sweep_of(tmp_path_factory.mktemp("runs"), RATES).path)


def test_a_fleet_is_predicted_with_its_errors(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["simulate", folder, "--rate", "40", "--duration", "120", "--replicas", "4"]
    assert run([*asked, "--fail", "1", "--json"]) == ExitCode.OK
    found = msgspec.json.decode(capsys.readouterr().out, type=Simulation)
    assert found.verdict is None
    assert found.prediction is not None
    assert found.prediction.request_rate == pytest.approx(40, rel=0.1)
    assert (found.prediction.failing, found.prediction.failure_s) == (1, 60.0)
    assert {one.level for one in found.prediction.held_out} == {8.0}
    assert run(asked) == ExitCode.OK
    text = capsys.readouterr().out
    assert "not a measurement" in text
    assert re.search(r"8 requests/s( +[+-]\d+%){7}\n +their own speed( +[+-]\d+%){7}\n", text)
    assert "In the worst of 48 parts" in text
    assert "4 replicas, round-robin" in text


def test_the_fewest_replicas_that_hold_an_slo(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "day.csv"
    rows = "".join(f"{n * 0.05},150,40\n" for n in range(2400))
    trace.write_text("timestamp,prompt_tokens,output_tokens\n" + rows)
    asked = ["simulate", folder, "--trace", str(trace), "--scale", "2"]
    assert run([*asked, "--slo", "ttft_p95_ms<=200", "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "PASS"
    assert found["prediction"]["requests"] == 4800
    assert found["prediction"]["replicas"] >= 2
    assert run([*asked, "--slo", "ttft_p95_ms<=200", "--fail", "1", "--json"]) in (
        ExitCode.OK, ExitCode.INCONCLUSIVE
    )  # fmt: skip
    spare = json.loads(capsys.readouterr().out)
    assert spare["prediction"]["replicas"] == found["prediction"]["replicas"] + 1
    assert run([*asked, "--slo", "ttft_p95_ms<=1"]) == ExitCode.FAIL
    assert "Not met by any number of replicas" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ([], "what traffic?"),
        (["--rate", "4", "--trace", "x.csv", "--replicas", "1"], "what traffic?"),
        (["--rate", "4"], "how many replicas?"),
        (["--duration", "4"], "what traffic?"),
        (["--trace", "x.csv", "--duration", "4", "--replicas", "1"], "--duration is of --rate"),
        (["--rate", "4", "--replicas", "2", "--fail-at", "4"], "--fail-at says when"),
        (["--rate", "4", "--replicas", "2", "--fail", "-1"], "-1 replicas cannot fail"),
        (["--rate", "4", "--replicas", "2", "--fail", "1", "--fail-at", "4e9"], "the failure is"),
        (["--rate", "1e9", "--replicas", "1"], "each of 1 replicas would get"),
        (["--rate", "4", "--replicas", "1", "--seed", "-1"], "the seed is -1"),
        (["--rate", "0", "--replicas", "1"], "the rate to predict is 0"),
        (["--rate", "4", "--replicas", "1", "--fail", "1"], "1 of 1 replicas cannot fail"),
        (["--rate", "4", "--replicas", "1", "--kv-tokens", "0"], "--kv-tokens: 0"),
        (["--rate", "4", "--replicas", "1", "--build", "b"], "no cell can be simulated"),
    ],
)
def test_bad_input(
    folder: str, flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", folder, *flags]) == ExitCode.BAD_INPUT
    assert problem in capsys.readouterr().err
    assert run(["simulate"]) == ExitCode.BAD_INPUT
