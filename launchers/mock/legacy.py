"""OpenAI's completions and chat as vLLM answers them: log-probabilities, ids, echo.

Recorded from vLLM 0.32: `tests/launchers/golden/vllm-completions.json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launchers.mock.asking import Question, QuestionError, read_prompts, read_stop

if TYPE_CHECKING:
    from launchers.mock.asking import Choice, Place, Told
    from launchers.mock.tokens import Tokens

_CREATED = 1790000000
MAX_LOGPROBS = 20
MAX_NAMED = 128
_FINGERPRINT = "mock-0"


def read_completion(body: dict[str, Any], tokens: Tokens) -> Question:
    """Read a body of `/v1/completions`.

    Raises:
        QuestionError: a server would refuse it.
    """
    special = body.get("add_special_tokens") is not False
    prompts = read_prompts(body.get("prompt", ""), tokens, special=special)
    count = body.get("logprobs")
    echo = body.get("echo") is True
    named = _read_named(body, tokens)
    return _question(body, prompts=prompts, echo=echo, logprobs=count, named=named)


def _read_named(body: dict[str, Any], tokens: Tokens) -> tuple[int, ...]:
    named = tuple(body.get("logprob_token_ids") or ())
    if named and body.get("logprobs") is None:
        raise QuestionError("when using `logprob_token_ids`, `logprobs` must be set.")
    if len(named) > MAX_NAMED:
        raise QuestionError(f"{len(named)} logprob_token_ids, {MAX_NAMED} at most")
    if odd := [n for n in named if type(n) is not int or not 0 <= n < tokens.size]:
        raise QuestionError(f"logprob_token_ids: {odd[0]!r} is out of vocabulary")
    return named


def read_chat(body: dict[str, Any], tokens: Tokens) -> Question:
    """Read a body of `/v1/chat/completions`; its template joins messages by line ends, without BOS.

    Raises:
        QuestionError: a server would refuse it.
    """
    text = "\n".join(str(message.get("content")) for message in body.get("messages") or ())
    count = body.get("top_logprobs") or 0 if body.get("logprobs") else None
    prompts = read_prompts(text, tokens, special=body.get("add_special_tokens") is True)
    return _question(body, prompts=prompts, echo=False, logprobs=count)


def _question(body: dict[str, Any], **fields: Any) -> Question:  # noqa: ANN401 - Question's
    count = fields["logprobs"]
    if count is not None and not (type(count) is int and 0 <= count <= MAX_LOGPROBS):
        raise QuestionError(f"logprobs: {count!r} is not from 0 to {MAX_LOGPROBS}")
    most = body.get("max_completion_tokens")
    most = body.get("max_tokens") if most is None else most
    temperature = body.get("temperature")
    return Question(
        max_tokens=16 if most is None else most,
        stop=read_stop(body.get("stop")),
        ignore_eos=body.get("ignore_eos") is True,
        temperature=1.0 if temperature is None else float(temperature),
        seed=body.get("seed") or 0,
        repetition_penalty=body.get("repetition_penalty"),
        presence_penalty=float(body.get("presence_penalty") or 0),
        frequency_penalty=float(body.get("frequency_penalty") or 0),
        bias=tuple(
            (int(key), float(value)) for key, value in (body.get("logit_bias") or {}).items()
        ),
        **fields,
    )


def write_completion(told: Told, tokens: Tokens, request_id: str) -> dict[str, Any]:
    """Return the document of `/v1/completions`."""
    return {
        "id": f"cmpl-{request_id}", "object": "text_completion", "created": _CREATED,
        "model": told.model, "choices": [_choice(item, told, tokens) for item in told.choices],
        "service_tier": None, "system_fingerprint": _FINGERPRINT, "usage": _usage(told),
        "kv_transfer_params": None, "ec_transfer_params": None, "metrics": None,
    }  # fmt: skip


def _usage(told: Told) -> dict[str, Any] | None:
    if told.hides_usage:
        return None
    prompt, output = told.prompt_tokens, told.output_tokens
    return {
        "prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output,
        "prompt_tokens_details": None, "completion_tokens_details": None,
    }  # fmt: skip


def _choice(choice: Choice, told: Told, tokens: Tokens) -> dict[str, Any]:
    question, body = told.question, told.body
    by_id = body.get("return_tokens_as_token_ids") is True and not told.hides_ids
    ids = body.get("return_token_ids") is True and not told.hides_ids
    text = choice.text
    if question.echo and not ids and text is not None:
        prompt = choice.prompt
        before = prompt.text
        text = (tokens.decode(prompt.ids, special=True) if before is None else before) + text
    count = max(question.logprobs or 0, len(question.named))
    places = [*(choice.scored or ()), *choice.written]
    logprobs = _logprobs(places, count, tokens, by_id=by_id) if choice.wants_logprobs else None
    scored = choice.scored
    return {
        "index": choice.index, "text": text, "logprobs": logprobs,
        "finish_reason": choice.finish, "stop_reason": choice.stop_reason,
        "token_ids": [place.number for place in choice.written] if ids else None,
        "prompt_logprobs": None if scored is None else [
            _ranked(place, count, tokens) for place in scored
        ],
        "prompt_token_ids": list(choice.prompt.ids) if ids else None, "routed_experts": None,
    }  # fmt: skip


def _logprobs(
    places: list[Place], count: int, tokens: Tokens, *, by_id: bool
) -> dict[str, list[Any]]:
    def name(number: int) -> str:
        return f"token_id:{number}" if by_id else tokens.token(number)

    names = [name(place.number) for place in places]
    offsets, at = [], 0
    for item in names:
        offsets.append(at)
        at += len(item)
    return {
        "text_offset": offsets,
        "token_logprobs": [place.logprob for place in places],
        "tokens": names,
        "top_logprobs": [
            None if place.logprob is None else {
                name(number): logprob
                for number, logprob in [(place.number, place.logprob), *place.top[:count]]
            }
            for place in places
        ],
    }  # fmt: skip


def _ranked(place: Place, count: int, tokens: Tokens) -> dict[str, Any] | None:
    if place.logprob is None:
        return None
    rows = [(place.number, place.logprob, place.rank)]
    rows += [
        (number, logprob, rank)
        for rank, (number, logprob) in enumerate(place.top[:count], 1)
        if number != place.number
    ]
    return {
        str(number): {"logprob": logprob, "rank": rank, "decoded_token": tokens.token(number)}
        for number, logprob, rank in rows
    }


def write_chat(told: Told, tokens: Tokens, request_id: str) -> dict[str, Any]:
    """Return the document of `/v1/chat/completions`."""
    return {
        "id": f"chatcmpl-{request_id}", "object": "chat.completion", "created": _CREATED,
        "model": told.model, "choices": [_message(item, told, tokens) for item in told.choices],
        "service_tier": None, "system_fingerprint": _FINGERPRINT, "usage": _usage(told),
        "prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None,
        "kv_transfer_params": None, "ec_transfer_params": None, "metrics": None,
    }  # fmt: skip


def _message(choice: Choice, told: Told, tokens: Tokens) -> dict[str, Any]:
    count = told.question.logprobs or 0
    ids = told.body.get("return_token_ids") is True and not told.hides_ids
    return {
        "index": choice.index,
        "message": {
            "role": "assistant", "content": choice.text, "refusal": None, "annotations": None,
            "audio": None, "function_call": None, "reasoning": None,
        },
        "logprobs": {"content": [
            {
                **_spoken(place.number, place.logprob, tokens),
                "top_logprobs": [_spoken(*found, tokens) for found in place.top[:count]],
            }
            for place in choice.written
        ]} if choice.wants_logprobs else None,
        "finish_reason": choice.finish, "stop_reason": choice.stop_reason,
        "token_ids": [place.number for place in choice.written] if ids else None,
        "routed_experts": None,
    }  # fmt: skip


def _spoken(number: int, logprob: float | None, tokens: Tokens) -> dict[str, Any]:
    text = tokens.token(number)
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
