"""Our streaming client for Locust users of one's own: one engine for all of them in a process.

A module of the driver's kind: Locust must have been imported, and have patched the process.
"""

from __future__ import annotations

import json
import os
from collections import deque
from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import gevent
import gevent.hub
import msgspec
from gevent.monkey import get_original

from loadprofiles.dialects import load_dialect
from loadprofiles.records import DrivePlan
from loadprofiles.wire.clock import CLOCK_STEP_LIMIT_NS
from loadprofiles.wire.connections import addresses_of
from loadprofiles.wire.engine import Engine
from loadprofiles.wire.heads import request_heads
from loadprofiles.wire.masking import Mask
from loadprofiles.wire.sample import Ticket, sample_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from loadprofiles.dialects import Prompt
    from loadprofiles.records import Sample
    from loadprofiles.wire.stream import Stream

_TICK_S = 0.1
_DECODE_NS = 300_000
_ANSWER_S = 30


class Target(NamedTuple):
    """Where requests go, and how."""

    url: str
    """The API's base, e.g. `http://127.0.0.1:8000/v1`."""
    model: str | None
    """None: the first that the server lists."""
    dialect: str
    headers: tuple[tuple[str, str], ...]
    api_key_env: str | None
    timeout_s: float


class Client:
    """Sends requests to one target and reads their streams in the hub, with the kernel's stamps.

    `request` waits for the answer, in a greenlet; `submit` does not, and may be called from the
    hub. Answers are decoded when the hub is idle.
    """

    def __init__(self, target: Target, samples: Path | None = None) -> None:
        """Prepare; `samples`: where to write every request's record, a JSON line each.

        Raises:
            ValueError: the URL is none.
            OSError: the host is unknown, or its models cannot be asked for.
        """
        parts = urlsplit(target.url)
        if parts.scheme not in {"http", "https"} or parts.hostname is None:
            raise ValueError(f"host: {target.url!r} should be like http://127.0.0.1:8000/v1")
        self._dialect = load_dialect(target.dialect)
        base = parts.path.rstrip("/")
        headers = dict(target.headers)
        if self._dialect.at_root:
            base = base.removesuffix("/v1")
        self._plan = DrivePlan(
            host=parts.hostname,
            port=parts.port or (443 if parts.scheme == "https" else 80),
            path=base + self._dialect.path,
            tls=parts.scheme == "https",
            headers=list(headers),
            api_key_env=target.api_key_env,
            dialect=target.dialect,
            mode="open",
            warmup=0,
            drain_s=0,
            timeout_s=target.timeout_s,
            output_tokens=[],
        )
        self.name = self._plan.path
        [self._head] = request_heads(self._plan, headers)
        self._mask = Mask(self._plan, headers)
        self._model = target.model or _first_model(target)
        self._engine = Engine(
            addresses_of(self._plan), target.timeout_s, get_original("select", "epoll")
        )
        self._prefix, self._count = os.urandom(5).hex(), 0
        self._finished: deque[tuple[Stream, int, Callable[[Sample], None]]] = deque()
        self._decoding: Generator[None, None, tuple[Sample, str]] | None = None
        self._file = None if samples is None else samples.open("ab")
        loop = gevent.get_hub().loop
        self._idle = loop.idle()
        self._io = loop.io(self._engine.fd, 1)
        self._io.start(self._engine.pump)
        self._timer = loop.timer(_TICK_S, _TICK_S)
        self._timer.start(self._tick)

    def request(self, prompt: Prompt, max_tokens: int) -> Sample:
        """Send a request and wait for its answer's end."""
        waiter = gevent.hub.Waiter()
        self.submit(prompt, max_tokens, waiter.switch)
        sample: Sample = waiter.get()
        return sample

    def submit(
        self,
        prompt: Prompt,
        max_tokens: int,
        on_sample: Callable[[Sample], None],
        due_ns: int | None = None,
    ) -> None:
        """Send a request now; `on_sample` is called in the hub once its answer is decoded."""
        number, self._count = self._count, self._count + 1
        body = self._dialect.encode(self._model, prompt, max_tokens, (), stream=True)
        name = f"{self._prefix}-{number}"
        due_ns = now_ns() if due_ns is None else due_ns
        ticket = Ticket(number, 0, name, "measured", due_ns)
        head = b"%s%s\r\nContent-Length: %d\r\n\r\n" % (self._head, name.encode(), len(body))

        def on_done(stream: Stream) -> None:
            self._finished.append((stream, max_tokens, on_sample))
            if not self._idle.active:
                self._idle.start(self._decode)

        self._engine.submit(head + body, on_done, ticket)

    def flush(self, **_: object) -> None:
        """Hand what was written to the system; also as a listener of Locust's `quitting`."""
        if self._file is not None:
            self._file.flush()

    @property
    def in_flight(self) -> int:
        """Requests whose answers have not ended."""
        return self._engine.in_flight

    def _tick(self) -> None:
        self._engine.expire()
        self._decode()
        self.flush()

    def _decode(self) -> None:
        """Decode what has ended, for a moment: the hub has other things to do."""
        end_ns = now_ns() + _DECODE_NS
        while self._finished and now_ns() < end_ns:
            stream, max_tokens, on_sample = self._finished[0]
            if self._decoding is None:
                exact = abs(self._engine.clock_step_ns()) <= CLOCK_STEP_LIMIT_NS
                self._mask.hide(stream)
                self._decoding = sample_of(
                    stream, self._dialect, (max_tokens,),
                    kernel_clock=bool(self._engine.kernel_stamps) and exact,
                )  # fmt: skip
            try:
                next(self._decoding)
            except StopIteration as done:
                self._decoding = None
                self._finished.popleft()
                sample: Sample = done.value[0]
                if self._file is not None:
                    self._file.write(msgspec.json.encode(sample) + b"\n")
                on_sample(sample)
        if not self._finished:
            self._idle.stop()


def _first_model(target: Target) -> str:
    """Ask the server what it serves."""
    headers = dict(target.headers)
    if target.api_key_env and os.environ.get(target.api_key_env):
        headers["Authorization"] = f"Bearer {os.environ[target.api_key_env]}"
    request = Request(f"{target.url.rstrip('/')}/models", headers=headers)  # noqa: S310 - checked
    with _opener().open(request, timeout=_ANSWER_S) as answer:
        return str(json.load(answer)["data"][0]["id"])


class _NoRedirects(HTTPRedirectHandler):
    """Lets a redirect be an error: urllib would send the same headers, the key too, anywhere."""

    def redirect_request(self, *_: object) -> None:
        """Name no request that follows."""


def _opener() -> OpenerDirector:
    """Neither proxies of the environment nor redirects: the key is for the server named."""
    return build_opener(ProxyHandler({}), _NoRedirects)
