"""Request bodies of OpenAI's API, the same at every concurrency.

Servers fill what is left unsaid from the model's `generation_config.json` (vLLM's and SGLang's
default), so every sampling field is said, at its neutral value. TGI fills in nothing, and refuses
or misreads two of the neutral values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEUTRAL: Final[dict[str, object]] = {
    "top_p": 1.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
}
"""OpenAI's own fields, which every server knows."""
_BEYOND: Final[dict[str, dict[str, object]]] = {
    "openai": {},
    "vllm": {"repetition_penalty": 1.0, "top_k": -1, "min_p": 0.0},
    "sglang": {"repetition_penalty": 1.0, "top_k": -1, "min_p": 0.0},
    "llama.cpp": {"repeat_penalty": 1.0, "top_k": 0, "min_p": 0.0, "cache_prompt": False},
    "transformers": {},
}
"""What engines know beyond OpenAI's API."""
_UNSAID: Final = frozenset({"tgi"})
"""Engines for which nothing is the neutral value. TGI 3 answers 422 to `top_p: 1`, and takes chat's
`presence_penalty: 0` for a repetition penalty of 2 (router/src/validation.rs, lib.rs)."""
_TELLS_IDS: Final = frozenset({"vllm", "mock", "unknown"})
"""Engines that are asked to tell token ids; "unknown" is most often a vLLM behind a gateway."""

_LEAVES_OUT: Final = frozenset({"vllm", "mock"})
"""Engines that tell the prompt's own tokens with `logprobs: 0`, and save the search for others."""

WRITES_STOP: Final = frozenset({"transformers"})
"""Engines whose answers hold the stop string, and what else their last token has."""

encode = msgspec.json.Encoder().encode


def sampling(engine: str, temperature: float, seed: int | None) -> dict[str, object]:
    """Return every sampling field that the engine knows."""
    fields: dict[str, object] = {"temperature": temperature}
    if engine not in _UNSAID:
        fields |= _NEUTRAL | _BEYOND.get(engine, _BEYOND["vllm"])
    return fields if seed is None else fields | {"seed": seed}


def ending(engine: str, eos: int) -> dict[str, object]:
    """Return fields that make an answer end at its first token."""
    if engine == "transformers":
        return {"generation_config": encode(_biased(eos)).decode()}
    return {"logit_bias": {str(eos): 100}}


def pinning(engine: str, tokens: int, eos: int | None) -> list[dict[str, object]]:
    """Return fields that may make an answer `tokens` long, each of them by itself.

    Against an end token that `ending` made likely, if `eos` is told.
    """
    if engine == "transformers":
        bias = {} if eos is None else _biased(eos)
        told = [{"min_new_tokens": tokens}, {"eos_token_id": -1}]
        return [{"generation_config": encode(bias | one).decode()} for one in told]
    return [{"ignore_eos": True} | ({} if eos is None else ending(engine, eos))]


def _biased(eos: int) -> dict[str, object]:
    return {"sequence_bias": [[[eos], 100.0]]}


def echo_body(model: str, engine: str, prompts: Sequence[Sequence[int]], top: int | None) -> bytes:
    """Ask for log-probabilities of prompts, and for the likeliest tokens at each place.

    Where none of them is needed (`top` is None), those engines that may leave them out do so.
    """
    ids = {"return_token_ids": True, "return_tokens_as_token_ids": True}
    return encode(
        {
            "model": model,
            "prompt": prompts,
            "max_tokens": 1,
            "echo": True,
            "logprobs": 0 if top is None and engine in _LEAVES_OUT else max(top or 0, 1),
            **sampling(engine, 0.0, None),
            **(ids if engine in _TELLS_IDS else {}),
        }
    )


def next_body(
    model: str, engine: str, prompts: Sequence[Sequence[int]], tokens: Sequence[int]
) -> bytes:
    """Ask for one token after each prompt, and for ln p of ids in its place (vLLM's field)."""
    return encode(
        {
            "model": model,
            "prompt": prompts,
            "max_tokens": 1,
            "logprobs": 0,
            "logprob_token_ids": tokens,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            **sampling(engine, 0.0, None),
        }
    )


def write_body(
    model: str, engine: str, prompt: str | Sequence[int], fields: dict[str, object]
) -> bytes:
    """Ask for text; `fields` are max_tokens, stop, temperature, seed and logprobs."""
    return encode({"model": model, "prompt": prompt, **_writing(engine, fields)})


def chat_body(
    model: str, engine: str, messages: Sequence[dict[str, str]], fields: dict[str, object]
) -> bytes:
    """Ask for a message; `fields` as of `write_body`."""
    return encode({"model": model, "messages": messages, **_writing(engine, fields)})


def _writing(engine: str, fields: dict[str, object]) -> dict[str, object]:
    rest = {key: value for key, value in fields.items() if key not in {"temperature", "seed"}}
    temperature, seed = fields["temperature"], fields.get("seed")
    assert isinstance(temperature, float)  # noqa: S101 - for the types
    return {**rest, **sampling(engine, temperature, seed if isinstance(seed, int) else None)}
