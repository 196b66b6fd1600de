"""SGLang 0.5 at OpenAI's API, its pages, and how it refuses.

Shapes: `python/sglang/srt/entrypoints/http_server.py` and `openai/protocol.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from launchers.mock.openai import OpenAI
from launchers.mock.shapes import MODEL, event

if TYPE_CHECKING:
    from launchers.mock.answer import Answer

_PLACE: Final = {"model_path": f"/models/{MODEL}", "tokenizer_path": f"/models/{MODEL}"}
MODEL_INFO: Final[dict[str, Any]] = _PLACE | {
    "served_model_name": MODEL, "is_generation": True, "preferred_sampling_params": None,
    "weight_version": "default", "load_format": "auto", "model_type": "llama",
}  # fmt: skip
"""The page `/model_info`."""
SERVER_INFO: Final[dict[str, Any]] = _PLACE | {
    "served_model_name": MODEL, "dtype": "auto", "quantization": None, "kv_cache_dtype": "auto",
    "context_length": None, "tp_size": 1, "sampling_defaults": "openai", "status": "ready",
    "max_total_num_tokens": 1 << 20, "version": "0.5-mock",
}  # fmt: skip
"""The page `/server_info`: a part of what a real one says."""


class SglangOpenAI(OpenAI):
    """`/v1/completions` and `/v1/chat/completions`."""

    def tail(self, answer: Answer) -> bytes:
        """Return the usage chunk and the end mark."""
        prompt, output = answer.asked.prompt_tokens, answer.total
        usage = {
            "prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output,
            "reasoning_tokens": 0,
        }  # fmt: skip
        content = self._content(answer, {}, None) | {"choices": [], "usage": usage}
        end = b"" if answer.fault == "no_done" else b"data: [DONE]\n\n"
        return (b"" if answer.fault == "no_usage" else event(content)) + end

    def _content(
        self, answer: Answer, choice: dict[str, Any], finish: str | None
    ) -> dict[str, Any]:
        content = super()._content(answer, choice, finish)
        (only,) = content["choices"]
        only["matched_stop"] = only.pop("stop_reason")
        return content


def adapt(document: dict[str, Any]) -> None:
    """Turn a document of vLLM's at `/v1/completions` into SGLang's."""
    kept = {"id", "object", "created", "model", "choices", "usage"}
    for name in document.keys() - kept:
        del document[name]
    document["metadata"] = {"weight_version": "default"}
    if document["usage"] is not None:
        document["usage"]["reasoning_tokens"] = 0
    for choice in document["choices"]:
        if choice["logprobs"]:
            choice["logprobs"]["text_offset"] = [-1] * len(choice["logprobs"]["tokens"])
        choice["matched_stop"] = choice.pop("stop_reason")
        for name in choice.keys() - {"index", "text", "logprobs", "finish_reason", "matched_stop"}:
            del choice[name]


def refuse(problem: str) -> tuple[int, dict[str, Any]]:
    """Return status and body for a question that is refused."""
    told = {"object": "error", "message": problem, "type": "BadRequestError", "param": None}
    return 400, told | {"code": 400}
