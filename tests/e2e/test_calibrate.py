"""`harness calibrate`, and what reports say of it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Workplace


def test_it_measures_and_reports_quote_it(workplace: Workplace, mock: Callable[..., str]) -> None:
    cache = {"HARNESS_CACHE": str(workplace.path / "cache")}
    done = workplace.harness(
        *("calibrate", "--streams", "8", "--duration", "1", "--json"), environment=cache
    )
    assert done.code in {0, 4}, done.err  # a busy machine may have no exact step
    found = done.json
    steps = {step["pattern"]: step for step in found["steps"]}
    assert list(steps) == ["staggered", "at once", "poisson"]
    assert found["kernel_stamps"] is True
    for step in found["steps"]:
        assert "answers_repeat" not in step["caveats"], "of the mock's answers, not the client"
        few = any("values in the window" in problem for problem in step["problems"])
        assert (step["ttft_kernel_us"]["n"] >= 100 and step["itl_kernel_us"]["n"] >= 1000) or few
        assert step["ttft_kernel_us"]["p50"] <= step["ttft_user_us"]["p50"]
        assert 0 < step["cpu"] <= 2
        assert step["server_cpu_us_per_token"] > 0
        assert step["tries"] == 2 or not step["problems"], "what failed was tried once more"
    assert steps["poisson"]["late_us"]["n"] > 50
    lone = steps["staggered"]
    assert 0 < lone["tokens_per_s"] < 1.3 * lone["offered_tokens_per_s"]

    url = mock("--ttft-ms", "5", "--itl-ms", "2")
    load = ("--url", url, "--profile", "batch1", "--requests", "3", "--warmup", "0")
    run = workplace.load(*load, environment=cache).run
    known = "Client calibrated on 20"
    assert known in (run / "report.html").read_text()
    assert known in (run / "report.md").read_text()
    printed = workplace.harness("report", str(run), "--format", "markdown").out
    assert known in printed, "what the run's folder says, wherever the report is made"
    bare = workplace.load(*load, environment={"HARNESS_CACHE": str(workplace.path / "no")})
    assert "harness calibrate" in (bare.run / "report.md").read_text()


def test_mistakes_exit_with_2(workplace: Workplace) -> None:
    for options in (["--streams", "4,x"], ["--streams", "0"], ["--duration", "0"]):
        done = workplace.harness("calibrate", *options)
        assert done.code == 2
        assert options[0] in done.err


def test_interrupted_it_leaves_nothing(workplace: Workplace) -> None:
    process = workplace.start("calibrate", "--streams", "32", "--duration", "60")
    workplace.wait_for(lambda: len(workplace.processes()) >= 4)  # driver, guards, server
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert workplace.finish(process).code == 130
    workplace.wait_for(lambda: not workplace.processes())
