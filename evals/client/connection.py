"""One server's connections: at most so many requests in flight, and few, bounded retries."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from typing import TYPE_CHECKING, Final, Self

import httpx
import msgspec

from evals.errors import ReachError
from evals.records import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from evals.endpoint import Endpoint

ATTEMPTS: Final = 3
"""Of one request at most; only what says nothing about the request itself is tried again."""
WAITS_S: Final = (0.25, 1.0)
"""Before the second and the third attempt, unless the server names a longer wait."""
LONGEST_WAIT_S: Final = 10.0
ALIVE_S: Final = 5.0
"""For a page that any server has, when one request got no answer."""
_IDLE_S: Final = 2.0
"""Unused connections are closed after this: uvicorn's servers do it after 5 s, and whoever sends
at that moment gets no answer."""
MOST_BYTES: Final = 64 * 2**20
"""Of one answer, unpacked. Sixteen prompts of 4,096 tokens in all with 20 likeliest tokens at each
place are about 3 MB."""
_SHOWN: Final = 300
_LOOKED_AT: Final = 64 * 2**10
_SHORTEST: Final = 4
"""Characters of a secret: a header whose value is `1` is none, and 1 is all over a text."""
_SHORTEST_IN_ANSWERS: Final = 12
_MASK: Final = "***"
_OK, _TOO_MANY, _SERVER_ERROR = 200, 429, 500
_NO_ENTRY: Final = {401: "wants a key: --api-key-env", 403: "does not let this key in"}


class Reply(msgspec.Struct, frozen=True):
    """A good answer's body, and when it was asked for."""

    body: bytes
    sent_ns: int
    latency_ms: float
    attempts: int


class Refusal(msgspec.Struct, frozen=True):
    """A request that the server did not take (4xx): the same again would not be taken either."""

    status: int
    text: str
    attempts: int

    def failure(self) -> Failure:
        """Return it as what it is to an item."""
        text = f"HTTP {self.status}: {self.text}"
        return Failure(code="status", text=text, attempts=self.attempts)


class Connection:
    """Sends requests to one endpoint. An async context manager."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Prepare; nothing is sent.

        Raises:
            ReachError: a variable that holds a header's value is not set, or the CA file is of no
                use.
        """
        headers = headers_of(endpoint)
        self._secrets = secrets_in(headers.values())
        self._timeout_s = endpoint.timeout_s
        self._base_url = endpoint.base_url
        self._free = asyncio.Semaphore(endpoint.concurrency)
        self._answered = 0
        self.sent = 0
        """Requests so far."""
        # Neither proxies of the environment nor redirects: who is graded is who was named.
        self._http = httpx.AsyncClient(
            headers={"content-type": "application/json", **headers},
            timeout=endpoint.timeout_s,
            trust_env=False,
            follow_redirects=False,
            verify=_trust(endpoint),
            limits=httpx.Limits(
                max_connections=endpoint.concurrency,
                max_keepalive_connections=endpoint.concurrency,
                keepalive_expiry=_IDLE_S,
            ),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, url: str) -> Reply | Refusal | Failure:
        """Ask for a page."""
        return await self._ask("GET", url, None)

    async def post(self, url: str, body: bytes) -> Reply | Refusal | Failure:
        """Send a body and return what comes back.

        Raises:
            ReachError: nobody answers there, or the key is refused.
        """
        return await self._ask("POST", url, body)

    async def lines(self, url: str, body: bytes) -> list[bytes] | Failure:
        """Return a streamed answer's lines that are not empty; asked once."""
        self.sent += 1
        try:
            async with (
                self._free,
                asyncio.timeout(self._timeout_s),
                self._http.stream("POST", url, content=body) as answer,
            ):
                data = await _read(answer)
        except _TooLargeError as error:
            return error.failure(1)
        except (httpx.HTTPError, TimeoutError) as error:
            return Failure(code="connect", text=f"{type(error).__name__}: {error}")
        if answer.status_code != _OK:
            text = f"HTTP {answer.status_code}: {self._start_of(data)}"
            return Failure(code="status", text=text)
        return [line for line in self._cleaned(data).splitlines() if line.strip()]

    async def _ask(self, method: str, url: str, body: bytes | None) -> Reply | Refusal | Failure:
        before = self._answered
        failure = Failure(code="connect", text="never sent")
        for attempt in range(1, ATTEMPTS + 1):
            wait_s = WAITS_S[min(attempt, len(WAITS_S)) - 1]
            async with self._free:
                sent_ns = time.monotonic_ns()
                self.sent += 1
                try:
                    async with (
                        asyncio.timeout(self._timeout_s),
                        self._http.stream(method, url, content=body) as answer,
                    ):
                        data = await _read(answer)
                except _TooLargeError as error:
                    return error.failure(attempt)
                except (httpx.TransportError, TimeoutError) as error:
                    failure = self._no_answer(error, attempt)
                else:
                    self._answered += 1
                    if answer.status_code == _OK:
                        latency_ms = (time.monotonic_ns() - sent_ns) / 1e6
                        return Reply(self._cleaned(data), sent_ns, latency_ms, attempt)
                    failed = self._refused(answer, data, attempt)
                    if not isinstance(failed, Failure) or failed.code == "redirect":
                        return failed
                    failure = failed
                    wait_s = max(wait_s, _asked_to_wait(answer.headers))
            if attempt < ATTEMPTS:
                await asyncio.sleep(wait_s)
        gone = failure.code == "connect" and self._answered == before
        if gone and not await self._answers_at_all():
            raise ReachError(f"{self._base_url}: {failure.text}: is the server up?")
        return failure

    async def _answers_at_all(self) -> bool:
        """Whether it was one request that got no answer, and not the server that is gone."""
        try:
            async with self._http.stream("GET", f"{self._base_url}/models", timeout=ALIVE_S):
                return True
        except httpx.TransportError:
            return False

    def _no_answer(self, error: Exception, attempt: int) -> Failure:
        if isinstance(error, TimeoutError):
            text = f"no answer within {self._timeout_s:g} s"
            return Failure(code="timeout", text=text, attempts=attempt)
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        return Failure(code="connect", text=text, attempts=attempt)

    def _refused(self, answer: httpx.Response, data: bytes, attempt: int) -> Refusal | Failure:
        status, text = answer.status_code, self._start_of(data)
        if (why := _NO_ENTRY.get(status)) is not None:
            raise ReachError(f"{self._base_url} {why} (HTTP {status}: {text})")
        if answer.is_redirect:
            to = self._hide(answer.headers.get("location", "nowhere")).partition("?")[0]
            text = f"HTTP {status} to {to}: redirects are not followed, give the final URL"
            return Failure(code="redirect", text=text, attempts=attempt)
        if status == _TOO_MANY or status >= _SERVER_ERROR:
            return Failure(code="status", text=f"HTTP {status}: {text}", attempts=attempt)
        return Refusal(status, text, attempt)

    def _start_of(self, data: bytes) -> str:
        """Return the start of a body in one line, without the secrets that were sent."""
        text = " ".join(self._hide(data[:_LOOKED_AT].decode(errors="replace")).split())
        return text[:_SHOWN] or "empty"

    def _cleaned(self, data: bytes) -> bytes:
        """Return a good answer without long secrets: short ones may be words of any answer."""
        for secret in self._secrets:
            if len(secret) >= _SHORTEST_IN_ANSWERS:
                data = data.replace(secret.encode(), b"*" * len(secret))
                if b"\\/" in data or b"\\u00" in data:
                    spelled = spelled_by(secret).encode()
                    data = re.sub(spelled, lambda found: b"*" * len(found[0]), data)
        return data

    def _hide(self, text: str) -> str:
        for secret in self._secrets:
            text = re.sub(spelled_by(secret), _MASK, text)
        return text


