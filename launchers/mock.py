"""`python -m launchers.mock`: a server with known timing, and with known faults if asked.

The only fake server of this repository: it exists where a known truth is the point (how exact is
the client?) or where a real server will not misbehave on command. It speaks enough of the OpenAI
API to pass for one, answers every request with `max_tokens` tokens, the first `ttft_ms` after the
request and the others `itl_ms` apart, and can write down when it really sent each of them.

Each event leaves in a `send` of its own at once (asyncio's plain transports write through; uvloop
would queue until the end of the loop's turn), and its stamp is taken just before.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import heapq
import json
import random
import re
import socket
import struct
import sys
import time
from array import array
from collections import deque
from pathlib import Path
from typing import IO

import httptools

FAULTS = {
    "http_400": "400 with OpenAI's error body",
    "http_401": "401",
    "http_429": "429 with Retry-After",
    "http_500": "500",
    "http_503": "503 with a body that is no JSON",
    "redirect": "307 to another host",
    "error_event": "an error event after three tokens of a 200 stream",
    "reset": "the connection is reset after three tokens",
    "truncated": "the connection is closed after three tokens",
    "stall": "nothing more comes after three tokens",
    "silent": "no answer at all",
    "empty": "a finished stream without a token",
    "malformed": "an event that is no JSON",
    "no_usage": "a stream without its usage chunk",
    "no_stream": "one JSON document, as if `stream` had not been asked for",
    "no_http": "bytes of another protocol",
}
_BREAK_AFTER = 3
"""Tokens before a fault in mid-stream."""
_REASONS = {
    200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized",
    404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_MAX_TOKENS = re.compile(rb'"max_tokens"\s*:\s*(\d+)')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_now = time.perf_counter_ns


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Answer:
    """One answer under way."""

    __slots__ = (
        "chat", "fault", "left", "middle", "peer", "received_ns", "request_id", "sent_ns", "total",
    )  # fmt: skip

    def __init__(self, peer: Peer, body: bytes, fault: str | None, received_ns: int) -> None:
        found = _MAX_TOKENS.search(body)
        self.peer = peer
        self.total = self.left = int(found[1]) if found else 16
        self.chat = peer.path.endswith(b"chat/completions")
        self.fault = fault
        self.request_id = peer.request_id
        self.received_ns = received_ns
        self.sent_ns = array("q")
        self.middle = _http_chunk(self.event("null"))

    def next_chunk(self) -> bytes:
        """Return the next token's event as an HTTP chunk; they are all alike but the last."""
        self.left -= 1
        if self.fault == "malformed" and self.left < self.total - 2:
            return _http_chunk(b"data: {oops\n\n")
        return self.middle if self.left else _http_chunk(self.event('"length"'))

    def event(self, finish: str) -> bytes:
        """Return a token's event."""
        content = '"delta":{"content":" token"}' if self.chat else '"text":" token"'
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return (
            f'data: {{"id":"cmpl-{self.request_id}","object":"{kind}","created":1790000000,'
            f'"model":"mock","choices":[{{"index":0,{content},"logprobs":null,'
            f'"finish_reason":{finish},"stop_reason":null}}],"usage":null}}\n\n'
        ).encode()

    def tail(self) -> bytes:
        """Return what follows the last token: usage and the end mark."""
        usage = (
            f'data: {{"id":"cmpl-{self.request_id}","choices":[],"usage":{{"prompt_tokens":8,'
            f'"completion_tokens":{self.total},"total_tokens":{8 + self.total}}}}}\n\n'
        )
        return (b"" if self.fault == "no_usage" else usage.encode()) + b"data: [DONE]\n\n"


