"""Forced and natural lengths, and a build that stops early, through the real command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace


def test_a_build_that_stops_early_does_not_look_fast(workplace: Workplace) -> None:
    options = ("--ttft-ms=10", "--itl-ms=2", "--words")
    workplace.build("whole", *options, "--natural-tokens=60")
    workplace.build("brief", *options, "--natural-tokens=8")
    done = workplace.load(
        *("--server", "whole,brief", "--profile", "closed", "--level", "4", "--requests", "80"),
        *("--warmup", "4", "--osl", "40", "--lengths", "both"),
    )
    assert done.went_well
    cells = {cell["id"]: cell for cell in done.cells}
    assert list(cells) == [
        "whole-closed-c4-1", "whole-closed-c4-natural-1",
        "brief-closed-c4-1", "brief-closed-c4-natural-1",
    ]  # fmt: skip
    for name, cell in cells.items():
        natural = "natural" in name
        outputs = cell["outputs"]
        assert cell["lengths"] == ("natural" if natural else "forced")
        assert ("stop" in outputs["finish_reasons"]) == natural
        assert outputs["tokens"]["n"] == 80
        assert (outputs["tokens"]["p50"] == 40) == (not natural or "whole" in name)
        codes = {caveat["code"] for caveat in cell["client"]["caveats"]}
        assert ("stops_early" in codes) == (name == "brief-closed-c4-natural-1")
        assert "short_answers" not in codes  # it was asked for
        if "brief" in name:
            assert outputs["compared"]["baseline"] == "whole"
            assert outputs["compared"]["pairs"] == 80
            assert (outputs["compared"]["length_ratio"] == 1) == (not natural)
        else:
            assert outputs["compared"] is None
    manifest = json.loads((done.run / "manifest.json").read_text())
    assert manifest["cells"][3]["baseline"] == "whole-closed-c4-natural-1"
    again = workplace.harness("report", str(done.run), "--format", "markdown")
    assert "this build's answers have" in again.out.replace("\\", "")
    assert "brief (natural)" in again.out


def test_natural_and_ignore_eos_contradict_each_other(
    workplace: Workplace, mock: StartMock
) -> None:
    asked = ("--url", mock(), "--profile", "closed", "--ignore-eos", "--lengths", "natural")
    done = workplace.harness("load", *asked)
    assert done.code == 2
    assert "contradict" in done.err
    done = workplace.harness("load", *asked[:-1], "long")
    assert done.code == 2
    assert "natural" in done.err
