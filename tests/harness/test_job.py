from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.config import find_profile, load_config
from harness.live import Live
from harness.load.job import LoadJob
from harness.load.request import LoadRequest
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_manifest_names_the_dialect_though_no_flag_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison and a gate have no such flag, and their cells are compared with `load`'s."""
    monkeypatch.chdir(tmp_path)
    request = LoadRequest(
        servers=[],
        profile=find_profile("closed", load_config(None)),
        levels=[1.0],
        asked={"names": ["fp16"]},
        command=["harness", "compare", "fp16"],
    )
    job = LoadJob(request, RunFolder(tmp_path), Live(quiet=True), ["fp16"])
    job.record.save()
    manifest: Any = RunFolder(tmp_path).read_manifest()
    assert manifest["request"] == {
        "dialect": "openai-completions",
        "no_stream": False,
        "names": ["fp16"],
    }
