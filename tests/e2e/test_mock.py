"""`harness mock`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

if TYPE_CHECKING:
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
