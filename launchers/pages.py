"""Asking a server for a page, and what to say where it has none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import httpx

from launchers.errors import ConnectError
from launchers.redact import redact_text
from launchers.trust import tls_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES: Final = 16 * 2**20
"""Of one page, unpacked: a server that never stops sending must not fill the memory."""
_SHOWN = 200
_PACKING = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def fetch(
    client: httpx.Client,
    url: str,
    *,
    timeout_s: float | None = None,
    body: Mapping[str, object] | None = None,
) -> httpx.Response:
    """Return the answer to a GET, or to a POST of `body` as JSON.

    Raises:
        httpx.HTTPError: there is none, or it has more than MOST_BYTES.
    """
    timeout = client.timeout if timeout_s is None else timeout_s
    method = "GET" if body is None else "POST"
    with client.stream(method, url, json=body, timeout=timeout) as answer:
        data = bytearray()
        for part in answer.iter_bytes():
            data += part
            if len(data) > MOST_BYTES:
                text = f"the answer has more than {MOST_BYTES // 2**20} MiB"
                raise httpx.ReadError(text, request=answer.request)
    headers = [(name, value) for name, value in answer.headers.items() if name not in _PACKING]
    return httpx.Response(
        answer.status_code, headers=headers, content=bytes(data), request=answer.request
    )


def get(client: httpx.Client, url: str) -> httpx.Response:
    """Return the answer, whatever its status.

    Raises:
        ConnectError: there is none.
    """
    try:
        return fetch(client, url)
    except httpx.TimeoutException as error:
        raise ConnectError(f"{url} did not answer in time: is the server up and idle?") from error
    except httpx.ConnectError as error:
        if (problem := tls_problem(error)) is not None:
            raise ConnectError(f"cannot connect to {url}: {problem}") from error
        raise ConnectError(
            f"cannot connect to {url} ({error}): is the server up, and is it this host and port?"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConnectError(
            f"{url} does not speak HTTP as it should ({error}): is it the right port, and http "
            "or https as the server has it?"
        ) from error


def refuse(reply: httpx.Response) -> None:
    """Say what to do about an answer that wants a key, or leads elsewhere."""
    code, url = reply.status_code, redact_text(str(reply.url))
    if code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise ConnectError(
            f"{url} answered {code}: the server wants a key; put it into an environment "
            "variable and name that with --api-key-env, or give --header"
        )
    if reply.is_redirect:
        raise ConnectError(
            f"{url} redirects to {redact_text(reply.headers.get('location', 'nowhere'))}: "
            "redirects are not followed, as they would be measured; give the final URL"
        )


def json_page(reply: httpx.Response) -> dict[str, object] | None:
    """Return the JSON object of a good answer; None where there is none."""
    if reply.status_code != httpx.codes.OK:
        return None
    try:
        page = reply.json()
    except ValueError:
        return None
    return page if isinstance(page, dict) else None


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object that a page's text is; empty where it is something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def count_at(page: object, *path: str | int) -> int | None:
    """Return the whole number above 0 at a place of a page; None where there is something else."""
    found = _at(page, path)
    return found if type(found) is int and found > 0 else None


def word_at(page: object, *path: str | int) -> str | None:
    """Return the text at a place of a page; None where there is something else."""
    found = _at(page, path)
    return found if isinstance(found, str) else None


def _at(page: object, path: tuple[str | int, ...]) -> object:
    for step in path:
        try:
            page = page[step]  # type: ignore[index]
        except (LookupError, TypeError):
            return None
    return page


def page_text(client: httpx.Client, url: str) -> str:
    """Return a page's text; empty when there is none."""
    try:
        reply = fetch(client, url)
    except httpx.HTTPError:
        return ""
    return reply.text if reply.status_code == httpx.codes.OK else ""


def start_of(reply: httpx.Response) -> str:
    """Return the start of an answer's text, to be shown."""
    text = " ".join(redact_text(reply.text[: 4 * _SHOWN]).split())[:_SHOWN]
    return text or "empty"
