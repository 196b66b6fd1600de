from __future__ import annotations

import pytest

from launchers.redact import is_secret, redact_argv, redact_mapping


@pytest.mark.parametrize(
    "name", ["--api-key", "HF_TOKEN", "OPENAI_API_KEY", "password", "Authorization", "MY_SECRET"]
)
def test_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["--max-num-batched-tokens", "--tokenizer", "--tokenizer-mode", "--dtype", "VLLM_LOGGING"],
)
def test_no_secrets(name: str) -> None:
    assert not is_secret(name)


def test_a_command_line() -> None:
    argv = ["docker", "-e", "HF_TOKEN=abc", "--api-key", "abc", "--api-key=abc", "--port=1"]
    assert redact_argv(argv) == [
        *("docker", "-e", "HF_TOKEN=<hidden>", "--api-key", "<hidden>", "--api-key=<hidden>"),
        "--port=1",
    ]
    assert redact_mapping({"A": "1", "A_KEY": "2"}) == {"A": "1", "A_KEY": "<hidden>"}