class Mock:
    """The server: a heap of answers by the moment of their next token."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.loop = asyncio.get_running_loop()
        self.random = random.Random(options.seed)  # noqa: S311 - no secret
        self.heap: list[tuple[int, int, Answer]] = []
        self.waiting: deque[Answer] = deque()
        self.running = self.count = self.served = 0
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = 0
        self.truth: IO[str] | None = None
        if options.truth is not None:
            self.truth = options.truth.open("w", buffering=1 << 20)

    def fault(self) -> str | None:
        """Draw what goes wrong with the next request."""
        name, share = self.options.fault
        return name if name and self.random.random() < share else None

    def admit(self, answer: Answer) -> None:
        """Start an answer, or let it wait for a slot."""
        if self.options.slots and self.running >= self.options.slots:
            self.waiting.append(answer)
            return
        self.running += 1
        answer.peer.write(_STREAM_HEAD)
        if answer.chat:
            answer.peer.write_chunk(
                b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},'
                b'"finish_reason":null}]}\n\n'
            )
        if answer.fault == "empty":
            self.finish(answer)
            return
        jitter_ms = self.options.jitter_ms and self.random.uniform(0, self.options.jitter_ms)
        self.push(_now() + int((self.options.ttft_ms + jitter_ms) * 1e6), answer)

    def push(self, at_ns: int, answer: Answer) -> None:
        """Send the answer's next token at `at_ns`."""
        self.count += 1
        heapq.heappush(self.heap, (at_ns, self.count, answer))
        self.wind(at_ns)

    def wind(self, at_ns: int) -> None:
        """See to it that the pump runs at `at_ns` or before."""
        if self.timer is None or at_ns < self.timer_at:
            if self.timer is not None:
                self.timer.cancel()
            self.timer_at = at_ns
            self.timer = self.loop.call_later(max(0.0, (at_ns - _now()) / 1e9), self.pump)

    def pump(self) -> None:
        """Send every token that is due, 64 at most before the loop may read again."""
        self.timer = None
        heap, itl_ns = self.heap, int(self.options.itl_ms * 1e6)
        for _ in range(64):
            if not heap or heap[0][0] > _now():
                break
            at_ns, count, answer = heap[0]
            if answer.peer.closed:
                heapq.heappop(heap)
                self.leave()
            elif answer.fault and len(answer.sent_ns) >= _BREAK_AFTER and self.break_off(answer):
                heapq.heappop(heap)
            else:
                self.send_token(answer)
                if answer.left:
                    heapq.heapreplace(heap, (at_ns + itl_ns, count, answer))
                else:
                    heapq.heappop(heap)
                    self.finish(answer)
        if heap:
            self.wind(heap[0][0])

    def send_token(self, answer: Answer) -> None:
        """Send one token's event in a segment of its own, and stamp it."""
        chunk = answer.next_chunk()
        write, note = answer.peer.write, answer.sent_ns.append
        now = _now()
        write(chunk)
        note(now)

    def break_off(self, answer: Answer) -> bool:
        """Commit the answer's fault in mid-stream; False if it has none there."""
        if answer.fault == "error_event":
            answer.peer.write_chunk(
                b'data: {"error":{"message":"engine died","type":"InternalServerError","code":500}}'
                b"\n\ndata: [DONE]\n\n"
            )
            answer.peer.write(b"0\r\n\r\n")
            answer.peer.next_request()
        elif answer.fault == "reset":
            answer.peer.reset()
        elif answer.fault == "truncated":
            answer.peer.close()
        elif answer.fault != "stall":
            return False
        self.leave()
        return True

    def finish(self, answer: Answer) -> None:
        """End an answer regularly."""
        self.served += 1
        if self.truth is not None:  # before the end, so that whoever has the end finds it there
            self.truth.write(
                f'{{"request_id":"{answer.request_id}","received_ns":{answer.received_ns},'
                f'"sent_ns":{answer.sent_ns.tolist()}}}\n'
            )
            self.truth.flush()
        answer.peer.write_chunk(answer.tail())
        answer.peer.write(b"0\r\n\r\n")
        answer.peer.next_request()
        self.leave()

    def leave(self) -> None:
        """Give a slot to the next waiting answer."""
        self.running -= 1
        if self.options.die_after and self.served >= self.options.die_after:
            sys.stderr.write("mock: dying as asked\n")
            sys.stderr.flush()
            sys.exit(3)
        if self.waiting:
            self.admit(self.waiting.popleft())


