"""TGI's own `/generate` with `decoder_input_details`: texts only, one a request.

It needs `--enable-prefill-logprobs` at the server, and the tokenizer here: ids are decoded, and
the answer is believed only where the server made the same ids of the text. TGI names no likeliest
tokens of a prompt, so `greedy` is False everywhere.
Shapes: text-generation-inference `router/src/lib.rs`, `Details`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from evals.client.bodies import encode
from evals.client.echo import Broken, checked
from evals.errors import GARBAGE, NeedError
from evals.records import Failure, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.connection import Reply
    from evals.endpoint import Endpoint


class _Token(msgspec.Struct):
    id: int
    logprob: float | None = None


class _Details(msgspec.Struct):
    prefill: list[_Token] = []
    tokens: list[_Token] = []


class _Generated(msgspec.Struct):
    generated_text: str = ""
    details: _Details | None = None


_decode = msgspec.json.Decoder(_Generated).decode


class Tgi:
    """The scorer.

    Raises:
        NeedError: no tokenizer.
    """

    batches = False
    takes_ids = False
    names_likeliest = False

    def __init__(self, endpoint: Endpoint) -> None:
        from tokenizers import Tokenizer

        path = endpoint.tokenizer_file
        if path is None or not path.is_file():
            raise NeedError("TGI scores texts, not ids: name its tokenizer's folder, --tokenizer")
        self.url = f"{endpoint.root}/generate"
        self._tokenizer = Tokenizer.from_file(str(path))

    def body(self, prompts: Sequence[Sequence[int]], top: int | None) -> bytes:  # noqa: ARG002 - it has none
        """Return the request of one prompt."""
        (ids,) = prompts
        return encode(
            {
                "inputs": self._tokenizer.decode(list(ids), skip_special_tokens=True),
                "parameters": {
                    "max_new_tokens": 1,
                    "details": True,
                    "decoder_input_details": True,
                    "do_sample": False,
                },
            }
        )

    def read(
        self,
        reply: Reply,
        prompts: Sequence[Sequence[int]],
        top: int | None,  # noqa: ARG002
    ) -> list[Scored | Failure]:
        """Return what came back."""
        (ids,) = prompts
        try:
            return [_scored(reply, list(ids))]
        except Broken as broken:
            return [broken.failure(reply)]


def read_generated(
    body: bytes | None,
) -> tuple[list[tuple[int, float | None]], list[int], str] | None:
    """Return the prompt's ids and log-probabilities, the written ids, and the text of an answer."""
    try:
        answer = _decode(body or b"")
    except GARBAGE:
        return None
    if answer.details is None:
        return None
    prefill = [(token.id, token.logprob) for token in answer.details.prefill]
    return prefill, [token.id for token in answer.details.tokens], answer.generated_text


def _scored(reply: Reply, prompt: list[int]) -> Scored:
    try:
        answer = _decode(reply.body)
    except GARBAGE as error:
        raise Broken("malformed", f"no answer of TGI's: {error}") from error
    if answer.details is None or not answer.details.prefill:
        raise Broken(
            "no_logprobs", "no prefill in the answer: was TGI started --enable-prefill-logprobs?"
        )
    if [token.id for token in answer.details.prefill] != prompt:
        raise Broken("wrong_ids", "the server made other tokens of the text than were sent")
    return Scored(
        token_ids=prompt,
        logprobs=checked([token.logprob for token in answer.details.prefill]),
        greedy=[False] * len(prompt),
        latency_ms=reply.latency_ms,
        sent_ns=reply.sent_ns,
        attempts=reply.attempts,
    )
