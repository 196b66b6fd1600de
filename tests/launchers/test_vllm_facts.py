from __future__ import annotations

from pathlib import Path

import pytest

from launchers.engines.vllm import ENGINE
from launchers.vllm_facts import read_log, read_metrics, read_version

LOGS = Path(__file__).parent / "logs"
"""Start-up logs of vLLM 0.32.0 on a CPU, each serving one of the built-in builds."""

METRICS = (
    "# TYPE vllm:cache_config_info gauge\n"
    'vllm:cache_config_info{block_size="128",cache_dtype="auto",enable_prefix_caching="True",'
    'engine="0",num_cpu_blocks="None",num_gpu_blocks="4096",sliding_window="None"} 1.0\n'
    'vllm:num_requests_running{engine="0",model_name="m"} 0.0\n'
)


@pytest.mark.parametrize(
    ("name", "kernel", "quantization"),
    [
        ("fp16", None, None),
        ("gptq", "CPUWNA16LinearKernel", "compressed-tensors"),
        ("awq", "CPUWNA16LinearKernel", "compressed-tensors"),
        ("nf4", None, "bitsandbytes"),
    ],
)
def test_the_log_of_each_builtin_build(name: str, kernel: str, quantization: str) -> None:
    facts = read_log((LOGS / f"{name}.log").read_text())
    assert facts.get("linear_kernel") == kernel
    assert facts["quantization"] == quantization
    assert facts["device"] == "cpu"
    assert facts["revision"] is None
    assert facts["engine_version"] == "0.32.0"
    assert facts["dtype"] in {"float16", "bfloat16"}
    assert facts["kv_cache_tokens"] == 524_288
    assert facts["kv_cache_gib"] == 1.0
    assert facts["max_concurrency"] == 256.0
    assert facts["max_model_len"] == 2048
    assert facts["openmp_cpus"] == [0]
    assert facts["enforce_eager"] is True
    assert facts["enable_prefix_caching"] is True


def test_lines_that_only_gpus_write() -> None:
    # As vllm/platforms/cuda.py, v1/worker/gpu_model_runner.py and kv_cache_utils.py format them.
    facts = read_log(
        "INFO [cuda.py:507] Using FLASH_ATTN attention backend out of potential backends: ['X'].\n"
        "INFO [x.py:1] Using MacheteLinearKernel for CompressedTensorsWNA16\n"
        "INFO [gpu_model_runner.py:1] Model loading took 4.27 GiB memory and 3.1 seconds\n"
        "INFO [kv_cache_utils.py:1] GPU KV cache size: 1,234,560 tokens\n"
        "INFO [kv_cache_utils.py:2] Maximum concurrency for 8,192 tokens per request: 150.70x\n"
    )
    assert facts == {
        "attention_backend": "FLASH_ATTN",
        "linear_kernel": "MacheteLinearKernel",
        "model_memory_gib": 4.27,
        "kv_cache_tokens": 1_234_560,
        "max_concurrency": 150.7,
    }


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        # As vllm/v1/worker/gpu_worker.py and cpu_worker.py of 0.32 format them.
        ("Available KV cache memory: 35.72 GiB", "kv_cache_gib", 35.72),
        (
            "Initial free memory 78.1 GiB, reserved 20.5 GiB memory for KV Cache as specified by",
            "kv_cache_gib",
            20.5,
        ),
        (
            "Auto set (9.12/15.6) GiB for KV cache on node 0, with 10.9 GiB requested memory",
            "kv_cache_gib",
            9.12,
        ),
        # As vllm/model_executor/kernels/linear/__init__.py and platforms/cuda.py format them.
        (
            "Selected CutlassInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8",
            "linear_kernel",
            "CutlassInt8ScaledMMLinearKernel",
        ),
        (
            "Selected FlashInferFP8ScaledMMLinearKernel for Fp8LinearMethod",
            "linear_kernel",
            "FlashInferFP8ScaledMMLinearKernel",
        ),
        (
            "Using FlashInferCutlassNvFp4LinearKernel for NVFP4 GEMM",
            "linear_kernel",
            "FlashInferCutlassNvFp4LinearKernel",
        ),
        (
            "Using MarlinLinearKernel for AutoGPTQLinearMethod",
            "linear_kernel",
            "MarlinLinearKernel",
        ),
        (
            "Using MarlinLinearKernel for AutoAWQMarlinLinearMethod",
            "linear_kernel",
            "MarlinLinearKernel",
        ),
        (
            "Using MacheteLinearKernel for mixed-precision linear",
            "linear_kernel",
            "MacheteLinearKernel",
        ),
        ("Using AttentionBackendEnum.FLASH_ATTN backend.", "attention_backend", "FLASH_ATTN"),
        ("kv_cache_dtype=auto, device_config=cuda, structured=1", "device", "cuda"),
    ],
)
def test_one_line_of_a_log(line: str, name: str, value: str) -> None:
    assert read_log(f"INFO [x.py:1] {line}\n")[name] == value


def test_a_model_of_the_hub_has_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    text = "engine with config: model='org/m', tokenizer_revision=None, revision={}, x=1"
    facts = ENGINE.facts(text.format(None), {}).provenance
    assert (facts["model"], facts["hub_commit"]) == ("org/m", None)
    refs = tmp_path / "models--org--m" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("abc\n")
    (tmp_path / "models--org--m" / "snapshots" / "def").mkdir(parents=True)
    assert ENGINE.facts(text.format(None), {}).provenance["hub_commit"] == "abc"
    assert ENGINE.facts(text.format("def"), {}).provenance["hub_commit"] == "def"
    assert "hub_commit" not in ENGINE.facts("engine with config: model='/models/m'", {}).provenance


def test_a_log_that_says_nothing() -> None:
    assert read_log("") == {}
    assert ENGINE.facts("hello", {}).version is None


def test_the_metrics_page_has_the_cache_in_blocks() -> None:
    assert read_metrics(METRICS) == {
        "kv_cache_blocks": 4096,
        "kv_block_tokens": 128,
        "kv_cache_tokens": 524_288,
        "kv_cache_dtype": "auto",
        "enable_prefix_caching": True,
    }
    assert read_metrics("vllm:num_requests_running 0.0\n") == {}


@pytest.mark.parametrize("text", ["", "<html>", "[]", '{"version": 3}', "{}"])
def test_a_page_that_is_no_version(text: str) -> None:
    assert read_version(text) is None


def test_log_and_pages_together() -> None:
    log = (LOGS / "awq.log").read_text()
    facts = ENGINE.facts(log, {"/version": '{"version": "0.32.0"}', "/metrics": METRICS})
    assert facts.version == "0.32.0"
    assert facts.kv_cache_tokens == 524_288
    assert facts.max_model_len == 2048
    assert facts.provenance["kv_cache_blocks"] == 4096
