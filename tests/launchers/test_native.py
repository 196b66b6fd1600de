"""Servers at APIs of their own, known by their pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from launchers.errors import ConnectError
from launchers.url import candidates, connect

if TYPE_CHECKING:
    from tests.launchers.conftest import Serve

INFO: dict[str, Any] = {
    "model_id": "bigscience/bloom-560m", "model_sha": "e985",
    "model_pipeline_tag": "text-generation",
    "max_concurrent_requests": 128, "max_best_of": 2, "max_stop_sequences": 4,
    "max_input_tokens": 1024, "max_total_tokens": 2048, "validation_workers": 2,
    "max_client_batch_size": 32, "router": "text-generation-router", "version": "3.3.6",
    "sha": None, "docker_label": None,
}  # fmt: skip
"""The example of TGI's `docs/openapi.json`, version and hash filled in."""
PROPS: dict[str, Any] = {
    "default_generation_settings": {"id": 0, "n_ctx": 1024, "speculative": False},
    "total_slots": 4, "model_path": "../models/Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
    "chat_template": "...", "modalities": {"vision": False}, "build_info": "b6000-abc",
}  # fmt: skip
"""The example of llama.cpp's `tools/server/README.md`, shortened."""


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/generate_stream", "/generate"])
def test_a_tgi_is_known_by_its_info(serve: Serve, suffix: str) -> None:
    root = serve({"/info": (200, INFO)})
    server = connect(root + suffix, dialect="tgi")
    assert (server.engine, server.engine_version) == ("tgi", "3.3.6")
    assert (server.base_url, server.model) == (root, "bigscience/bloom-560m")
    assert (server.max_model_len, server.pin_output) == (2048, ())
    reported = server.provenance["reported"]
    assert isinstance(reported, dict)
    assert (reported["model_sha"], reported["max_input_tokens"]) == ("e985", 1024)
    assert "docker_label" not in reported
    assert connect(root, INFO["model_id"], dialect="tgi").model == INFO["model_id"]
    with pytest.raises(ConnectError, match="leave --model out"):
        connect(root, "llama", dialect="tgi")


def test_behind_a_gateway_the_root_is_not_the_hosts(serve: Serve) -> None:
    root = serve({"/tgi/info": (200, INFO)})
    assert connect(f"{root}/tgi", dialect="tgi").base_url == f"{root}/tgi"


@pytest.mark.parametrize("suffix", ["", "/v1", "/completion"])
def test_a_llamacpp_is_known_by_its_props(serve: Serve, suffix: str) -> None:
    models = {"object": "list", "data": [{"id": "llama-8b", "owned_by": "llamacpp"}]}
    root = serve({"/props": (200, PROPS), "/v1/models": (200, models)})
    server = connect(root + suffix, dialect="llamacpp")
    assert (server.engine, server.engine_version) == ("llama.cpp", "b6000-abc")
    assert (server.base_url, server.model) == (root, "llama-8b")
    assert (server.max_model_len, server.pin_output) == (1024, ("ignore_eos",))
    with pytest.raises(ConnectError, match="did you mean 'llama-8b'"):
        connect(root, "llama-8", dialect="llamacpp")
    older = serve({"/props": (200, PROPS | {"default_generation_settings": {}})})
    server = connect(older, dialect="llamacpp")
    assert server.model == "Meta-Llama-3.1-8B-Instruct-Q4_K_M"
    assert server.max_model_len is None
    assert connect(older, "mine", dialect="llamacpp").model == "mine"


def test_several_models_want_a_choice(serve: Serve) -> None:
    models = {"data": [{"id": "a"}, {"id": "b"}]}
    root = serve({"/props": (200, PROPS), "/v1/models": (200, models)})
    with pytest.raises(ConnectError, match="serves a, b: choose one with --model"):
        connect(root, dialect="llamacpp")
    assert connect(root, "b", dialect="llamacpp").model == "b"


@pytest.mark.parametrize(("dialect", "page"), [("tgi", "info"), ("llamacpp", "props")])
def test_a_misfit_is_told_with_the_fix(serve: Serve, dialect: str, page: str) -> None:
    models = (200, {"object": "list", "data": [{"id": "m", "owned_by": "vllm"}]})
    with pytest.raises(ConnectError) as told:
        connect(serve({"/v1/models": models}), dialect=dialect)
    assert f"/{page} answered 404" in str(told.value)
    assert "take --dialect openai-completions" in str(told.value)
    with pytest.raises(ConnectError, match="is it the right URL"):
        connect(serve({f"/{page}": (200, "<html>")}), dialect=dialect)
    with pytest.raises(ConnectError, match="--api-key-env"):
        connect(serve({f"/{page}": (401, "")}), dialect=dialect)
    with pytest.raises(ConnectError, match="redirects"):
        connect(serve({f"/{page}": (307, "")}), dialect=dialect)


def test_a_text_embeddings_server_is_no_tgi(serve: Serve) -> None:
    page = {"model_id": "BAAI/bge", "model_type": {"embedding": {}}, "max_input_length": 512}
    with pytest.raises(ConnectError, match="is none"):
        connect(serve({"/info": (200, page)}), dialect="tgi")


def test_endpoints_of_every_dialect_may_be_pasted() -> None:
    for end in ("/generate_stream", "/generate", "/completion", "/v1/completions"):
        assert candidates(f"http://h:1{end}") == ["http://h:1/v1"]
