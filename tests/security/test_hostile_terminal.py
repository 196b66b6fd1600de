"""Hostile texts in what commands print on a terminal, besides reports of runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.probe.card import Card
from harness.cli import run
from harness.cli.tables import json_shown
from harness.reports.card import card_text
from tests.security.test_hostile_reports import (
    CONTROL,
    FRAGMENTS,
    HOSTILE,
    RUNS,
    replaced,
    with_texts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from harness.rundir import RunFolder

TEXTS = [*HOSTILE, "".join(FRAGMENTS)]


def toml(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\u007f")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "harness.toml"
    tables = [
        f"[builds.b{at}]\nengine = 'vllm'\nmodel = {toml(text)}\ndescription = {toml(text)}\n"
        f"[servers.s{at}]\nurl = 'http://127.0.0.1:9/v1'\nmodel = {toml(text)}\n"
        f"[profiles.p{at}]\ndescription = {toml(text)}\nlevels = [1]\nrequests = 1\n"
        "arrival.kind = 'closed'\nprompt_tokens = 9\noutput_tokens = 9\n"
        for at, text in enumerate(TEXTS)
    ]
    path.write_text("\n".join(tables))
    return path


@pytest.mark.parametrize("what", ["servers", "profiles"])
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["table", "json"])
def test_a_list_of_hostile_names(
    config: Path, what: str, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["list", what, "--config", str(config), *more]) == 0
    said = capsys.readouterr().out
    assert "zq" in said
    assert not CONTROL.search(said)


def test_a_card_of_a_hostile_server() -> None:
    found = json.loads((RUNS / "schema-1-eval/probes/url.json").read_text())
    for text in TEXTS:
        told = found | {"engine_version": text, "model": text, "models": [text], "base_url": text}
        told |= {"sampling_defaults": {"a": text}, "caveats": [{"code": "c", "text": text}]}
        card = msgspec.convert(told, Card)
        assert not CONTROL.search(card_text(card))
        shown = json_shown(msgspec.json.encode(card).decode())
        assert not CONTROL.search(shown)
        assert json.loads(shown)["model"] == text


def test_a_simulation_of_a_hostile_run(capsys: pytest.CaptureFixture[str]) -> None:
    by = {"url": HOSTILE[3].replace("\x00", "")}

    def simulate(found: RunFolder) -> None:
        asked = ["simulate", str(found.path), "--rate", "2", "--replicas", "1", "--duration", "60"]
        for more in ([], ["--json"]):
            assert run([*asked, *more]) == 0
            said = capsys.readouterr().out
            assert "zq" in said
            assert not CONTROL.search(said)

    with_texts("capacity", by, simulate)


@pytest.mark.parametrize("name", ["terminal", "json", "markdown"])
def test_a_history_of_hostile_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def history(found: RunFolder) -> None:
        asked = ["history", "--runs", str(found.path.parent), "--metric", "ttft_p50_ms"]
        assert run([*asked, "--format", name]) == 0
        said = capsys.readouterr().out
        assert "zq" in said
        assert not CONTROL.search(said)

    document = json.loads((RUNS / "schema-1-load/manifest.json").read_text())
    builds = {cell["build"] for cell in document["cells"]}
    with_texts("load", dict.fromkeys(builds, HOSTILE[3].replace("\x00", "")), history)


@given(
    st.recursive(
        st.text() | st.none() | st.integers(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
        max_leaves=6,
    )
)
def test_json_for_a_terminal_is_the_same_json(value: object) -> None:
    for ascii_only in (True, False):
        text = json.dumps(replaced(value, {}), ensure_ascii=ascii_only)
        shown = json_shown(text)
        assert json.loads(shown) == json.loads(text)
        assert shown.isprintable()