class Peer(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, mock: Mock) -> None:
        self.mock = mock
        self.closed = False
        self.next_request()

    def next_request(self) -> None:
        """Get ready to read a request."""
        self.parser = httptools.HttpRequestParser(self)
        self.path = b""
        self.request_id = ""
        self.authorization = b""
        self.body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a TCP server gets
        self.transport = transport
        self.write = transport.write

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Remember that nobody listens."""
        self.closed = True

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self.received_ns = _now()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_url(self, url: bytes) -> None:
        """Keep the path."""
        self.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what matters."""
        name = name.lower()
        if name == b"x-request-id":
            self.request_id = value.decode("latin-1")
        elif name == b"authorization":
            self.authorization = value

    def on_body(self, data: bytes) -> None:
        """Keep the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Answer."""
        key = self.mock.options.api_key
        if key and self.authorization != b"Bearer " + key.encode():
            self.reply(401, {"error": {"message": "invalid api key", "code": 401}})
        elif self.path.endswith(b"/completions"):
            self.complete()
        elif self.path == b"/health":
            self.reply(200, {})
        elif self.path == b"/v1/models":
            model = {"id": "mock", "object": "model", "owned_by": "mock", "max_model_len": 1 << 20}
            self.reply(200, {"object": "list", "data": [model]})
        else:
            self.reply(404, {"error": {"message": "not found", "code": 404}})

    def complete(self) -> None:
        """Answer a request for a completion, or fail to as asked."""
        fault = self.mock.fault()
        if fault == "silent":
            return
        if fault == "no_http":
            self.write(b"SSH-2.0-mock\r\n")
        elif fault == "redirect":
            self.reply(307, {}, "location: http://192.0.2.1/v1/completions\r\n")
        elif fault and fault.startswith("http_"):
            plain = fault == "http_503"
            extra = "retry-after: 1\r\n" if fault == "http_429" else ""
            message = {"error": {"message": f"told to {fault[5:]}"}}
            self.reply(int(fault[5:]), None if plain else message, extra)
        elif fault != "no_stream" and _STREAM.search(self.body):
            self.mock.admit(Answer(self, bytes(self.body), fault, self.received_ns))
        else:
            usage = {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}
            choice = {"index": 0, "text": " token", "finish_reason": "length"}
            self.reply(200, {"object": "text_completion", "choices": [choice], "usage": usage})

    def reply(self, status: int, content: object, extra: str = "") -> None:
        """Send a whole response."""
        body = b"upstream unavailable" if content is None else json.dumps(content).encode()
        self.write(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: application/json\r\n"
            f"{extra}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.next_request()

    def write_chunk(self, data: bytes) -> None:
        """Send one HTTP chunk."""
        self.write(_http_chunk(data))

    def close(self) -> None:
        """Close politely."""
        self.closed = True
        self.transport.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.closed = True
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def _fault(text: str) -> tuple[str, float]:
    name, _, share = text.partition(":")
    if name not in FAULTS:
        raise argparse.ArgumentTypeError(f"no fault {name!r}; there are {', '.join(FAULTS)}")
    return name, float(share or 1.0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m launchers.mock", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft-ms", type=float, default=50.0)
    parser.add_argument("--itl-ms", type=float, default=10.0)
    parser.add_argument(
        "--jitter-ms", type=float, default=0.0, help="up to so much is added to an answer's TTFT"
    )
    parser.add_argument("--slots", type=int, default=0, help="answers at once; 0: any number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", type=_fault, default=("", 0.0), metavar="NAME[:SHARE]")
    parser.add_argument("--api-key", default="", help="the bearer token to insist on")
    parser.add_argument("--truth", type=Path, help="write what was sent when to this file")
    parser.add_argument("--die-after", type=int, default=0, help="exit 3 after so many answers")
    return parser.parse_args()


async def serve(options: argparse.Namespace) -> None:
    """Serve until killed; print the URL once listening."""
    mock = Mock(options)
    server = await mock.loop.create_server(
        lambda: Peer(mock), "127.0.0.1", options.port, backlog=4096
    )
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}/v1\n")
    sys.stdout.flush()
    gc.collect()
    gc.freeze()
    gc.disable()
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(serve(_arguments()))
    except KeyboardInterrupt:
        sys.exit(130)
