"""Whether this Python makes the same plans as any other: digests of plans, byte for byte.

    python benchmarks/plan_digests.py            # print the digests, JSON
    python benchmarks/plan_digests.py --check    # hold them against the kept ones

Plans of every built-in profile (bodies.jsonl and plan.json), the order of a comparison's visits,
items of the transaction suite and random subsets. The kept ones (tests/loadprofiles/golden/
plans.json) were made by Python 3.11 with constraints.txt. Needs of third parties only numpy, scipy,
msgspec, pydantic and tokenizers, so that a bare environment of another Python can run it:

    python3.13 -m venv /tmp/py313
    /tmp/py313/bin/pip install -c constraints.txt numpy scipy msgspec pydantic tokenizers
    /tmp/py313/bin/python benchmarks/plan_digests.py --check
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from evals.lmeval.subset import draw  # noqa: E402
from evals.transactions import generate  # noqa: E402
from harness.load.matrix import Cell  # noqa: E402
from harness.load.order import visits  # noqa: E402
from loadprofiles.plan import Target, make_plan  # noqa: E402
from loadprofiles.profile import Overrides, Profile  # noqa: E402

KEPT = ROOT / "tests/loadprofiles/golden/plans.json"
TOKENIZER = ROOT / "launchers/models/demo-fp16"
WAYS = (
    ("openai-completions", 1, 0, None),
    ("openai-chat", 2, 2**40 + 7, TOKENIZER),
)
"""Dialect, repeat, seed, and whether prompts are counted in tokens."""
REQUESTS = 150


def plans() -> dict[str, str]:
    """Return name → SHA-256 of what a cell's folder holds before it is driven."""
    found = {}
    for path in sorted((ROOT / "loadprofiles/profiles").glob("*.toml")):
        shape = Profile.model_validate(tomllib.loads(path.read_text())).beside(path.parent)
        if shape.arrival.kind != "trace":
            shape = shape.with_overrides(Overrides(requests=REQUESTS))
        for dialect, repeat, seed, tokenizer in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                make_plan(
                    Path(folder),
                    profile=shape,
                    level=shape.levels[0],
                    repeat=repeat,
                    seed=seed,
                    target=Target(host="127.0.0.1", port=8000, path="/v1", model="demo"),
                    dialect=dialect,
                    tokenizer=tokenizer,
                )
                digest = hashlib.sha256()
                for file in sorted(Path(folder).iterdir()):
                    plan = file.read_bytes().replace(os.fsencode(ROOT), b"")  # the trace's path
                    digest.update(file.name.encode() + b"\0" + plan)
            found[f"{path.stem}, {dialect}"] = digest.hexdigest()
    return found


def others() -> dict[str, str]:
    """Return name → SHA-256 of what else is drawn."""
    cells = [
        Cell(build=build, profile="closed", level=level, repeat=repeat, closed=True)
        for build in ("a", "b", "c")
        for level in (1.0, 2.0, 8.0, 32.0)
        for repeat in (1, 2, 3)
    ]
    drawn = {
        "visits": [[cell.id for cell in one.cells] for one in visits(cells, "mirrored", 7)],
        "transactions": [[one.id, one.prompt, one.answer] for one in generate(3, 60, "eval")],
        "subset": draw({"law": 50, "art": 7, "physics": 120}, 40, 11),
    }
    return {
        name: hashlib.sha256(json.dumps(value).encode()).hexdigest()
        for name, value in drawn.items()
    }


def main() -> None:
    """Print the digests, or hold them against the kept ones."""
    found = plans() | others()
    if "--check" not in sys.argv[1:]:
        print(json.dumps(found, indent=2))
        return
    kept = json.loads(KEPT.read_text())
    differ = sorted(name for name in {*kept, *found} if kept.get(name) != found.get(name))
    how = f"Python {platform.python_version()}, numpy {np.__version__}"
    print(f"{how}: {len(found) - len(differ)} of {len(kept)} plans are the kept ones")
    for name in differ:
        print(f"  {name} differs")
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
