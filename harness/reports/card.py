"""A capability card for people."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.reports.figures import plain

if TYPE_CHECKING:
    from evals.probe.card import Bos, Card

_WIDTH: Final = 100
_WORDS: Final = {
    "stream": "streams the same text",
    "usage": "counts tokens",
    "token_id_prompts": "takes token ids as they are",
    "echo_logprobs": "scores prompts (echo)",
    "next_logprobs": "scores the next token by id",
    "native_logprobs": "scores prompts (own page)",
    "top_logprobs": "names the likeliest tokens by id",
    "label_logprobs": "names the likeliest first tokens",
    "writes": "writes as asked",
    "pin_output_length": "pins the output length",
    "batch_order": "scores alike in batches",
    "concurrency": "scores alike under concurrency",
    "stop": "ends at a stop string",
}


def card_text(card: Card) -> str:
    """Return the card as plain text."""
    console = Console(file=io.StringIO(), width=_WIDTH, highlight=False, markup=False)
    version = f" {card.engine_version}" if card.engine_version else ""
    console.print(Text(plain(f"{card.engine}{version} at {card.base_url}, model {card.model}")))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in _facts(card):
        table.add_row(name, Text(plain(value)))
    for name, proved in msgspec.structs.asdict(card.capabilities).items():
        table.add_row(_WORDS[name], "proved" if proved else "not proved")
    console.print(table)
    for caveat in card.caveats:
        mark = "INVALID" if caveat.invalidates else "caveat"
        console.print(Text(plain(f"{mark} {caveat.code}: {caveat.text}")))
    if card.route is None:
        console.print("Nothing can be graded there: no route was proved.")
    else:
        console.print(f"Grades by: {', '.join(card.routes)} (the best first)")
    assert isinstance(console.file, io.StringIO)  # noqa: S101 - for the types
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _facts(card: Card) -> list[tuple[str, str]]:
    length = card.context_length
    difference = card.score_difference_nats
    told = ", ".join(f"{key} {value}" for key, value in card.sampling_defaults.items())
    return [
        ("models", ", ".join(card.models) or "not told"),
        ("context", "not told" if length is None else f"{length:,} tokens"),
        ("sampling defaults", told or "not told"),
        ("tokenizer", {"folder": "from the folder", "server": "the server's /tokenize",
                       "answer": "ids told with answers"}.get(card.tokens_from or "", "unknown")),
        ("BOS", _bos(card.bos)),
        ("scores differ by", "not scored" if difference is None else f"{difference:.3g} nats"),
        *([("read alike by", card.second_reader)] if card.second_reader else []),
        ("requests", str(card.requests)),
    ]  # fmt: skip


def _bos(bos: Bos) -> str:
    if bos.agrees is None:
        return "not known"
    rule = f"tokenizer adds {'one' if bos.tokenizer_adds else 'none'} to a text"
    agreement = "as the tokenizer" if bos.agrees else "UNLIKE the tokenizer"
    return f"{rule}; the server adds {bos.text} to texts, {bos.ids} to ids: {agreement}"
