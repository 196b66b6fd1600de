"""What a server says of itself on its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from evals.errors import ReachError

if TYPE_CHECKING:
    from evals.probe.asking import Asker

_OWNERS: Final = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp", "mock": "mock"}
_SGLANG_PAGES: Final = ("server_info", "get_server_info")  # the older name second
_SAMPLING: Final = (
    "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "repetition_penalty",
    "presence_penalty", "frequency_penalty", "sampling_defaults", "preferred_sampling_params",
)  # fmt: skip


class Facts(msgspec.Struct, kw_only=True):
    """As told; nothing of it is proved."""

    engine: str
    engine_version: str | None
    models: list[str]
    context_length: int | None
    sampling_defaults: dict[str, object]


async def read_facts(asker: Asker) -> Facts:
    """Ask the pages that engines have.

    Raises:
        ReachError: nobody answers, or the model is not served.
    """
    endpoint = asker.endpoint
    entries = _entries(await asker.page(f"{asker.base}/models"))
    names = [str(entry["id"]) for entry in entries]
    if names and endpoint.model not in names:
        raise ReachError(
            f"{endpoint.base_url} serves no model {endpoint.model!r}, but {', '.join(names)}"
        )
    entry = next((entry for entry in entries if entry["id"] == endpoint.model), {})
    engine = endpoint.engine
    if engine == "unknown":
        engine = _OWNERS.get(str(entry.get("owned_by")), "unknown")
    length = entry.get("max_model_len")
    facts = Facts(
        engine=engine,
        engine_version=endpoint.engine_version,
        models=names,
        context_length=length if isinstance(length, int) else endpoint.max_model_len,
        sampling_defaults={},
    )
    await _ask_further(asker, facts)
    if facts.engine == "unknown" and await asker.write("a", 1) is None:
        facts.engine = "openai"  # a server that refuses what OpenAI's own API does not know
    return facts


async def _ask_further(asker: Asker, facts: Facts) -> None:
    """Fill in what the engine's own pages say; of an unknown engine they say which it is."""
    root = asker.endpoint.root
    if facts.engine in {"vllm", "mock", "unknown"} and facts.engine_version is None:
        facts.engine_version = _text(_object(await asker.page(f"{root}/version")), "version")
    if facts.engine in {"sglang", "unknown"}:
        await _ask_sglang(asker, facts)
    if facts.engine in {"llama.cpp", "unknown"}:
        page = _object(await asker.page(f"{root}/props"))
        settings = _object(page.get("default_generation_settings"))
        if settings:
            facts.engine = "llama.cpp"
            _take(facts, page, "build_info", settings.get("n_ctx"))
            _take_sampling(facts, settings | _object(settings.get("params")))
    if facts.engine in {"tgi", "unknown"}:
        page = _object(await asker.page(f"{root}/info"))
        if "model_id" in page and "max_total_tokens" in page:
            facts.engine = "tgi"
            _take(facts, page, "version", page["max_total_tokens"])


async def _ask_sglang(asker: Asker, facts: Facts) -> None:
    for name in _SGLANG_PAGES:
        page = _object(await asker.page(f"{asker.endpoint.root}/{name}"))
        if "model_path" in page:
            facts.engine = "sglang"
            _take(facts, page, "version", page.get("context_length"))
            _take_sampling(facts, page)
            return


def _take(facts: Facts, page: dict[str, object], version: str, length: object) -> None:
    facts.engine_version = facts.engine_version or _text(page, version)
    if isinstance(length, int) and facts.context_length is None:
        facts.context_length = length


def _take_sampling(facts: Facts, page: dict[str, object]) -> None:
    facts.sampling_defaults = {name: page[name] for name in _SAMPLING if name in page}


def _entries(page: object) -> list[dict[str, object]]:
    data = _object(page).get("data")
    entries = data if isinstance(data, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and "id" in entry]


def _object(page: object) -> dict[str, object]:
    return page if isinstance(page, dict) else {}


def _text(page: dict[str, object], name: str) -> str | None:
    value = page.get(name)
    return value if isinstance(value, str) else None
