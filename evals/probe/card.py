"""The capability card: what an endpoint is, and what its answers proved it able to do."""

from __future__ import annotations

from typing import Any

import msgspec

from evals.records import Route  # noqa: TC001 - the card's schema needs it


class Caveat(msgspec.Struct, frozen=True, kw_only=True):
    """What to know before grading there."""

    code: str
    text: str
    invalidates: bool = False
    """Whether what was graded must not be believed."""


class Capabilities(msgspec.Struct, kw_only=True):
    """Each is true only if an answer proved it."""

    stream: bool = False
    """A streamed answer has the same text as an unstreamed one."""
    usage: bool = False
    """Tokens of prompt and answer are counted, and rightly where that can be known."""
    token_id_prompts: bool = False
    """Ids are taken as they are: none is added, cut off or made anew."""
    echo_logprobs: bool = False
    """Prompts are scored at `/v1/completions`, and all checks of the scores were passed."""
    next_logprobs: bool = False
    """With one written token comes ln p of ids named beforehand, and is
    the echo's."""
    native_logprobs: bool = False
    """The same at the engine's own page."""
    top_logprobs: bool = False
    """The likeliest tokens at each place of a prompt are named by id."""
    label_logprobs: bool = False
    """The likeliest first tokens of an answer are named, and are consistent with what it wrote."""
    writes: bool = False
    """Answers are written, keep to their limit and are not cut off before it."""
    pin_output_length: bool = False
    """`ignore_eos` goes on where an answer would have ended."""
    batch_order: bool = False
    """Prompts of one request get their own scores, whatever their order."""
    concurrency: bool = False
    """Scores are the same while other requests are under way."""
    stop: bool = False
    """A stop string ends the answer before it, with finish_reason "stop"."""


class Bos(msgspec.Struct, kw_only=True):
    """Who puts a BOS token where. None: not known."""

    token_id: int | None = None
    tokenizer_adds: bool | None = None
    """By the tokenizer's own rule for a text."""
    text: int | None = None
    """BOS tokens that the server puts in front of a text prompt."""
    ids: int | None = None
    """BOS tokens that it adds to ids."""
    agrees: bool | None = None
    """Whether the server keeps to the tokenizer's rule for texts, and adds nothing to ids."""


class Canary(msgspec.Struct, kw_only=True):
    """Answers to a few fixed prompts, to be had again later: other ones mean another server."""

    prompts: list[list[int]] = []
    logprobs: list[list[float]] = []
    """Of each prompt's tokens from place 1 on, by the card's scoring route; empty without one."""
    texts: list[str] = []
    """Fixed texts."""
    written: list[str | None] = []
    """What was written after each, greedily; null where nothing came."""


class Card(msgspec.Struct, kw_only=True):
    """`harness probe --json`, and `probes/<build>.json` of an evaluation."""

    schema: int = 1
    base_url: str = ""
    build: str = "url"
    engine: str
    engine_version: str | None = None
    models: list[str] = []
    model: str
    context_length: int | None = None
    sampling_defaults: dict[str, Any] = {}
    """What the server says of them, where it has a page that does."""
    tokens_from: str | None = None
    """Whose tokenizer the prompts' ids are of: "folder", "server" (`/tokenize`), "answer" (told
    with an answer), or null: nobody's, so that nothing could be scored."""
    capabilities: Capabilities
    bos: Bos
    route: Route | None = None
    """The best that was proved."""
    routes: list[Route] = []
    """All that were proved, the best first."""
    tells_ids: bool = False
    """Whether answers name the ids that were scored, so that each one can be compared."""
    score_difference_nats: float | None = None
    """Largest difference of a token's ln p between asking alone, again, in a batch, in another
    order, and at concurrency."""
    knows_arithmetic: bool | None = None
    """Whether "2 + 2 = 4" scores above "2 + 2 = 9": a hint only, small models may not know it."""
    second_reader: str | None = None
    """Of a TGI: the client that read its pages as ours does, e.g. "text-generation 0.7.0"."""
    requests: int = 0
    """Sent by the probe."""
    canary: Canary = msgspec.field(default_factory=Canary)
    caveats: list[Caveat] = []
