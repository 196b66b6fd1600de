"""`hub:NAME` and table files, read by a Python of lm-eval's environment: it has `datasets`.

What was fetched is kept in the cache (`texts/NAME.jsonl`), so that the hub is asked once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from evals.errors import NeedError

TEXTS = ("c4", "c4-train", "wikitext2")
LIMIT_S = 1800
"""C4's first file has 40 MB."""
PROGRAM = Path(__file__).with_name("fetch.py")
_INSTALL = "`harness engines install lm-eval` installs what reads them"


def fetch(name: str, python: Path | None) -> bytes:
    """Return a text of `TEXTS` as JSON lines of documents, from the cache or the hub.

    Raises:
        NeedError: it is not in the cache, and the hub or the package that asks it is not there.
    """
    path = kept(name)
    if path.is_file():
        return path.read_bytes()
    instead = (
        "; give the path of your own copy as the suite's text: .txt, .jsonl, or .parquet or .arrow "
        "as downloaded"
    )
    data = _read(name, python, f"hub:{name} cannot be fetched", instead)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
    return data


def kept(name: str) -> Path:
    """Where a text of `TEXTS` lies once it was fetched."""
    return _cache() / "texts" / f"{name}.jsonl"


def read_table(path: Path, python: Path | None) -> bytes:
    """Return a table's documents as JSON lines.

    Raises:
        NeedError: there is no Python with the package that reads it, or it is no such file.
    """
    return _read(str(path), python, f"{path} cannot be read", "")


def _read(what: str, python: Path | None, failed: str, instead: str) -> bytes:
    argv = [str(python or sys.executable), "-P", str(PROGRAM), what]
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(
            argv, env=environment, capture_output=True, timeout=LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NeedError(f"{failed}: {error}{instead}") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"exit code {done.returncode}"
        missing = f"; {_INSTALL}" if "No module named" in why else ""
        raise NeedError(f"{failed}: {why}{missing}{instead}")
    return done.stdout


def _cache() -> Path:
    if folder := os.environ.get("HARNESS_CACHE"):
        return Path(folder)
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "serving-load-harness"