class _TooLargeError(Exception):
    def failure(self, attempt: int) -> Failure:
        text = f"the answer has more than {MOST_BYTES // 2**20} MiB; the rest was not read"
        return Failure(code="too_large", text=text, attempts=attempt)


async def _read(answer: httpx.Response) -> bytes:
    """Read a body; a server that never stops sending must not fill the memory."""
    data = bytearray()
    async for part in answer.aiter_bytes():
        data += part
        if len(data) > MOST_BYTES:
            raise _TooLargeError
    return bytes(data)


def headers_of(endpoint: Endpoint) -> dict[str, str]:
    """Return the headers whose values lie in the environment.

    Raises:
        ReachError: a variable is not set.
    """
    named = dict(endpoint.header_env)
    if endpoint.api_key_env is not None:
        named["authorization"] = endpoint.api_key_env
    if missing := [variable for variable in named.values() if not os.environ.get(variable)]:
        raise ReachError(f"the environment variable {', '.join(missing)} is not set")
    headers = {name: os.environ[variable] for name, variable in named.items()}
    if endpoint.api_key_env is not None:
        headers["authorization"] = f"Bearer {headers['authorization']}"
    return headers


def secrets_in(values: Iterable[str]) -> list[str]:
    """Return what of headers' values must not be shown, the longest first.

    A scheme in front (`Bearer`) is not part of it, and servers quote a value as JSON writes it.
    """
    found = {value for value in values if len(value) >= _SHORTEST}
    found |= {key for value in found if len(key := value.rpartition(" ")[2]) >= _SHORTEST}
    found |= {msgspec.json.encode(value).decode()[1:-1] for value in found}
    return sorted(found, key=len, reverse=True)


def spelled_by(secret: str) -> str:
    r"""Return what finds a secret however JSON may write it: `\/` for `/`, and `\u002f`."""
    return "".join(rf"(?:\\?{re.escape(one)}|\\u(?i:{ord(one):04x}))" for one in secret)


def _trust(endpoint: Endpoint) -> ssl.SSLContext:
    if endpoint.ca_file is None and endpoint.base_url.startswith("http://"):
        # Which trusts nobody: the system's authorities take 25 ms to read.
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ReachError(f"{endpoint.ca_file} is of no use as a CA file: {error}") from error
    if not endpoint.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _asked_to_wait(headers: Mapping[str, str]) -> float:
    try:
        return min(float(headers.get("retry-after", 0)), LONGEST_WAIT_S)
    except ValueError:  # a date
        return 0.0
