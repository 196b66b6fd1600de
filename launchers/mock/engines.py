"""Which pages an engine has, and what it cannot do: `--engine NAME` makes the mock one of them.

vLLM 0.32, SGLang 0.5, TGI 3, llama.cpp's llama-server and `transformers serve` 5; "any" has all
pages at once and refuses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from launchers.mock import sglang, tgi
from launchers.mock.asking import QuestionError
from launchers.mock.native import LLAMA_PROPS, TGI_INFO
from launchers.mock.shapes import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchers.mock.asking import Question

_OPENAI = frozenset({b"/v1/completions", b"/v1/chat/completions"})
_OPENAI_FIELDS = frozenset(
    {
        "model", "prompt", "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs",
        "max_tokens", "n", "presence_penalty", "seed", "stop", "stream", "stream_options",
        "suffix", "temperature", "top_p", "user",
    }
)  # fmt: skip
_TOKENS = frozenset({b"/tokenize", b"/detokenize"})


def _refuse(problem: str) -> tuple[int, dict[str, Any]]:
    """Refuse as vLLM does."""
    told = {"message": f"the body: {problem}", "type": "BadRequestError", "param": None}
    return 400, {"error": told | {"code": 400}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What a kind of server has."""

    owner: str
    """`owned_by` in the list of models."""
    paths: frozenset[bytes]
    """Where it answers requests, but for `/metrics` and its pages."""
    pages: dict[bytes, dict[str, Any]]
    """What it says of itself."""
    ask: Callable[[Question, dict[str, Any]], Question] = lambda question, _: question
    """What it makes of a question at `/v1/completions`; gets the body too."""
    ask_chat: Callable[[Question, dict[str, Any]], Question] = lambda question, _: question
    """The same at `/v1/chat/completions`."""
    adapt: Callable[[dict[str, Any]], None] = lambda _: None
    """How its documents at `/v1/completions` differ from vLLM's."""
    adapt_chat: Callable[[dict[str, Any]], None] = lambda _: None
    """The same at `/v1/chat/completions`."""
    refuse: Callable[[str], tuple[int, dict[str, Any]]] = _refuse
    """Status and body for a question that it refuses."""


def _text_only(question: Question, body: dict[str, Any]) -> Question:
    """Ignore `echo` and `logprobs`, refuse token ids."""
    if not isinstance(body.get("prompt", ""), str):
        raise QuestionError("prompt must be a string")
    return replace(question, echo=False, logprobs=None, named=())


def _openai_only(question: Question, body: dict[str, Any]) -> Question:
    """Refuse what OpenAI's own API does not know."""
    if extra := sorted(body.keys() - _OPENAI_FIELDS):
        raise QuestionError(f"Unrecognized request arguments supplied: {', '.join(extra)}")
    return question


def _never_echo(question: Question, _: dict[str, Any]) -> Question:
    """Ignore `echo`, as the llama-server of llama-cpp-python 0.3.36 does; older ones refused."""
    return replace(question, echo=False, named=())


def _names_none(question: Question, _: dict[str, Any]) -> Question:
    return replace(question, named=())


def _as_llamacpp(document: dict[str, Any]) -> None:
    """Tell log-probabilities as chat does."""
    for choice in document["choices"]:
        if (lists := choice["logprobs"]) is None:
            continue
        rows = zip(lists["tokens"], lists["token_logprobs"], lists["top_logprobs"], strict=True)
        choice["logprobs"] = {
            "content": [
                {
                    "token": token, "logprob": logprob, "bytes": list(token.encode()),
                    "top_logprobs": [{"token": t, "logprob": p} for t, p in (top or {}).items()],
                }
                for token, logprob, top in rows
            ]
        }  # fmt: skip


ENGINES: Final[dict[str, Engine]] = {
    "any": Engine(
        owner="mock",
        paths=_OPENAI | _TOKENS | {b"/generate", b"/generate_stream", b"/completion"},
        pages={b"/info": TGI_INFO, b"/props": LLAMA_PROPS},
    ),
    "vllm": Engine(
        owner="vllm", paths=_OPENAI | _TOKENS, pages={b"/version": {"version": "0.0-mock"}}
    ),
    "sglang": Engine(
        owner="sglang",
        paths=_OPENAI | _TOKENS | {b"/generate"},
        pages={
            **dict.fromkeys((b"/model_info", b"/get_model_info"), sglang.MODEL_INFO),
            **dict.fromkeys((b"/server_info", b"/get_server_info"), sglang.SERVER_INFO),
        },
        ask=_names_none,
        adapt=sglang.adapt,
        refuse=sglang.refuse,
    ),
    "tgi": Engine(
        owner=f"org/{MODEL}",  # TGI names the model here, but "mock" is the mock's own name
        paths=_OPENAI | {b"/", b"/generate", b"/generate_stream"},
        pages={b"/info": TGI_INFO},
        ask=tgi.ask_completion,
        ask_chat=tgi.ask_chat,
        adapt=tgi.adapt,
        adapt_chat=tgi.adapt,
        refuse=tgi.refuse,
    ),
    "llama.cpp": Engine(
        owner="llamacpp",
        paths=_OPENAI | {b"/completion"},
        pages={b"/props": LLAMA_PROPS},
        ask=_never_echo,
        adapt=_as_llamacpp,
    ),
    "openai": Engine(owner="system", paths=_OPENAI, pages={}, ask=_openai_only),
    "transformers": Engine(owner="transformers", paths=_OPENAI, pages={}, ask=_text_only),
}  # fmt: skip
"""Name → engine."""


def pages_of(name: str, max_model_len: int) -> dict[bytes, dict[str, Any]]:
    """Return the pages by which an engine says what it is."""
    engine = ENGINES[name]
    card: dict[str, Any] = {"id": MODEL, "object": "model", "created": 0, "owned_by": engine.owner}
    if name in {"any", "vllm", "sglang"}:
        card |= {"root": MODEL, "parent": None, "max_model_len": max_model_len}
    pages = {b"/health": {}, b"/v1/models": {"object": "list", "data": [card]}, **engine.pages}
    if max_model_len and b"/info" in pages:
        limits = {"max_input_tokens": max_model_len - 1, "max_total_tokens": max_model_len}
        pages[b"/info"] = pages[b"/info"] | limits
    if b"/props" in pages:
        settings = pages[b"/props"]["default_generation_settings"] | {"n_ctx": max_model_len}
        pages[b"/props"] = pages[b"/props"] | {"default_generation_settings": settings}
    return pages
