"""The command in a mount namespace of its own: disks and files that nobody else sees."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.after import PATH

if TYPE_CHECKING:
    from tests.e2e.conftest import Done, Workplace

UNSHARE = ("unshare", "--map-root-user", "--mount")


def run_apart(workplace: Workplace, before: str, after: str, *argv: str) -> Done:
    """Run `harness ARGV` between two pieces of shell that may mount; skip where nobody may.

    What is called to happen `when CONDITION` does so beside it, once the condition holds.
    """
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here (unshare --map-root-user --mount)")
    command = shlex.join([sys.executable, "-m", "harness", *argv])
    process = subprocess.Popen(
        [*UNSHARE, "bash", "-euc", f"{before}\n{command} || code=$?\n{after}\nexit ${{code:-0}}"],
        cwd=workplace.path,
        env=os.environ | PATH,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    workplace.started.append(process)
    return workplace.finish(process)


def once(condition: str, action: str) -> str:
    """A piece of shell that does something beside the command as soon as a condition holds."""
    return f"(until {condition}; do sleep 0.05; done; {action}) >/dev/null 2>&1 &"
