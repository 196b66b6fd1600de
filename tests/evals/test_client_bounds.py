"""What a hostile server must not do to the client: fill its memory, or have its key shown."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from evals.client import connection
from evals.client.connection import Connection, Refusal, secrets_in
from evals.endpoint import Endpoint
from evals.errors import ReachError
from evals.records import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEY = "sk-live-0123456789"
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


def ask(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    question: Callable[[Connection, str], Awaitable[Any]],
) -> Any:  # noqa: ANN401 - whatever the question returns
    """Ask a server that is `handle` at every connection."""

    async def run() -> object:
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}/v1"
            async with Connection(Endpoint(base_url=url, model="m", api_key_env="KEY")) as to:
                return await question(to, url)

    return asyncio.run(run())


def saying(status: str, body: bytes) -> Callable[..., Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    return handle


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", KEY)


@pytest.mark.parametrize("status", ["200 OK", "500 Oh"])
@pytest.mark.parametrize("ask_for", [Connection.post, Connection.lines])
def test_an_answer_without_an_end_is_not_read_to_it(
    monkeypatch: pytest.MonkeyPatch, status: str, ask_for: Callable[..., Awaitable[Any]]
) -> None:
    monkeypatch.setattr(connection, "MOST_BYTES", 2**20)
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            while sent < 2**27:
                writer.write(CHUNK)
                await writer.drain()
                sent += len(CHUNK)
        writer.close()

    found = ask(endless, lambda to, url: ask_for(to, url, b"{}"))
    assert isinstance(found, Failure)
    assert found.code == "too_large"
    assert "1 MiB" in found.text
    assert sent < 2**26, "hung up on, and asked only once"


@pytest.mark.parametrize("status", ["401 No", "403 No"])
def test_a_key_that_is_echoed_is_not_shown(status: str) -> None:
    handle = saying(status, b"bad header: Bearer %s" % KEY.encode())
    with pytest.raises(ReachError, match=r"HTTP 40. ?: bad header: \*\*\*") as caught:
        ask(handle, lambda to, url: to.post(url, b"{}"))
    assert KEY not in str(caught.value)


def test_nor_in_an_item_s_error() -> None:
    found = ask(saying("422 No", KEY.encode()), lambda to, url: to.post(url, b"{}"))
    assert isinstance(found, Refusal)
    assert found.text == "***"


def test_secrets_are_found_without_their_scheme_and_as_json_has_them() -> None:
    assert secrets_in(["Bearer abcd", 'a"bcd', "1"]) == ["Bearer abcd", 'a\\"bcd', 'a"bcd', "abcd"]
