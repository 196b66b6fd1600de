"""`harness probe`, against the mock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "probe.json.schema.json"
CONTRACT = {
    "engine", "engine_version", "models", "model", "context_length", "capabilities", "bos", "route",
    "caveats",
}  # fmt: skip
FAST = ("--ttft-ms", "0", "--itl-ms", "0")


def test_a_card_for_scripts_and_one_for_people(workplace: Workplace, mock: StartMock) -> None:
    url = mock(*FAST, "--api-key", "hush")
    environment = {"KEY": "hush"}
    argv = ("probe", "--url", url, "--api-key-env", "KEY", "--header", "X-Team=quiet")
    done = workplace.harness(*argv, "--json", environment=environment)
    assert done.code == 0, done.err
    jsonschema.validate(done.json, json.loads(SCHEMA.read_text()))
    assert done.json.keys() >= CONTRACT
    assert done.json["route"] == "next"
    assert "hush" not in done.out
    shown = workplace.harness(*argv, environment=environment)
    assert "Grades by: next, echo, label, generative" in shown.out
    assert "quiet" not in shown.out + shown.err


def test_exit_codes(workplace: Workplace, mock: StartMock) -> None:
    assert workplace.harness("probe", "--url", "http://127.0.0.1:9").code == 3
    url = mock(*FAST, "--api-key", "hush")
    refused = workplace.harness("probe", "--url", url)
    assert refused.code == 3
    assert "--api-key-env" in refused.err
    liar = mock(*FAST, "--lie", "no_echo", "--lie", "empty_text")
    nothing = workplace.harness("probe", "--url", liar)
    assert nothing.code == 4, nothing.out
    assert "empty_text" in nothing.out
    assert "Nothing can be graded" in nothing.out
    for argv in ([], ["--server", "fp16", "--header", "A=b"], ["--url", url, "--timeout", "0"]):
        assert workplace.harness("probe", *argv).code == 2


def test_a_build_comes_up_and_goes_down(workplace: Workplace) -> None:
    workplace.build("own", *FAST)
    (workplace.path / "model").rename(workplace.path / "mock")  # the only model that it serves
    config = workplace.path / "harness.toml"
    config.write_text(config.read_text().replace('model = "model"', 'model = "mock"'))
    done = workplace.harness("probe", "--server", "own", "--json")
    assert done.code == 0, done.err
    assert done.json["build"] == "own"
    assert workplace.processes() == []
