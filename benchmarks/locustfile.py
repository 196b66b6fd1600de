"""A locustfile as a Locust user would write it for a streaming endpoint.

CLIENT=HttpUser TOKENS=64 locust -f benchmarks/locustfile.py --headless -u 32 -r 32 -t 10s
"""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import locust
from locust import constant, constant_throughput, task

if TYPE_CHECKING:
    from collections.abc import Iterator

_BODY = {
    "model": "mock",
    "prompt": "word " * int(os.environ.get("PROMPT_TOKENS", "32")),
    "max_tokens": int(os.environ.get("TOKENS", "64")),
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}
_Base: Any = getattr(locust, os.environ.get("CLIENT", "HttpUser"))


class Reader(_Base):  # type: ignore[misc]
    """Sends one completion after another, or one a second, and reports TTFT, ITL and e2e."""

    wait_time = constant_throughput(1) if os.environ.get("PACED") else constant(0)

    @task
    def complete(self) -> None:
        """Stream one completion."""
        began = time.perf_counter()
        stamps = []
        for line in self._lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            now = time.perf_counter()
            choices = json.loads(line[6:])["choices"]
            if choices and choices[0]["text"]:
                stamps.append(now)
        if not stamps:
            return
        self._tell("ttft", stamps[0] - began)
        self._tell("e2e", stamps[-1] - began)
        for earlier, later in pairwise(stamps):
            self._tell("itl", later - earlier)

    def _lines(self) -> Iterator[str]:
        if isinstance(self, locust.FastHttpUser):  # which has its own way of reading lines
            yield from self.client.iter_lines("/v1/completions", "POST", json=_BODY)
            return
        response = self.client.post("/v1/completions", json=_BODY, stream=True)
        for line in response.iter_lines():
            yield line.decode()

    def _tell(self, name: str, seconds: float) -> None:
        self.environment.events.request.fire(
            request_type="LLM",
            name=name,
            response_time=seconds * 1e3,
            response_length=0,
            exception=None,
            context={},
        )
