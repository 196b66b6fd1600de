"""Recompute every number of a run from its files, by docs/method.md and by nothing else.

python -I tests/method RUN…: tells, for each run folder, how many leaves of its measurements.json,
evaluation.json or comparison.json were recomputed, and ends with 1 if one was not, or differs.
Nothing of the package can be imported.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = ("harness", "launchers", "loadprofiles", "evals")


class Refuse:
    """An importer that lets nothing of the package in."""

    @staticmethod
    def find_spec(name: str, *_: object) -> None:
        if name.partition(".")[0] in PACKAGE:
            raise ImportError(f"{name} is what is being recomputed")


FILES = {
    "measurements.json": "load",
    "evaluation.json": "evaluation",
    "comparison.json": "comparison",
}
"""What a kind of run keeps its numbers in, and the module that recomputes it."""
RELATIVE = {"measurements.json": 1e-9, "evaluation.json": 1e-6, "comparison.json": 1e-6}
"""Ends of score intervals are where an iteration to 1e-9 stops."""


def main(folders: Sequence[str]) -> int:
    from walk import Tally, walk

    bad = False
    for folder in map(Path, folders):
        name = next((name for name in FILES if (folder / name).exists()), None)
        if name is None:
            sys.exit(f"{folder} has none of {', '.join(FILES)}")
        kept = json.loads((folder / name).read_text())
        tally = Tally(RELATIVE[name])
        walk(kept, import_module(FILES[name]).recomputed(folder), tally)
        told = {
            "run": folder.name,
            "file": name,
            "leaves": tally.leaves,
            "recomputed": tally.recomputed,
            "copied": tally.copied,
            "prose": tally.prose,
            "wrong": tally.wrong,
        }
        sys.stdout.write(json.dumps(told) + "\n")
        bad = bad or bool(tally.wrong)
    return int(bad)


if __name__ == "__main__":
    sys.meta_path.insert(0, Refuse())
    code = main(sys.argv[1:])
    assert not {name.partition(".")[0] for name in sys.modules} & set(PACKAGE)
    sys.exit(code)
