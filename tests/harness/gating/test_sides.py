from __future__ import annotations

from dataclasses import replace

import msgspec

from harness.evidence.limits import parse_limit
from harness.gating.record import Side
from harness.gating.sides import Known
from harness.gating.speeds import tries
from harness.measuring.measurement import Caveat
from tests.harness.comparing import made

LEVELS = (1, 8, 64)


def known(build: str, *caveats: Caveat) -> Known:
    """A finished run with more levels than a stage, of which the last one fails."""
    cells = [made.cell(build, level, n) for level in LEVELS for n in (1, 2)]
    cells = [
        msgspec.structs.replace(
            one, requests=msgspec.structs.replace(one.requests, failed=50 * (LEVELS[-1] in level))
        )
        for one in cells
        for level in [one.level.values()]
    ]
    run = made.load(cells)
    run = replace(run, measurements=msgspec.structs.replace(run.measurements, caveats=[*caveats]))
    return Known(side=Side(build=build, name=build), quality=[], load=[run])


def test_what_its_weights_are() -> None:
    assert known("awq").weights() == "4-bit, group 128, K"
    assert Known(side=Side(build="x", name="x"), quality=[], load=[]).weights() is None


def test_only_the_stages_levels_are_judged() -> None:
    ours, theirs = known("awq"), known("fp16")
    for rule in ("error_rate<=1%", "ttft_p95_ms<=900", "ratio(ttft_p95_ms)<=150%"):
        limit = parse_limit(rule)
        found = tries(limit, ours.driven("closed", [1, 8]), theirs.driven("closed", [1, 8]))
        assert [one.name for one in found] == ["c1", "c8"]
    assert len(ours.driven("closed").cells) == 6
    of_all = tries(parse_limit("error_rate<=1%"), ours.driven("closed"), theirs.driven("closed"))
    assert [one.value for one in of_all] == [0, 0, 0.25]


def test_what_was_driven_again_or_went_on_is_told_of_its_own_cells() -> None:
    again = [
        Caveat("driven_again", f"{name}-8-1 was driven a second time") for name in ("awq", "nf4")
    ]
    other = [Caveat("resumed", "cut off"), Caveat("not_calibrated", "no calibration")]
    assert [(one.code, one.text) for one in known("awq", *again, *other).told()] == [
        ("driven_again", "load: awq-8-1 was driven a second time"),
        ("resumed", "load: cut off"),
    ]


def test_code_that_came_with_the_model_is_told() -> None:
    side = known("awq")
    [run] = side.load
    servers = {name: {"argv": ["--trust-remote-code"]} for name in ("awq", "nf4")}
    told = replace(side, load=[replace(run, manifest={"servers": servers})] * 2).told()
    assert [one.code for one in told] == ["model_code"]
    assert told[0].text.startswith("awq runs code")
