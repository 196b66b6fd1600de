"""What a run of the tests says of engines that are not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_engines_that_were_not_tested_are_named_at_the_end(tmp_path: Path) -> None:
    tests = ["tests/e2e/test_transformers.py", "tests/e2e/test_engines_vllm.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "1", *tests],
        cwd=ROOT,
        env=os.environ | {"HARNESS_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, told, end = done.stdout.partition("REAL ENGINES THAT WERE NOT TESTED")
    assert told
    for name in ("transformers-serve", "llama.cpp"):
        assert f"run `harness engines install {name}`" in end
