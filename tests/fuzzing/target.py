"""The wire path under libFuzzer: run by `run.py`, in an environment that has atheris."""

from __future__ import annotations

import gc
import shlex
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
ALL_THAT_READS = ["loadprofiles.wire", "loadprofiles.dialects"]
NEVER_BRANCHES_ON_BYTES = [
    f"loadprofiles.wire.{name}" for name in ("engine", "connections", "tls", "audit")
]
with atheris.instrument_imports(include=ALL_THAT_READS, exclude=NEVER_BRANCHES_ON_BYTES):
    from tests.fuzzing import wire

AGAIN = shlex.join([sys.executable, __file__])  # how libFuzzer starts itself, to merge
atheris.Setup([AGAIN, *sys.argv[1:]], wire.check)
gc.freeze()
gc.set_threshold(100_000)  # the driver has none at all while it measures
with wire.in_memory():
    atheris.Fuzz()
