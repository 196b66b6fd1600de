"""A server that somebody else runs, known by its URL."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from launchers.errors import ConnectError, suggest
from launchers.redact import redact_text
from launchers.server import Server
from launchers.trust import Trust, tls_problem
from launchers.vllm_facts import read_metrics, read_version

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION_SEGMENT = re.compile(r"v\d+\w*")
ENDPOINTS = ("/chat/completions", "/completions", "/models")
# What `owned_by` of a model says → the engine's name here.
OWNERS = {"vllm": "vllm", "llamacpp": "llama.cpp", "sglang": "sglang"}
SHOWN = 200


def connect(
    url: str,
    model: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    api_key_env: str | None = None,
    timeout_s: float = 10,
    trust: Trust | None = None,
) -> Server:
    """Find out what answers at an OpenAI-compatible URL.

    Args:
        url: the API's base, `http://host:port/v1`; `/v1` and `http://` may be left out.
        model: the name to ask for; may be left out where the server has only one.
        headers: sent with each request.
        api_key_env: environment variable whose value is sent as a bearer token.
        timeout_s: of each request made here.
        trust: whose certificates to take from an https:// URL; None for the system's choice.

    Raises:
        ConnectError: says what is wrong and what to do about it.
    """
    bases = candidates(url)
    sent = dict(headers or {})
    if api_key_env:
        if not (key := os.environ.get(api_key_env)):
            raise ConnectError(f"the environment variable {api_key_env} (--api-key-env) is not set")
        sent["Authorization"] = f"Bearer {key}"
    # Neither proxies of the environment nor redirects: what is measured is what was named.
    with httpx.Client(
        headers=sent,
        timeout=timeout_s,
        trust_env=False,
        follow_redirects=False,
        verify=(trust or Trust()).context(),
    ) as client:
        base, entries = _models(client, bases, model)
        entry = _choose(entries, model, base)
        return _describe(client, base, entry)


def candidates(url: str) -> list[str]:
    """Return the API bases that a URL as people type it may mean, the likeliest first."""
    parts = _parse(url)
    path = parts.path.rstrip("/")
    for endpoint in ENDPOINTS:
        path = path.removesuffix(endpoint)
    root = SplitResult(parts.scheme, parts.netloc, "", "", "")
    bases = [path] if VERSION_SEGMENT.fullmatch(path.rsplit("/", 1)[-1]) else [f"{path}/v1"]
    if path and path not in bases:
        bases.append(path)
    return [urlunsplit(root._replace(path=base)) for base in bases]


def _parse(url: str) -> SplitResult:
    example = "give the API's base, e.g. http://127.0.0.1:8000/v1"
    text = url.strip()
    if "://" not in text:
        text = f"http://{text}"
    # A user before a query: a password may hold a "?". What urlsplit complains of may be a part.
    shown = re.split("[?#]", redact_text("".join(text.split())))[0]
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ConnectError(f"{shown!r} is no URL, its host or port is wrong: {example}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ConnectError(f"{shown!r} is no http:// or https:// URL: {example}")
    if parts.username is not None:
        raise ConnectError(
            "the URL holds a user name, which would be written into the run folder: "
            "use --api-key-env or --header"
        )
    if parts.query or parts.fragment:
        raise ConnectError(f"{shown!r} was given with a query or a fragment: {example}")
    return parts


def _models(
    client: httpx.Client, bases: list[str], model: str | None
) -> tuple[str, list[dict[str, object]]]:
    """Return the base that answers and its list of models."""
    problems: list[str] = []
    for base in bases:
        reply = _get(client, f"{base}/models")
        if reply.status_code == httpx.codes.OK:
            if (entries := _entries(reply)) is not None:
                return base, entries
            problems.append(f"{base}/models answered 200 with no list of models ({_start(reply)})")
            continue
        _refuse(reply, base)
        problems.append(f"{base}/models answered {reply.status_code} ({_start(reply)})")
        # Some servers serve models without being able to list them.
        listless = reply.is_server_error or _healthy(client, base)
        if model and listless:
            return base, [{"id": model}]
    raise ConnectError(
        "; ".join(problems) + ": is this an OpenAI-compatible server, and is the URL the API's "
        "base, e.g. http://127.0.0.1:8000/v1? For a server that cannot list its models, name "
        "one with --model"
    )


def _get(client: httpx.Client, url: str) -> httpx.Response:
    try:
        return client.get(url)
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


def _refuse(reply: httpx.Response, base: str) -> None:
    code = reply.status_code
    if code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise ConnectError(
            f"{base}/models answered {code}: the server wants a key; put it into an environment "
            "variable and name that with --api-key-env, or give --header"
        )
    if reply.is_redirect:
        raise ConnectError(
            f"{base}/models redirects to {redact_text(reply.headers.get('location', 'nowhere'))}: "
            "redirects are not followed, as they would be measured; give the final URL"
        )


def _entries(reply: httpx.Response) -> list[dict[str, object]] | None:
    try:
        page = reply.json()
    except ValueError:
        return None
    data = page.get("data") if isinstance(page, dict) else None
    if not isinstance(data, list):
        return None
    return [item for item in data if isinstance(item, dict) and isinstance(item.get("id"), str)]


def _choose(entries: list[dict[str, object]], model: str | None, base: str) -> dict[str, object]:
    names = [str(entry["id"]) for entry in entries]
    if model is None:
        if len(names) == 1:
            return entries[0]
        listed = f"serves {', '.join(names)}: choose one" if names else "lists no model: name one"
        raise ConnectError(f"{base} {listed} with --model")
    if model in names:
        return entries[names.index(model)]
    raise ConnectError(f"{base} serves no model {model!r}: {suggest(model, names)}")


def _describe(client: httpx.Client, base: str, entry: dict[str, object]) -> Server:
    root = _root(base)
    version = read_version(_page(client, f"{root}/version"))
    engine = OWNERS.get(str(entry.get("owned_by")), "unknown")
    metrics = read_metrics(_page(client, f"{root}/metrics")) if engine == "vllm" else {}
    length, tokens = entry.get("max_model_len"), metrics.get("kv_cache_tokens")
    return Server(
        build="url",
        engine=engine,
        engine_version=version,
        base_url=base,
        model=str(entry["id"]),
        pin_output=("ignore_eos", "min_tokens") if engine == "vllm" else (),
        max_model_len=length if isinstance(length, int) else None,
        kv_cache_tokens=tokens if isinstance(tokens, int) else None,
        provenance={"url": base, "engine": engine, "engine_version": version, "reported": metrics},
    )


def _root(base: str) -> str:
    """Where a server has its other pages: behind a gateway, that is not the host's root."""
    folder, _, last = base.rpartition("/")
    return folder if VERSION_SEGMENT.fullmatch(last) else base


def _page(client: httpx.Client, url: str) -> str:
    """Return a page's text; empty when there is none."""
    try:
        reply = client.get(url)
    except httpx.HTTPError:
        return ""
    return reply.text if reply.status_code == httpx.codes.OK else ""


def _healthy(client: httpx.Client, base: str) -> bool:
    try:
        return client.get(f"{_root(base)}/health").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _start(reply: httpx.Response) -> str:
    text = " ".join(reply.text.split())[:SHOWN]
    return text or "empty"
