from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launchers.redact import (
    MASK,
    is_secret,
    redact_argv,
    redact_json,
    redact_mapping,
    redact_text,
)

S = "s3cr3t"

SECRET_NAMES = [
    *("--api-key", "--api_key", "--hf-token", "-token", "--admin-api-key", "--s3-access-key-id"),
    *("--ssl-keyfile-password", "api_keys", "accessToken", "APIKey", "x-api-key", "Authorization"),
    *(
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "X-Amz-Signature",
        "sig",
        "bearer",
        "my.token",
    ),
    *(
        "API_KEYS",
        "VLLM_API_KEYS",
        "HF_TOKENS",
        "HF_TOKEN",
        "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
    ),
    *("DB_PASS", "DB_PASS_2", "SSHPASS", "PGPASSWORD", "MYSQL_PWD", "DB_PW", "KEY_PASSPHRASE"),
    *("BASIC_AUTH", "REGISTRY_AUTH", "SESSION_COOKIE", "GITHUB_PAT", "BEARER", "SIGNATURE"),
    *("GCP_CREDENTIALS", "SENTRY_DSN", "APITOKEN", "MY_SECRETS", "GitHubPAT", "dbPassword"),
]
HARMLESS_NAMES = [
    *("--max-num-batched-tokens", "--max-num-queued-tokens", "--max-tokens", "--min-tokens"),
    *("--max-new-tokens", "--max-total-tokens", "--spec-tokens", "--num-speculative-tokens"),
    *("--tokenizer", "--tokenizer-mode", "--skip-tokenizer-init", "--disable-detokenize"),
    *("--token-ids", "eos_token_id", "pad_token", "--return-tokens-as-token-ids", "--tokens-only"),
    *("--long-prefill-token-threshold", "--speculative-token-map", "--swa-full-tokens-ratio"),
    *("--prompt-tokens", "--output-tokens", "prompt_tokens", "output_tokens", "--api-key-env"),
    *("--enable-prompt-tokens-details", "num_experts_per_token", "image_token_index"),
    *("--enable-prefix-caching", "--kv-cache-dtype", "--kv-transfer-config", "num_key_value_heads"),
    *("linear_num_key_heads", "linear_key_head_dim", "--ignore-patterns", "--design", "author"),
    *("pass_config", "inductor_passes", "VLLM_ENABLE_PREGRAD_PASSES", "VLLM_LOGGING_LEVEL"),
    *("VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE", "VLLM_MULTI_STREAM_GEMM_TOKEN_THRESHOLD"),
    *("--lora-assignment", "--ssl-keyfile", "--allow-credentials", "--openai-compat", "keep-alive"),
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_name_hides_its_value(name: str) -> None:
    assert is_secret(name)
    assert redact_mapping({name: S}) == {name: MASK}
    assert redact_text(f"{name}={S}") == f"{name}={MASK}"
    assert redact_json({"a": [{name: [S]}]}) == {"a": [{name: MASK}]}
    for written in (
        *(f"{name}: {S}", f"{name}:{S}", f"https://h/v1?{name}={S}&v=2", f"x {name} = '{S} {S}' y"),
        *(f"{{'{name}': '{S} {S}', 'a': 1}}", f"{{\\'{name}\\': \\'{S}\\'}}", f"x=1;{name}={S}"),
        f"--json={{a: 1, {name}: {S}}}",
    ):
        assert S not in redact_text(written), written


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_a_harmless_name_shows_its_value(name: str) -> None:
    assert not is_secret(name)
    for written in (f"{name}=64", f"{name}=auto", f'{{"{name}":"auto","a":[1]}}', f"x?{name}=a"):
        assert redact_text(written) == written
    assert redact_argv([name, "a", "b"]) == [name, "a", "b"]


SECRETS = [
    ["--api-key", S],
    ["--api-key", f"-{S}"],
    ["--api-key", f"--{S}"],
    ["--api-key", S, S, "--port", "80"],
    ["--api-key", "--hf-token", S],
    ["-api-key", S],
    [f"--api-key={S}"],
    [f"--api-key={S} {S}"],
    [f"--x.hf_token={S}"],
    [f'--kv-transfer-config={{"kv_connector": "a", "hf_token": "{S}"}}'],
    ["--kv-transfer-config", json.dumps({"extra": {"list": [{"api_keys": [S]}]}})],
    ["--kv-transfer-config", json.dumps({"password": {"now": S}, "port": 1})],
    ["--kv-transfer-config", json.dumps({"url": f"redis://:{S}@h", "header": f"Bearer {S}"})],
    ["--kv-transfer-config", json.dumps({"nested": json.dumps({"hf_token": S})})],
    ["--kv-transfer-config", f"{{'hf_token': '{S}'}}"],
    [f"--otlp-traces-endpoint=https://u:{S}@h:4317"],
    ["--otlp-traces-endpoint", f"https://{S}@h"],
    ["--url", f"https://u:p/{S}@h"],
    ["--url", f"u:{S}@h:80"],
    ["--url", f"https://h/v1?accessToken={S}"],
    [f"--url=https://h/v1?v=2&sig={S}"],
    ["--header", f"Authorization: Bearer {S}"],
    ["--header", f"Authorization={S}"],
    ["--header", f"X-Trace={S}"],
    ["--header", S],
    [f"--header=X-Trace: {S}"],
    ["-H", f"X-Trace: {S}", "http://h"],
    [f"-HCookie: a={S}; b={S}"],
    ["--other", f"bearer {S}"],
    ["--other", f"Basic {S}"],
    ["--metadata", f"key_id={S}"],
    ["--metadata", f"team=sk-{S}abcdefgh"],
    ["--team", f"hf_{S}abcdefgh"],
    ["--team", f"ghp_{S}abcdefgh"],
    ["docker", "run", "-e", f"HTTPS_PROXY=http://u:{S}@p", "image"],
    ["docker", "run", "-e", f"WHATEVER={S}", "image"],
    ["docker", "run", "--env", f"whatever={S}", "image"],
    ["docker", "run", f"--env=WHATEVER={S}", "image"],
    ["docker", "run", "-e", f"VLLM_API_KEY={S}", "image"],
    ["env", f"HF_TOKENS={S}", "vllm"],
]


def command_lines() -> list[list[str]]:
    """Each as it is, and as shells, however quoted, would get it."""
    lines = [*SECRETS]
    for argv in SECRETS:
        script = shlex.join(["exec", "vllm", "serve", "m", *argv])
        lines += [["bash", "-c", script], ["sh", "-c", shlex.join(["bash", "-c", script])]]
    for argv in SECRETS:
        if all(word.isprintable() and '"' not in word for word in argv):
            lines.append(["bash", "-c", " ".join(f'"{word}"' for word in ["vllm", *argv])])
    return lines


@pytest.mark.parametrize("argv", command_lines(), ids=" ".join)
def test_no_secret_of_a_command_line_is_shown(argv: list[str]) -> None:
    shown = redact_argv(argv)
    assert S not in " ".join(shown)
    assert len(shown) == len(argv)
    assert MASK in " ".join(shown)
    assert redact_argv(shown) == shown


@pytest.mark.parametrize(
    "script",
    [
        f"export HF_TOKEN={S}; exec vllm serve m --port 80",
        f"HF_TOKEN={S} vllm serve m",
        f"vllm serve m --api-key {S} {S} && sleep 1",
        f"vllm serve m \\\n  --api-key {S} \\\n  --port 80",
        f"curl -H 'Authorization: Bearer {S}' http://h",
        f"curl -H Authorization:\\ Bearer\\ {S} http://h",
        f"don't --api-key {S} {S}",
        f"\"--api-key\" '{S} {S}'",
        f'cat <<< \'{{"hf_token": "{S}"}}\'',
        f"api_key:\n  {S}",
        f"x Authorization: Bearer {S}",
    ],
)
def test_no_secret_of_a_script_is_shown(script: str) -> None:
    assert S not in redact_text(script)
    assert S not in " ".join(redact_argv(["bash", "-c", script]))


ANY = st.text(max_size=8)


@given(before=ANY, after=ANY, name=st.sampled_from(SECRET_NAMES))
def test_nothing_in_a_secret_shows_it(before: str, after: str, name: str) -> None:
    value = f"{before}{S}{after}"
    for argv in (
        *([f"--{name}", value], [f"{name}={value}"], [f"{name}: {value}"], ["-H", f"X: {value}"]),
        *(["-e", f"X={value}"], [f"--x={json.dumps({name: value, 'a': [{name: value}]})}"]),
        ["--x", json.dumps({"x": json.dumps({name: value}, ensure_ascii=False)})],
    ):
        assert S not in " ".join(redact_argv(argv)), argv
        script = shlex.join(["exec", *argv])
        assert S not in redact_text(script), script
        assert S not in " ".join(redact_argv(["sh", "-c", shlex.join(["bash", "-c", script])]))
    assert redact_mapping({name: value, "X": value}) == {name: MASK, "X": MASK}


@given(st.text(alphabet="a=:-\"'\\{}[]/?&@ \n\t*k", max_size=40))
def test_any_text_can_be_redacted(text: str) -> None:
    redact_text(f"api_key{text}")
    assert len(redact_argv([text, text])) == 2


def test_what_is_no_secret_stays() -> None:
    argv = shlex.split(
        "/usr/bin/docker run --rm --init --name harness-awq-1 --shm-size=8g -p 127.0.0.1:8123:8000"
        " --gpus=all -v /models/m@v1:/models/m:ro -e HF_TOKEN -e VLLM_NO_USAGE_STATS=1"
        " -e DO_NOT_TRACK=1 -e VLLM_API_KEY= -e CUDA_VISIBLE_DEVICES=0,1"
        " vllm/vllm-openai:v0.32.0@sha256:0123456789abcdef --model /models/hf_checkpoints/m"
        " --host=0.0.0.0 --max-num-batched-tokens=8192 --max-num-queued-tokens 1k --tokenizer org/t"
        " --enable-prefix-caching --kv-cache-dtype fp8 --lora-modules a=/x b=/y --hf_overrides"
        """ '{"num_key_value_heads": 8, "eos_token_id": [1, 2], "rope": {"theta": 1e6}}'"""
        """ -cc.pass_config.fuse_norm_quant=true -cc '{"pass_config": {"fuse_norm_quant": true}}'"""
        " --otlp-traces-endpoint http://auth-gateway:4317/v1 --allow-credentials --revision main"
        " --slo ttft_p95_ms<=500,tpot_p95_ms<=50 --goodput ttft:500 tpot:50"
        " --api-key-env MY_KEY --metadata GPU=H100 'note=two words, 3 tokens'"
        " --url http://127.0.0.1:8000/v1?version=2 --limit-mm-per-prompt image=4"
    )
    assert redact_argv(argv) == argv
    assert redact_argv([]) == []
    assert redact_text("") == ""


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["--api-key", "a", "b", "--port", "80"], ["--api-key", "***", "***", "--port", "80"]),
        (["--header", "X-Trace=a", "b"], ["--header", "X-Trace=***", "b"]),
        (["--url", "https://me:a@h/v1?key=b&v=2"], ["--url", "https://***@h/v1?key=***&v=2"]),
        (['--x={"hf_token": "é", "port": 1}'], ['--x={"hf_token": "***", "port": 1}']),
        (["-e", "NO_PROXY=h", "image", "a=b"], ["-e", "NO_PROXY=***", "image", "a=b"]),
        (
            ["bash", "-c", "exec vllm  serve m --api-key a --port 80"],
            ["bash", "-c", "exec vllm  serve m --api-key *** --port 80"],
        ),
    ],
)
def test_around_a_secret_all_stays(given: list[str], shown: list[str]) -> None:
    assert redact_argv(given) == shown


