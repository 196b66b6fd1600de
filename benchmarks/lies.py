"""Who catches which lie: `python benchmarks/lies.py` asks a mock that lies in each way.

A case is a lie and a way of grading. It is caught where the probe refuses the route or has a caveat
that names the lie (`NAMES`), where the strict client returns a Failure, or where the canary sings
otherwise at the end. It is declared where the card says of every server of that kind, honest ones
too, that it cannot exclude this lie. It is harmless where every answer equals the truth, which is
computed from the mock's language model itself and not from a server. Whatever is none of these is a
silent wrong score.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from benchmarks.lies_graded import (
    CONTEXT_LENGTH,
    ROOT,
    TOKENIZER,
    Outcome,
    chat,
    foresee,
    label,
    score,
    score_bare,
    score_top,
    write,
    write_stop,
)
from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.errors import RouteError
from evals.probe import probe
from evals.probe.canary import sing_again
from evals.probe.routes import choose_route
from launchers.mock.lies import LIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from evals.records import Route

COMBINED = (
    "add_bos+no_ids", "double_bos+no_ids", "retokenize+no_ids", "truncate_left+no_ids",
    "reorder+no_ids", "shift+no_ids", "other_model_silent+no_ids", "add_bos+no_ids+no_usage",
    "double_bos+no_ids+no_usage", "text_bos+no_ids+no_usage", "no_text_bos+no_ids+no_usage",
    "truncate_left+no_ids+no_usage", "retokenize+no_ids+no_usage", "reorder+no_ids+no_usage",
    "truncate_answers+no_usage", "drift:5", "drift:40", "drift:90",
)  # fmt: skip
"""Lies that hide their traces, and drift at other moments."""
_IDS = frozenset({"token_ids", "wrong_length", "wrong_ids", "bos", "uncounted"})
_VALUES = frozenset({"known_answer", "contradiction", "not_normalised"})
_UNSTEADY = frozenset({"batch_order", "concurrency", "not_repeatable", "drift", "answers_vary"})
NAMES: dict[str, frozenset[str]] = {
    "no_echo": frozenset({"wrong_length", "no_logprobs"}),
    "echo_no_logprobs": frozenset({"no_logprobs"}),
    **dict.fromkeys(("add_bos", "double_bos", "retokenize", "truncate_left"), _IDS),
    **dict.fromkeys(("text_bos", "no_text_bos"), frozenset({"bos", "uncounted"})),
    "truncate_answers": frozenset({"answers_cut", "uncounted"}),
    "ignore_stop": frozenset({"stop_ignored"}),
    "penalty": frozenset({"sampling_defaults", "known_answer", "unverified_writing"}),
    "penalty_always": frozenset({"known_answer", "unverified_writing"}),
    "shift": _VALUES | {"shifted"},
    "clamp": frozenset({"clamped"}),
    "positive": frozenset({"positive", "not_normalised"}),
    "nan": frozenset({"malformed", "non_finite"}),
    "null_twice": frozenset({"null_position", "no_logprobs"}),
    **dict.fromkeys(("named_renormalised", "named_moved"), _VALUES),
    "reorder": frozenset({"wrong_length", "wrong_ids", "batch_order"}),
    **dict.fromkeys(("duplicate_index", "drop_choice"), frozenset({"missing_choice", "order"})),
    "wrong_usage": _IDS,
    "no_usage": frozenset({"uncounted"}),
    "empty_text": frozenset({"empty_text", "empty"}),
    "none_content": frozenset({"malformed", "empty"}),
    "other_model": frozenset({"wrong_model"}),
    "other_model_silent": _VALUES,
    "drift": _UNSTEADY | _VALUES | {"stream"},
    **dict.fromkeys(
        ("cache_dependent", "order_dependent", "batch_dependent", "concurrency_dependent"),
        _UNSTEADY | _VALUES,
    ),
}
"""Lie → codes of caveats and failures that name it. `no_ids` alone is no lie: nothing is wrong."""


@dataclass(frozen=True)
class Found:
    """How one case went."""

    lie: str
    engine: str
    kind: str
    caught_by: str
    """Who, and by which codes; empty where nobody did."""
    wrong: int
    """Answers that were believed and differ from the truth."""
    answers: int

    declared: bool = False
    """Whether the card says of each such server that this lie cannot be excluded."""

    @property
    def verdict(self) -> str:
        """What that means."""
        if self.caught_by:
            return "caught"
        if not self.wrong:
            return "harmless"
        return "declared" if self.declared else "SILENT"


@contextlib.contextmanager
def mock(*options: str) -> Iterator[str]:
    """Run a mock; yields its URL."""
    command = [
        sys.executable, "-m", "launchers.mock", "--tokenizer", str(TOKENIZER), "--itl-ms", "0",
        "--ttft-ms", "2", "--max-model-len", str(CONTEXT_LENGTH), *options,
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


KINDS: dict[str, tuple[Callable[[Client, int], Awaitable[list[Outcome]]], tuple[Route, ...]]] = {
    "score": (score, ("echo", "native")),
    "score_top": (score_top, ("echo", "native")),
    "score_bare": (score_bare, ("echo",)),
    "foresee": (foresee, ("next",)),
    "label": (label, ("label",)),
    "write": (write, ("generative",)),
    "write_stop": (write_stop, ("generative",)),
    "chat": (chat, ("generative",)),
}
"""Way of grading → what it does, and its routes."""
WRITTEN = ("write", "write_stop", "chat")
ENGINES: dict[str, tuple[str, ...]] = {
    "any": tuple(KINDS), "sglang": ("score", "score_top"), "tgi": ("score", *WRITTEN),
    "llama.cpp": ("label", *WRITTEN), "transformers": WRITTEN,
}  # fmt: skip
"""Whose pages → what is graded there; SGLang's and TGI's scores are asked at their own pages."""


# --- a server -----------------------------------------------------------------------------------


async def _judge(lie: str, engine: str, url: str, seed: int, expected: set[str]) -> list[Found]:
    endpoint = Endpoint(
        base_url=url, model="mock", tokenizer=str(TOKENIZER), concurrency=4, timeout_s=10
    )
    card = await probe(endpoint)
    known = msgspec.structs.replace(endpoint, engine=card.engine, max_model_len=card.context_length)
    told = {caveat.code for caveat in card.caveats}
    codes = told - expected
    names = frozenset[str]().union(
        *(NAMES.get(one.partition(":")[0], ()) for one in lie.split("+"))
    )
    found = []
    for kind in ENGINES[engine]:
        work, routes = KINDS[kind]
        scores = "native" in routes and engine in {"sglang", "tgi"}
        demanded: Route | None = "native" if scores else None
        try:
            route = choose_route(card, routes, demanded)
        except RouteError:
            caught = f"probe refuses: {_words(codes)}"
            found.append(Found(lie, engine, kind, caught, 0, 0))
            continue
        async with Client(known, route if route in {"echo", "native"} else "echo") as client:
            outcomes = await work(client, seed)
        failed = {code for code, _ in outcomes if code}
        wrong = sum(not code and not good for code, good in outcomes)
        caught = ""
        if names & codes:
            caught = f"probe flags: {_words(names & codes)}"
        elif failed and not wrong:
            caught = f"client: {_words(failed)}"
        declared = bool(names & told & expected)
        found.append(Found(lie, engine, kind, caught, wrong, len(outcomes), declared))
    changed = {caveat.code for caveat in await sing_again(known, card)}
    canary = f"canary: {_words(changed)}" if changed else ""
    return [replace(one, caught_by=one.caught_by or canary) for one in found]


def _words(codes: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(codes)) or "unnamed"


@cache
def codes_of_honest(engine: str) -> frozenset[str]:
    """Return the codes of caveats that an honest server of that engine has."""
    with mock("--engine", engine) as url:
        card = asyncio.run(probe(Endpoint(base_url=url, model="mock", tokenizer=str(TOKENIZER))))
    return frozenset(caveat.code for caveat in card.caveats)


def judge(lie: str, engine: str = "any", seed: int = 0) -> list[Found]:
    """Probe and grade a server that lies in one way, or in several joined by "+"; "honest" in none.

    Args:
        lie: the mock's names.
        engine: whose pages it has.
        seed: of its model.
    """
    options = [] if lie == "honest" else [f"--lie={name}" for name in lie.split("+")]
    expected = set(codes_of_honest(engine))
    with mock("--engine", engine, "--seed", str(seed), *options) as url:
        return asyncio.run(_judge(lie, engine, url, seed, expected))


def main() -> int:
    """Print the table; the exit status is 1 if there was a silent wrong score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lie", action="append", help="only these")
    parser.add_argument("--engine", choices=ENGINES, action="append")
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    for engine in asked.engine or ENGINES:
        for lie in asked.lie or ("honest", *LIES, *COMBINED):
            for found in judge(lie, engine):
                counts[found.verdict] += 1
                wrong = f"{found.wrong}/{found.answers} wrong" if found.wrong else ""
                print(
                    f"{found.lie:34} {engine:9} {found.kind:10} {found.verdict:8} "
                    f"{found.caught_by} {wrong}",
                    flush=True,
                )
    print(f"\n{dict(counts)}")
    return bool(counts["SILENT"])


if __name__ == "__main__":
    sys.exit(main())
