from __future__ import annotations

import os
from dataclasses import replace

from harness.quality.endpoints import endpoint_of, identity_of
from launchers.server import Server

SERVER = Server(
    build="fp16",
    engine="vllm",
    engine_version="0.32.0",
    base_url="http://127.0.0.1:8000/v1",
    model="demo",
    pid=1,
    max_model_len=2048,
    provenance={"argv": ["vllm", "serve", "m", "--port", "8000"], "weights": {"sha256": "a"}},
)


def test_another_port_is_the_same_server_and_other_weights_are_not() -> None:
    again = {"argv": ["vllm", "serve", "m", "--port", "8001"], "weights": {"sha256": "a"}}
    other = {"argv": ["vllm", "serve", "m", "--port", "8000"], "weights": {"sha256": "b"}}
    longer = {"argv": ["vllm", "serve", "m", "--x", "--port=1"], "weights": {"sha256": "a"}}
    first = identity_of(SERVER)
    assert identity_of(replace(SERVER, provenance=again)) == first
    assert identity_of(replace(SERVER, provenance=other)) != first
    assert identity_of(replace(SERVER, provenance=longer)) != first
    assert identity_of(replace(SERVER, engine_version="0.33.0")) != first
    tgi = [{"argv": ["tgi", f"--port={port}", f"--shard-uds-path=/tmp/{port}"]} for port in (1, 2)]
    assert len({identity_of(replace(SERVER, provenance=one)) for one in tgi}) == 1


def test_values_of_headers_are_in_the_environment_alone() -> None:
    endpoint = endpoint_of(SERVER, headers={"X-Team": "hush"})
    ((name, variable),) = endpoint.header_env
    assert name == "X-Team"
    assert os.environ.pop(variable) == "hush"
    assert "hush" not in repr(endpoint)


def test_an_engine_that_nobody_knows_is_unknown() -> None:
    assert endpoint_of(replace(SERVER, engine="own")).engine == "unknown"
