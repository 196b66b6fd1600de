"""A server that somebody else runs, known by its URL."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx

from launchers.engines import Facts, load_engine
from launchers.errors import ConnectError, suggest
from launchers.native import NATIVE, is_tgi
from launchers.pages import fetch, get, json_object, json_page, page_text, refuse, start_of
from launchers.redact import redact_text
from launchers.server import Server
from launchers.trust import Trust, nobody
from launchers.vllm_facts import read_version

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION_SEGMENT = re.compile(r"v\d+\w*")
ENDPOINTS = (
    "/chat/completions", "/completions", "/models", "/generate_stream", "/generate", "/completion",
)  # fmt: skip
# What `owned_by` of a model says → the engine's name here. Our own mock says so of all engines at
# once, TGI's page among theirs, and is none of them.
OWNERS = {"vllm": "vllm", "llamacpp": "llama.cpp", "sglang": "sglang", "mock": "unknown"}


def connect(
    url: str,
    model: str | None = None,
    *,
    dialect: str | None = None,
    headers: Mapping[str, str] | None = None,
    api_key_env: str | None = None,
    timeout_s: float = 10,
    trust: Trust | None = None,
) -> Server:
    """Find out what answers at a URL.

    Args:
        url: the API's base, `http://host:port/v1`; `/v1` and `http://` may be left out.
        model: the name to ask for; may be left out where the server has only one.
        dialect: what it is to speak: OpenAI's API unless "tgi" or "llamacpp" is said, which
            engines have at their root.
        headers: sent with each request.
        api_key_env: environment variable whose value is sent as a bearer token.
        timeout_s: of each request made here.
        trust: whose certificates to take from an https:// URL; None for the system's choice.

    Raises:
        ConnectError: says what is wrong and what to do about it.
    """
    bases = candidates(url)
    trust = trust or Trust()
    plain = trust.ca_file is None and all(base.startswith("http://") for base in bases)
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
        verify=nobody() if plain else trust.context(),
    ) as client:
        if (native := NATIVE.get(dialect or "")) is not None:
            return native(client, root_of(bases[0]), model)
        base, entries = _models(client, bases, model)
        entry = _choose(entries, model, base)
        return _describe(client, base, entry)


def root_of(base: str) -> str:
    """Where a server has its other pages: behind a gateway, that is not the host's root."""
    folder, _, last = base.rpartition("/")
    return folder if VERSION_SEGMENT.fullmatch(last) else base


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
        reply = get(client, f"{base}/models")
        if reply.status_code == httpx.codes.OK:
            if (entries := _entries(reply)) is not None:
                return base, entries
            problems.append(
                f"{base}/models answered 200 with no list of models ({start_of(reply)})"
            )
            continue
        refuse(reply)
        problems.append(f"{base}/models answered {reply.status_code} ({start_of(reply)})")
        # Some servers serve models without being able to list them.
        listless = reply.is_server_error or _healthy(client, base)
        if model and listless:
            return base, [{"id": model}]
    raise ConnectError(
        "; ".join(problems) + ": is this an OpenAI-compatible server, and is the URL the API's "
        "base, e.g. http://127.0.0.1:8000/v1? For a server that cannot list its models, name "
        "one with --model"
    )


def _entries(reply: httpx.Response) -> list[dict[str, object]] | None:
    page = json_page(reply)
    data = None if page is None else page.get("data")
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
    root = root_of(base)
    name = OWNERS.get(str(entry.get("owned_by"))) or _unowned(client, root)
    if name == "unknown":
        pins: tuple[str, ...] = ()
        facts = Facts(version=read_version(page_text(client, f"{root}/version")))
    else:
        engine = load_engine(name)
        pages = {path: page_text(client, root + path) for path in engine.fact_pages}
        pins, facts = engine.pin_output, engine.facts("", pages)
    length = entry.get("max_model_len")
    told = {key: value for key, value in facts.provenance.items() if value is not None}
    return Server(
        build="url",
        engine=name,
        engine_version=facts.version,
        base_url=base,
        model=str(entry["id"]),
        pin_output=pins,
        max_model_len=length if isinstance(length, int) else facts.max_model_len,
        kv_cache_tokens=facts.kv_cache_tokens,
        provenance={"url": base, "engine": name, "engine_version": facts.version, "reported": told},
    )


def _unowned(client: httpx.Client, root: str) -> str:
    """Which engine it is whose models are not owned by it: TGI names the model there."""
    return "tgi" if is_tgi(json_object(page_text(client, f"{root}/info"))) else "unknown"


def _healthy(client: httpx.Client, base: str) -> bool:
    try:
        return fetch(client, f"{root_of(base)}/health").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
