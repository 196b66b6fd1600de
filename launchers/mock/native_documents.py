"""Whole answers at engines' own pages: SGLang's and TGI's `/generate`, llama.cpp's `/completion`.

Shapes: sglang `srt/managers/tokenizer_manager.py` (meta_info), text-generation-inference
`router/src/lib.rs` (Details), llama.cpp `tools/server/server-task.cpp` (completion_probabilities).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launchers.mock.asking import Question, QuestionError, read_prompts, read_stop
from launchers.mock.tgi import check

if TYPE_CHECKING:
    from launchers.mock.asking import Choice, Place, Told
    from launchers.mock.tokens import Tokens

_LLAMA_TOKENS = 16
_TGI_TOKENS = 100
_SGLANG_TOKENS = 128


def read_sglang(body: dict[str, Any], tokens: Tokens) -> Question:
    """Read SGLang's `/generate`.

    Raises:
        QuestionError: a server would refuse it.
    """
    asked = body.get("text") if body.get("input_ids") is None else body["input_ids"]
    settings = body.get("sampling_params") or {}
    wants = body.get("return_logprob") is True
    start = body.get("logprob_start_len")
    return Question(
        prompts=read_prompts(asked, tokens, special=True),
        echo=wants and start is not None and start >= 0,
        logprobs=(body.get("top_logprobs_num") or 0) if wants else None,
        **_settings(settings, "max_new_tokens", _SGLANG_TOKENS, "stop"),
    )


def read_tgi(body: dict[str, Any], tokens: Tokens) -> Question:
    """Read TGI's `/generate`, which takes one text.

    Raises:
        QuestionError: a server would refuse it.
    """
    settings = body.get("parameters") or {}
    if not isinstance(body["inputs"], str):
        raise QuestionError("inputs: expected a string")
    check(settings)
    details = settings.get("details") is True or settings.get("decoder_input_details") is True
    settings = {**settings, "ignore_eos": False}
    if not settings.get("do_sample"):
        settings["temperature"] = 0.0
    return Question(
        prompts=read_prompts(body["inputs"], tokens, special=True),
        echo=settings.get("decoder_input_details") is True,
        logprobs=(settings.get("top_n_tokens") or 0) if details else None,
        **_settings(settings, "max_new_tokens", _TGI_TOKENS, "stop"),
    )


def read_llamacpp(body: dict[str, Any], tokens: Tokens) -> Question:
    """Read llama.cpp's `/completion`, which scores nothing but what it writes.

    Raises:
        QuestionError: a server would refuse it.
    """
    count = body.get("n_probs") or 0
    return Question(
        prompts=read_prompts(body.get("prompt", ""), tokens, special=True),
        logprobs=count or None,
        **_settings(body, "n_predict", _LLAMA_TOKENS, "stop"),
    )


def _settings(given: dict[str, Any], most: str, default: int, stop: str) -> dict[str, Any]:
    count, temperature = given.get(most), given.get("temperature")
    penalty = given.get("repetition_penalty", given.get("repeat_penalty"))
    return {
        "max_tokens": default if count is None else count,
        "stop": read_stop(given.get(stop)),
        "ignore_eos": given.get("ignore_eos") is True,
        "temperature": 1.0 if temperature is None else float(temperature),
        "repetition_penalty": penalty,
        "presence_penalty": float(given.get("presence_penalty") or 0),
        "frequency_penalty": float(given.get("frequency_penalty") or 0),
    }


def write_sglang(told: Told, tokens: Tokens, request_id: str) -> Any:  # noqa: ANN401 - JSON
    """Return one object, or a list where a list was sent."""
    found = [_sglang(choice, told, tokens, request_id) for choice in told.choices]
    asked = told.body.get("input_ids") or told.body.get("text")
    several = isinstance(asked, list) and isinstance(asked[0], list | str)
    return found if several else found[0]


def _sglang(choice: Choice, told: Told, tokens: Tokens, request_id: str) -> dict[str, Any]:
    reason: dict[str, Any] = {"type": choice.finish}
    if choice.finish == "length":
        reason["length"] = told.question.max_tokens
    else:
        reason["matched"] = choice.stop_reason or tokens.eos
    meta = {
        "id": request_id, "finish_reason": reason, "prompt_tokens": len(choice.prompt.ids),
        "weight_version": "default", "num_retractions": 0, "reasoning_tokens": 0,
    }  # fmt: skip
    if choice.wants_logprobs:
        scored = choice.scored or []
        count = told.question.logprobs or 0
        meta["input_token_logprobs"] = [_triple(*place[:2], tokens) for place in scored]
        meta["output_token_logprobs"] = [_triple(*place[:2], tokens) for place in choice.written]
        if count:
            meta["input_top_logprobs"] = [_triples(place, count, tokens) for place in scored]
            meta["output_top_logprobs"] = [
                _triples(place, count, tokens) for place in choice.written
            ]
    meta |= {"completion_tokens": len(choice.written), "cached_tokens": 0, "e2e_latency": 0.001}
    ids = [place.number for place in choice.written]
    return {"text": choice.text, "output_ids": ids, "meta_info": meta}


def _triple(number: int, logprob: float | None, tokens: Tokens) -> list[Any]:  # noqa: ARG001
    return [logprob, number, None]


def _triples(place: Place, count: int, tokens: Tokens) -> list[list[Any]] | None:
    if place.logprob is None:
        return None
    return [_triple(number, logprob, tokens) for number, logprob in place.top[:count]]


def write_tgi(told: Told, tokens: Tokens, request_id: str) -> dict[str, Any]:  # noqa: ARG001
    """Return TGI's document; `prefill` has the prompt's tokens."""
    (choice,) = told.choices
    text = f"{choice.text}{choice.stop_reason or ''}"
    if not choice.wants_logprobs:
        return {"generated_text": text}
    reason = choice.finish
    if reason == "stop":
        reason = "stop_sequence" if choice.stop_reason else "eos_token"
    count = told.question.logprobs or 0
    details = {
        "finish_reason": reason, "generated_tokens": len(choice.written), "seed": None,
        "prefill": [
            {"id": place.number, "text": tokens.token(place.number), "logprob": place.logprob}
            for place in choice.scored or ()
        ],
        "tokens": [_tgi_token(place.number, place.logprob, tokens) for place in choice.written],
    }  # fmt: skip
    if count:
        details["top_tokens"] = [
            [_tgi_token(*found, tokens) for found in place.top[:count]] for place in choice.written
        ]
    return {"generated_text": text, "details": details}


def _tgi_token(number: int, logprob: float | None, tokens: Tokens) -> dict[str, Any]:
    special = number in {tokens.bos, tokens.eos}
    text = tokens.token(number)
    return {"id": number, "text": text, "logprob": logprob, "special": special}


def write_llamacpp(told: Told, tokens: Tokens, request_id: str) -> Any:  # noqa: ANN401, ARG001
    """Return one object, or a list where several prompts were sent."""
    found = [_llamacpp(choice, told, tokens) for choice in told.choices]
    return found[0] if len(found) == 1 else found


def _llamacpp(choice: Choice, told: Told, tokens: Tokens) -> dict[str, Any]:
    made, taken, count = len(choice.written), len(choice.prompt.ids), told.question.logprobs or 0
    stop_type = "limit"
    if choice.finish == "stop":
        stop_type = "word" if choice.stop_reason else "eos"
    return_tokens = told.body.get("return_tokens") is True
    document: dict[str, Any] = {
        "index": choice.index, "content": choice.text,
        "tokens": [place.number for place in choice.written] if return_tokens else [],
        "id_slot": 0, "stop": True, "model": told.model, "tokens_predicted": made,
        "tokens_evaluated": taken, "has_new_line": False, "truncated": False,
        "stop_type": stop_type, "stopping_word": choice.stop_reason or "",
        "tokens_cached": taken + made, "timings": {"prompt_n": taken, "predicted_n": made},
    }  # fmt: skip
    if choice.wants_logprobs:
        document["completion_probabilities"] = [
            _llama_token(place.number, place.logprob, tokens)
            | {"top_logprobs": [_llama_token(*found, tokens) for found in place.top[:count]]}
            for place in choice.written
        ]
    return document


def _llama_token(number: int, logprob: float | None, tokens: Tokens) -> dict[str, Any]:
    text = tokens.token(number)
    return {"id": number, "token": text, "bytes": list(text.encode()), "logprob": logprob}
