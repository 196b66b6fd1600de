"""Code that came with a model is told, in whatever words its engine was told to run it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.evidence.model_code import model_code


@pytest.mark.parametrize(
    "provenance",
    [
        {"argv": ["vllm", "serve", "--trust-remote-code", "--port=1"]},
        {"argv": ["transformers", "serve", "--trust_remote_code"]},
        {"argv": ["vllm", "--trust-remote-code=True"]},
        {"argv": ["docker", "run", "tgi"], "environment": {"TRUST_REMOTE_CODE": "true"}},
    ],
)
def test_trusted(provenance: dict[str, Any]) -> None:
    (caveat,) = model_code("awq", provenance)
    assert caveat.code == "model_code"
    assert caveat.text.startswith("awq runs code that came with its model")
    assert not caveat.invalidates


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {"argv": ["vllm", "--model=trust-remote-code", "--no-trust-remote-code"]},
        {"argv": ["vllm", "--trust-remote-code=false"]},
        {"argv": None, "environment": {"TRUST_REMOTE_CODE": "0"}},
    ],
)
def test_not_trusted(provenance: dict[str, Any]) -> None:
    assert list(model_code("awq", provenance)) == []