def test_variables_are_shown_only_where_they_are_known() -> None:
    known = [
        *("VLLM_LOGGING_LEVEL", "HF_HUB_OFFLINE", "HF_HOME", "OMP_NUM_THREADS", "KMP_AFFINITY"),
        *("MKL_NUM_THREADS", "TORCH_LOGS", "PYTORCH_CUDA_ALLOC_CONF", "NCCL_DEBUG", "LD_PRELOAD"),
        *(
            "CUDA_VISIBLE_DEVICES",
            "NVIDIA_VISIBLE_DEVICES",
            "TOKENIZERS_PARALLELISM",
            "DO_NOT_TRACK",
        ),
    ]
    shown = dict.fromkeys(known, "expandable_segments:True")
    switches = {"VLLM_API_KEY": "", "VLLM_USE_FASTOKENS": "0", "X": "1"}
    assert redact_mapping(shown | switches) == shown | switches
    names = [
        "HTTPS_PROXY",
        "http_proxy",
        "VLLM_API_KEYS",
        "HF_TOKENS",
        "CUDA_AUTH",
        "FOO",
        "X_VLLM_A",
    ]
    assert redact_mapping(dict.fromkeys(names, S)) == dict.fromkeys(names, MASK)
    seen = redact_mapping({"VLLM_USAGE_STATS_SERVER": f"https://u:{S}@h", "TORCH_X": f"Bearer {S}"})
    assert seen == {"VLLM_USAGE_STATS_SERVER": f"https://{MASK}@h", "TORCH_X": f"Bearer {MASK}"}


def test_json_keeps_what_is_not_text() -> None:
    page = {"use_auth": True, "token": None, "keys": [], "n": 1.5, "x": [False, "text"]}
    assert redact_json(page) == page
    assert redact_json({"token": 12}) == {"token": MASK}
