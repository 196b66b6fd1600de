"""What engines say at APIs of their own: TGI's `/generate_stream` and llama.cpp's `/completion`.

Shapes: text-generation-inference `router/src/lib.rs`, llama.cpp `tools/server/server-task.cpp`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launchers.mock.shapes import MODEL, Asked, count_tokens, event

if TYPE_CHECKING:
    from launchers.mock.answer import Answer

_TOKEN_ID = 263
_LLAMA_REASONS = {"length": "limit", "stop": "eos"}

TGI_INFO: dict[str, Any] = {
    "model_id": MODEL, "model_sha": None, "model_pipeline_tag": "text-generation",
    "max_concurrent_requests": 128, "max_best_of": 2, "max_stop_sequences": 8,
    "max_input_tokens": (1 << 20) - 1, "max_total_tokens": 1 << 20, "validation_workers": 2,
    "max_client_batch_size": 4, "router": "text-generation-router", "version": "0-mock",
    "sha": None, "docker_label": None,
}  # fmt: skip
"""The page `/info`."""
LLAMA_PROPS = {
    "default_generation_settings": {"id": 0, "n_ctx": 1 << 20, "params": {"n_predict": -1}},
    "total_slots": 128, "model_path": f"/models/{MODEL}.gguf", "build_info": "b0-mock",
}  # fmt: skip
"""The page `/props`."""


class Tgi:
    """`/generate_stream`, `/generate`, and `/`, where the body says which of the two is meant.

    Events have no space behind `data:`, as axum's.
    """

    def __init__(self, *, stream: bool | None = None) -> None:
        self._stream = stream
        paths = {None: b"/", True: b"/generate_stream", False: b"/generate"}
        self.paths = (paths[stream],)

    def asked(self, body: dict[str, Any]) -> Asked:
        """Read a request."""
        tokens = body.get("parameters", {}).get("max_new_tokens")
        return Asked(
            tokens=100 if tokens is None else tokens,
            stream=body.get("stream") is True if self._stream is None else self._stream,
            prompt_tokens=count_tokens(body["inputs"] if self._stream else body.get("inputs")),
        )

    def head(self, answer: Answer) -> bytes:  # noqa: ARG002 - a Shape
        """Return nothing."""
        return b""

    def token(self, answer: Answer, text: str) -> bytes:  # noqa: ARG002 - a Shape
        """Return a token's event."""
        return event({**_tgi_token(text), "generated_text": None, "details": None}, space=b"")

    def last(self, answer: Answer, text: str) -> bytes:
        """Return the last token's event, which has all of the text once more."""
        details = {**_tgi_details(answer), "input_length": answer.asked.prompt_tokens}
        if answer.fault == "no_usage":
            details = {}
        whole = answer.text or text
        last = {**_tgi_token(text), "generated_text": whole, "details": details or None}
        return event(last, space=b"")

    def tail(self, answer: Answer) -> bytes:
        """Return nothing; an answer without a token is its end token, which is a special one."""
        if answer.total:
            return b""
        token = {"id": 2, "text": "</s>", "logprob": 0.0, "special": True}
        end = {"index": 1, "token": token, "generated_text": "", "details": _tgi_details(answer)}
        return event(end, space=b"")

    def error(self) -> bytes:
        """Return an error event."""
        return event({"error": "engine died", "error_type": "generation"}, space=b"")

    def document(self, answer: Answer, text: str) -> Any:  # noqa: ANN401 - JSON
        """Return the whole answer, in a list at `/`."""
        details = {**_tgi_details(answer), "prefill": [], "tokens": []}
        whole = {"generated_text": text, "details": details}
        return [whole] if self._stream is None else whole

    def document_head(self, answer: Answer) -> str:
        """Return the header with the prompt's tokens, which the document does not tell."""
        return f"x-prompt-tokens: {answer.asked.prompt_tokens}\r\n"


def _tgi_token(text: str) -> dict[str, Any]:
    return {
        "index": 1,
        "token": {"id": _TOKEN_ID, "text": text, "logprob": -0.1, "special": False},
    }


def _tgi_details(answer: Answer) -> dict[str, Any]:
    reason = {"stop": "eos_token"}.get(answer.finish, answer.finish)
    return {"finish_reason": reason, "generated_tokens": answer.total, "seed": None}


class LlamaCpp:
    """`/completion`. The last token has an event like the others; one without text follows it."""

    paths = (b"/completion",)

    def asked(self, body: dict[str, Any]) -> Asked:
        """Read a request."""
        tokens = body.get("n_predict")
        return Asked(
            tokens=16 if tokens is None else tokens,
            stream=body.get("stream") is True,
            prompt_tokens=count_tokens(body.get("prompt")),
            pinned=body.get("ignore_eos") is True,
        )

    def head(self, answer: Answer) -> bytes:  # noqa: ARG002 - a Shape
        """Return nothing."""
        return b""

    def token(self, answer: Answer, text: str) -> bytes:
        """Return a token's event."""
        return event({
            "index": 0, "content": text, "tokens": [_TOKEN_ID], "stop": False, "id_slot": 0,
            "tokens_predicted": 1, "tokens_evaluated": answer.asked.prompt_tokens,
        })  # fmt: skip

    def last(self, answer: Answer, text: str) -> bytes:
        """Return the last token's event."""
        return self.token(answer, text)

    def tail(self, answer: Answer) -> bytes:
        """Return the event that tells of the end."""
        return event(self.document(answer, ""))

    def error(self) -> bytes:
        """Return an error event."""
        return event({"error": {"code": 500, "message": "engine died", "type": "server_error"}})

    def document(self, answer: Answer, text: str) -> dict[str, Any]:
        """Return the whole answer."""
        prompt, made = answer.asked.prompt_tokens, answer.total
        counts = {"tokens_predicted": made, "tokens_evaluated": prompt}
        return {
            "index": 0, "content": text, "tokens": [], "id_slot": 0, "stop": True, "model": MODEL,
            **({} if answer.fault == "no_usage" else counts), "truncated": False,
            "stop_type": _LLAMA_REASONS[answer.finish], "stopping_word": "",
            "tokens_cached": prompt + made,
            "timings": {"prompt_n": prompt, "predicted_n": made},
        }  # fmt: skip

    def document_head(self, answer: Answer) -> str:  # noqa: ARG002 - a Shape
        """Return nothing."""
        return ""
