"""Servers at APIs of their own: Text Generation Inference and llama.cpp, known by their pages."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from launchers.errors import ConnectError, suggest
from launchers.pages import get, json_page, refuse, start_of
from launchers.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

TGI_FACTS = (
    "model_sha", "model_dtype", "model_device_type", "max_concurrent_requests", "max_input_tokens",
    "max_input_length", "max_total_tokens", "max_batch_total_tokens", "router", "sha",
    "docker_label",
)  # fmt: skip
_LLAMA_FACTS = ("model_path", "total_slots", "build_info", "modalities")


def is_tgi(info: Mapping[str, object]) -> bool:
    """Whether a page `/info` is TGI's; one of Text Embeddings Inference is none."""
    served, length = info.get("model_id"), info.get("max_total_tokens")
    return isinstance(served, str) and isinstance(length, int)


def connect_tgi(client: httpx.Client, root: str, model: str | None) -> Server:
    """Find out what a TGI says of itself at `/info`.

    Raises:
        ConnectError: it is none, or serves another model.
    """
    reply = get(client, f"{root}/info")
    info = json_page(reply) or {}
    if not is_tgi(info):
        raise _misfit(client, root, reply, "tgi", "a Text Generation Inference server")
    served, length = str(info["model_id"]), info["max_total_tokens"]
    if model not in (None, served):
        raise ConnectError(f"{root} serves {served} alone, not {model!r}: leave --model out")
    version = info.get("version")
    return Server(
        build="url",
        engine="tgi",
        engine_version=version if isinstance(version, str) else None,
        base_url=root,
        model=served,
        max_model_len=length if isinstance(length, int) else None,
        provenance=_provenance(root, "tgi", version, info, TGI_FACTS),
    )


def connect_llamacpp(client: httpx.Client, root: str, model: str | None) -> Server:
    """Find out what a llama.cpp server says of itself at `/props` and `/v1/models`.

    Raises:
        ConnectError: it is none, or serves another model.
    """
    reply = get(client, f"{root}/props")
    props = json_page(reply) or {}
    settings = props.get("default_generation_settings")
    if not isinstance(settings, dict):
        raise _misfit(client, root, reply, "llamacpp", "a llama.cpp server")
    names = _names(client, root)
    if model is not None and names and model not in names:
        raise ConnectError(f"{root} serves no model {model!r}: {suggest(model, names)}")
    if model is None and len(names) > 1:
        raise ConnectError(f"{root} serves {', '.join(names)}: choose one with --model")
    path, version = props.get("model_path"), props.get("build_info")
    length = settings.get("n_ctx")
    stem = PurePosixPath(path).stem if isinstance(path, str) else "model"
    return Server(
        build="url",
        engine="llama.cpp",
        engine_version=version if isinstance(version, str) else None,
        base_url=root,
        model=model or (names[0] if names else stem),
        pin_output=("ignore_eos",),
        max_model_len=length if isinstance(length, int) and length > 0 else None,
        provenance=_provenance(root, "llama.cpp", version, props, _LLAMA_FACTS),
    )


def _names(client: httpx.Client, root: str) -> list[str]:
    """The models of `/v1/models`; older servers list none."""
    data = (json_page(get(client, f"{root}/v1/models")) or {}).get("data")
    entries = data if isinstance(data, list) else []
    return [str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry]


def _provenance(
    root: str, engine: str, version: object, page: dict[str, object], facts: tuple[str, ...]
) -> dict[str, object]:
    reported = {name: page[name] for name in facts if page.get(name) is not None}
    return {"url": root, "engine": engine, "engine_version": version, "reported": reported}


def _misfit(
    client: httpx.Client, root: str, reply: httpx.Response, dialect: str, wanted: str
) -> ConnectError:
    """Say that a server does not speak the dialect, and which one it may speak.

    Raises:
        ConnectError: where it wants a key, or leads elsewhere.
    """
    refuse(reply)
    where = f"{reply.url.path} answered {reply.status_code} ({start_of(reply)})"
    openai = json_page(get(client, f"{root}/v1/models")) is not None
    fix = (
        "it speaks OpenAI's API, so take --dialect openai-completions or openai-chat"
        if openai
        else "is it the right URL, e.g. http://127.0.0.1:8080?"
    )
    return ConnectError(f"--dialect {dialect} is for {wanted}, and {root} is none: {where}; {fix}")


NATIVE: Final[dict[str, Callable[[httpx.Client, str, str | None], Server]]] = {
    "tgi": connect_tgi,
    "llamacpp": connect_llamacpp,
}
"""Dialect → who finds out what such a server is."""
