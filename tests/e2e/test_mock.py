"""`harness mock`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Workplace


def test_it_serves_until_interrupted(workplace: Workplace) -> None:
    process = workplace.start(
        *("mock", "--ttft-ms", "1", "--api-key-env", "KEY", "--fault", "http_500:0.0"),
        environment={"KEY": "k-123"},
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    request = Request(url + "/models", headers={"Authorization": "Bearer k-123"})  # noqa: S310
    with urlopen(request, timeout=10) as response:  # noqa: S310
        assert b'"mock"' in response.read()
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process)
    assert done.code == 0
    assert "k-123" not in done.err + done.out


def test_mistakes_exit_with_2(workplace: Workplace) -> None:
    done = workplace.harness("mock", "--fault", "hangs")
    assert done.code == 2
    assert "no fault 'hangs'" in done.err
    done = workplace.harness("mock", "--api-key-env", "NOT_SET")
    assert done.code == 2
    assert "--api-key-env" in done.err
    done = workplace.harness("mock", "--kv-tokens", "3", "--host", "192.0.2.7")
    assert done.code == 2
    assert "step_ms" in done.err
    done = workplace.harness("mock", "--host", "192.0.2.7")
    assert done.code == 2
    assert "cannot listen" in done.err


def test_a_full_cache_is_seen_as_stalls(workplace: Workplace, mock: Callable[..., str]) -> None:
    load = ("--profile", "closed", "--level", "4", "--requests", "12", "--warmup", "0")
    lengths = ("--prompt-tokens", "20", "--output-tokens", "40")
    stalls = []
    for options in ([], ["--kv-tokens", "160"]):
        url = mock("--step-ms", "10", *options)
        (cell,) = workplace.load("--url", url, *load, *lengths).cells
        assert cell["requests"]["ok"] == 12
        stalls.append(cell["metrics"]["stall_ms"]["max"])
        with urlopen(url.removesuffix("/v1") + "/metrics", timeout=10) as page:  # noqa: S310
            lines = page.read().decode().splitlines()
        pushed = next(line for line in lines if line.startswith("vllm:num_preemptions_total"))
        assert (float(pushed.split()[1]) > 0) is bool(options)
    assert stalls[1] > stalls[0] + 50, "an answer that was pushed back stood still"
