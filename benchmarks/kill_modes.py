"""The commands that kill_resume.py kills, and the folder that they run in."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
TOKENIZER: Final = ROOT / "launchers/models/demo-fp16"
ITEMS: Final = 60
BUILDS: Final = {
    "fast": ("--ttft-ms=5", "--itl-ms=2"),
    "slow": ("--ttft-ms=5", "--itl-ms=5"),
    "four": ("--ttft-ms=40", "--itl-ms=20", "--slots=4"),
}
WRAPPER = """
import os, sys
at = sys.argv.index("--model")  # before it the mock's own options, after it what vLLM is told
port = next(word for word in sys.argv[at:] if word.startswith("--port="))
os.execv(sys.executable, [sys.executable, "-m", "launchers.mock", port, *sys.argv[1:at]])
"""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One command, and where what it measures lies in the folder of its run."""

    argv: tuple[str, ...]
    numbers: str
    """The file with its numbers and caveats."""
    load: str | None = None
    """The part with cells."""
    quality: str | None = None
    """The part with answers."""
    codes: tuple[int, ...] = (0, 4)
    """Exit codes of one that went to its end; 4 where a busy machine made the client late."""

    @property
    def swept(self) -> bool:
        """Whether levels are found as it goes, so that two runs may differ in them."""
        return "--sweep" in self.argv


_CELL = ("--warmup", "2", "--output-tokens", "6", "--prompt-tokens", "16", "--seed", "7")
MODES: Final = {
    "compare": Mode(
        argv=(
            *("compare", "fast", "slow", "--suite", "quiz.toml", "--allow-different"),
            *("--requests", "20", *_CELL),
        ),
        numbers="comparison.json",
        load="load",
        quality="quality",
    ),
    "load": Mode(
        argv=(
            *("load", "--server", "fast,slow", "--profile", "closed", "--level", "1,2"),
            *("--requests", "20", *_CELL),
        ),
        numbers="measurements.json",
        load=".",
    ),
    "sweep": Mode(
        argv=(
            *("load", "--server", "four", "--profile", "closed", "--sweep", "--max-levels", "5"),
            *("--duration", "1", *_CELL),
        ),
        numbers="measurements.json",
        load=".",
    ),
    "eval": Mode(
        argv=(
            *("eval", "--server", "slow", "--baseline", "fast", "--suite", "quiz.toml,prose.toml"),
            *("--concurrency", "2", "--tokenizer", str(TOKENIZER)),
        ),
        numbers="evaluation.json",
        quality=".",
        codes=(0,),
    ),
}


def prepare(place: Path) -> None:
    """Write three builds, of which one answers four at a time, and two suites into a folder."""
    rows = [
        {"id": f"q{n}", "input": f"Case {n}?", "expected": "yes" if n % 2 else "no"}
        for n in range(ITEMS)
    ]
    facts = [
        {"prompt": row["input"], "answer": f" {row['expected']}\n", "wrong": " maybe\n"}
        for row in rows
    ]
    for name, lines in (("items.jsonl", rows), ("facts.jsonl", facts)):
        (place / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (place / "quiz.toml").write_text(
        'name = "quiz"\n[domain]\nitems = "items.jsonl"\nmax_tokens = 8\nstop = ["\\n"]\n'
        '[domain.grader]\nkind = "exact"\n'
    )
    (place / "prose.txt").write_text(" ".join(f"House {n} has {n % 7} doors." for n in range(300)))
    (place / "prose.toml").write_text(
        'name = "prose"\n[perplexity]\ntext = "prose.txt"\nwindow = 128\nstride = 64\n'
    )
    (place / "mock").mkdir()
    (place / "mock/config.json").write_text("{}")
    (place / "server.py").write_text(WRAPPER)
    toml = ""
    for build, timing in BUILDS.items():
        options = ["--engine=vllm", f"--tokenizer={TOKENIZER}", f"--knows={place / 'facts.jsonl'}"]
        command = json.dumps([sys.executable, str(place / "server.py"), *options, *timing])
        toml += f'[builds.{build}]\nmodel = "mock"\ndevice = "cpu"\ncommand = {command}\n'
    (place / "harness.toml").write_text(toml)
