"""A program for a Python that has `text-generation`, Hugging Face's client of TGI.

A question comes on stdin as JSON, and what that client made of the answers goes to stdout, so that
our own reading of TGI's pages has another to be held against. It imports nothing of the harness.
Headers come as names of variables: no value is in a file or an argument list.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version
from typing import Any


def read(asked: dict[str, Any]) -> dict[str, Any]:
    """Ask for an answer with the prompt's log-probabilities, and for the same as a stream.

    Returns:
        `prefill`: [id, ln p or null] of the prompt's tokens; `ids`: of the written ones; `text`,
        `count`, `finish`: of the document; `stream_text`, `stream_count`, `stream_finish`: of the
        stream, without special tokens.
    """
    from requests import Session
    from text_generation import Client

    # That client follows redirects, and would take headers along that are not `Authorization`.
    Session.get_redirect_target = _nowhere  # type: ignore[method-assign, assignment]
    headers = {name: os.environ[variable] for name, variable in asked["header_env"]}
    client = Client(asked["url"], headers=headers, timeout=asked["timeout_s"])
    most = asked["max_new_tokens"]
    document = client.generate(asked["text"], max_new_tokens=most, decoder_input_details=True)
    details = document.details
    texts: list[str] = []
    end = None
    for event in client.generate_stream(asked["text"], max_new_tokens=most):
        texts += [] if event.token.special else [event.token.text]
        end = event.details or end
    return {
        "version": version("text-generation"),
        "prefill": [[token.id, token.logprob] for token in details.prefill],
        "ids": [token.id for token in details.tokens],
        "text": document.generated_text,
        "count": details.generated_tokens,
        "finish": details.finish_reason.value,
        "stream_text": "".join(texts),
        "stream_count": end and end.generated_tokens,
        "stream_finish": end and end.finish_reason.value,
    }


def _nowhere(_session: object, _answer: object) -> None:
    """Where a redirect leads to: nowhere."""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read(json.load(sys.stdin))))
