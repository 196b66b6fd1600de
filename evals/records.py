"""What is kept of one item that was asked of one server: the currency of all of `evals`.

One line of JSON each, in `answers.jsonl`. Fields that are added later have defaults, so that old
folders stay readable. Values per token (perplexity, top-k) lie beside it in `tokens.npz`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["scored", "unparsed", "truncated", "empty", "error"]
"""scored: graded · unparsed: an answer in which the grader found nothing to grade · truncated: cut
off at the output limit before the grader found anything · empty: no text · error: no answer (HTTP,
time-out, or an answer that contradicts the request). All but `error` count as asked and answered;
whatever is neither scored nor an error has score 0 and is counted by itself."""

Route = Literal["next", "echo", "native", "label", "generative"]
"""next: one token is written, and log-probabilities of ids named beforehand come with it; takes
choices of one token, what is longer goes by echo · echo: `/v1/completions` with echo and logprobs ·
native: the engine's own page that scores a prompt · label: first-token log-probabilities of the
labels, by their text · generative: what it writes is graded. Answers by different routes are never
compared."""

ROUTES: tuple[Route, ...] = ("next", "echo", "native", "label", "generative")
"""The best first."""


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One item, asked once."""

    item: str
    """Unique within its suite."""
    task: str = ""
    """Part of the suite it belongs to, e.g. lm-eval's `mmlu`; empty where there is one."""
    category: str = ""
    cluster: str = ""
    """Items that share it are not independent (template, passage, document); empty: its own."""
    tags: dict[str, str] = {}
    """Further fields by which results are told, e.g. `hops`: a domain suite's `report_by`."""
    prompt_hash: str = ""
    """First 16 hex digits of SHA-256 of all that was sent and decides the answer: text or ids,
    choices, stop strings, output limit."""
    route: Route = "generative"
    outcome: Outcome = "scored"
    score: float = 0.0
    """0…1 for what is right or wrong; for perplexity the window's Σ −ln p in nats."""
    weight: float = 1.0
    """For perplexity the tokens scored in the window; 1 else."""
    metric: str = "accuracy"
    scores: dict[str, float] = {}
    """Further metrics of the same item, e.g. `acc_norm`."""
    prompt: str = ""
    """For the reader; cut to 4,000 characters."""
    expected: str = ""
    text: str | None = None
    """What was written, or the choice that was likeliest."""
    read: str = ""
    """What the grader took for the answer, or why there is none."""
    choice: int | None = None
    """Index of the likeliest choice."""
    loglikelihoods: list[float] = []
    """Of the choices, in nats."""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    sent_ns: int = 0
    """CLOCK_MONOTONIC."""
    latency_ms: float = 0.0
    """From sending the request to the end of its answer; requests that carry several items count
    for each of them."""
    error: str | None = None
    """`code: text` where the outcome is an error."""
    attempts: int = 1


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why one request, or one item of it, has no answer."""

    code: str
    """No answer: "connect", "timeout", "status" (HTTP), "redirect". Not sent: "empty", "too_long".
    An answer that is not believed: "malformed", "wrong_model", "wrong_length", "wrong_ids",
    "missing_choice", "order", "no_logprobs", "null_position", "clamped", "non_finite",
    "positive", "contradiction", "stop_ignored", "answers_cut"."""
    text: str
    attempts: int = 1


class Scored(msgspec.Struct, kw_only=True):
    """A prompt that the server scored: one value a token, in the prompt's order."""

    token_ids: list[int]
    """As sent; proved equal to what was echoed, where the server tells ids."""
    logprobs: list[float]
    """ln p(token i | tokens before it); NaN at place 0, which nothing precedes."""
    greedy: list[bool]
    """Whether the token was the likeliest at its place; False at place 0, and everywhere where the
    server does not say (TGI) or was not asked to."""
    top_ids: list[list[int]] = []
    """The likeliest tokens at each place, the best first, where asked for and told by id."""
    top_logprobs: list[list[float]] = []
    latency_ms: float = 0.0
    sent_ns: int = 0
    attempts: int = 1


class Foreseen(msgspec.Struct, kw_only=True):
    """What the server says of the token after a prompt."""

    logprobs: dict[int, float]
    """Token id → ln p(token | prompt), of every id that was asked about."""
    likeliest: float
    """ln p of the token that was written, greedily."""
    latency_ms: float = 0.0
    sent_ns: int = 0
    attempts: int = 1


class Completion(msgspec.Struct, kw_only=True):
    """An answer that was written."""

    text: str
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    top: list[dict[str, float]] = []
    """Of each token written, where asked for: text of the likeliest tokens → ln p."""
    latency_ms: float = 0.0
    sent_ns: int = 0
    attempts: int = 1
