"""The mock as a program of its own: prints its URL, serves until killed."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from launchers.mock.engines import ENGINES
from launchers.mock.options import (
    Options,
    OptionsError,
    parse_fault,
    parse_lie,
    parse_page_lie,
    parse_race,
    parse_share,
)
from launchers.mock.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def _read(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make argparse tell what is wrong in our words."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except OptionsError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m launchers.mock", description=__doc__)
    parser.add_argument("--host", default=Options.host)
    parser.add_argument("--port", type=int, default=Options.port)
    parser.add_argument("--ttft-ms", type=float, default=Options.ttft_ms)
    parser.add_argument("--itl-ms", type=float, default=Options.itl_ms)
    parser.add_argument("--jitter-ms", type=float, default=Options.jitter_ms)
    parser.add_argument("--slots", "--max-num-seqs", type=int, default=Options.slots)
    parser.add_argument("--step-ms", type=float, default=Options.step_ms)
    parser.add_argument("--step-per-answer-ms", type=float, default=Options.step_per_answer_ms)
    parser.add_argument("--tokens-per-step", type=int, default=Options.tokens_per_step)
    parser.add_argument(
        "--prefill-tokens-per-step", type=int, default=Options.prefill_tokens_per_step
    )
    parser.add_argument("--kv-tokens", type=int, default=Options.kv_tokens)
    parser.add_argument("--natural-tokens", type=int, default=Options.natural_tokens)
    parser.add_argument("--words", action="store_true")
    parser.add_argument("--stamps", action="store_true")
    parser.add_argument("--seed", type=int, default=Options.seed)
    parser.add_argument(
        "--fault",
        type=_read(parse_fault),
        action="append",
        default=[],
        dest="faults",
        metavar="NAME[:SHARE]",
    )
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="has a tokenizer.json")
    parser.add_argument("--max-model-len", type=int, default=Options.max_model_len)
    parser.add_argument("--knows", type=Path, help="JSON lines: prompt, answer, category")
    parser.add_argument("--accuracy", type=float, default=Options.accuracy)
    parser.add_argument(
        "--wrong-in",
        type=_read(partial(parse_share, what="wrong_in")),
        action="append",
        default=[],
        metavar="CATEGORY:SHARE",
    )
    parser.add_argument("--damage", type=float, default=Options.damage)
    parser.add_argument(
        "--race", type=_read(parse_race), default=Options.race, metavar="REQUESTS:SHARE"
    )
    parser.add_argument(
        "--lie",
        type=_read(parse_lie),
        action="append",
        default=[],
        dest="lies",
        metavar="NAME[:NUMBER]",
    )
    parser.add_argument(
        "--page-lie",
        type=_read(parse_page_lie),
        action="append",
        default=[],
        dest="page_lies",
        metavar="NAME[:NUMBER]",
    )
    parser.add_argument("--engine", default=Options.engine, choices=ENGINES)
    parser.add_argument("--close", action="store_true")
    parser.add_argument("--api-key", default="", help="the bearer token to insist on")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--truth", type=Path, help="write what was sent when to this file")
    parser.add_argument("--bodies", type=Path, help="write the requests' bodies to this file")
    parser.add_argument("--die-after", type=int, default=0, help="exit 3 after so many answers")
    found = vars(parser.parse_args())
    lists = {name: tuple(found[name]) for name in ("faults", "wrong_in", "lies", "page_lies")}
    return Options(**found | lists)


def _say(url: str) -> None:
    sys.stdout.write(url + "\n")
    sys.stdout.flush()


def main() -> int:
    """Serve; the exit status is 130 after Ctrl-C and 2 for options that cannot be."""
    try:
        serve(_options(), _say)
    except OptionsError as error:
        sys.stderr.write(f"mock: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
