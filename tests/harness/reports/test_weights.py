"""What a checkpoint is and the kernel that multiplies it, from its own files to every report."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.reports import load_report
from harness.rundir import RunFolder
from launchers.build import Build
from launchers.checkpoint import read_checkpoint, scheme_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LAYOUTS = Path(__file__).parents[2] / "launchers" / "checkpoints"
SAYS = {
    "autogptq": "4-bit, group 128", "gptqmodel": "8-bit, per channel",
    "autoawq": "4-bit, group 128", "autoawq-old": "4-bit, group 64", "ct-w4a16": "4-bit, group 128",
    "gptq-transformers": "4-bit, group 32", "ct-w8a8": "8-bit, per channel",
    "ct-fp8": "8-bit float",
}  # fmt: skip
KERNEL = "MarlinLinearKernel"


@pytest.mark.parametrize("layout", SAYS)
def test_every_format_says_group_size_and_kernel(
    layout: str, runs: Mapping[str, RunFolder], tmp_path: Path
) -> None:
    scheme = scheme_of(Build(name="b", model="m"), read_checkpoint(LAYOUTS / layout))
    assert scheme is not None
    assert scheme.startswith(SAYS[layout]), scheme
    folder = tmp_path / "run"
    shutil.copytree(runs["one-build"].path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["servers"] = {"awq": {"scheme": scheme, "reported": {"linear_kernel": KERNEL}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    numbers = json.loads((folder / "measurements.json").read_text())
    for cell in numbers["cells"]:
        cell["weights"] = f"{scheme}, {KERNEL}"
    (folder / "measurements.json").write_text(json.dumps(numbers))
    for name in ("terminal", "markdown", "html", "json", "csv"):
        text = unescape(load_report(name).render(RunFolder(folder))).replace("\\", "")
        assert f"{scheme}, {KERNEL}" in re.sub(r"\s+", " ", text), name
