from __future__ import annotations

import json
from pathlib import Path

import pytest

import launchers
from launchers.telemetry.kv_cache import held_tokens, kv_facts, max_concurrency, token_cost

# As published with the models.
LLAMA_3_8B = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "torch_dtype": "bfloat16",
}  # fmt: skip
LLAMA_2_7B = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 32, "torch_dtype": "float16",
}  # fmt: skip
MISTRAL_7B_V1 = {
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "sliding_window": 4096, "torch_dtype": "bfloat16",
}  # fmt: skip
QWEN_25_7B = {
    "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "sliding_window": 131072, "use_sliding_window": False,
    "torch_dtype": "bfloat16",
}  # fmt: skip
DEEPSEEK_V2_LITE = {
    "hidden_size": 2048, "num_hidden_layers": 27, "num_attention_heads": 16,
    "num_key_value_heads": 16, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
    "torch_dtype": "bfloat16",
}  # fmt: skip
GEMMA_3_4B = {
    "torch_dtype": "bfloat16",
    "text_config": {
        "hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024,
        "sliding_window_pattern": 6, "num_attention_heads": 8, "num_key_value_heads": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LLAMA_3_8B, 131_072),  # 128 KiB
        (LLAMA_2_7B, 524_288),  # 512 KiB: "0.5 MB a token", without grouped queries
        (MISTRAL_7B_V1, 131_072),
        (QWEN_25_7B, 57_344),  # 56 KiB
        ({"text_config": LLAMA_3_8B, "torch_dtype": "float32"}, 131_072),
    ],
)
def test_what_a_token_takes(config: dict[str, object], expected: int) -> None:
    assert token_cost(config).bytes_per_token == expected


def test_the_caches_dtype_and_the_gpus_count() -> None:
    assert token_cost(LLAMA_3_8B, kv_dtype="fp8_e4m3").bytes_per_token == 65_536
    assert token_cost(LLAMA_3_8B, tensor_parallel=8).bytes_per_token == 131_072
    assert token_cost(LLAMA_3_8B, tensor_parallel=16).bytes_per_token == 262_144


def test_a_sliding_window_bounds_a_request() -> None:
    assert token_cost(MISTRAL_7B_V1).window_tokens == 4096
    assert token_cost(MISTRAL_7B_V1).bytes_beyond == 0
    assert token_cost(QWEN_25_7B).window_tokens is None


NAMED = {**LLAMA_3_8B, "sliding_window": 128}


@pytest.mark.parametrize(
    ("config", "full", "layers"),
    [
        (GEMMA_3_4B, 5, 34),
        ({**NAMED, "model_type": "gemma2"}, 16, 32),
        ({**NAMED, "layer_types": ["sliding_attention", "full_attention"] * 16}, 16, 32),
        ({**NAMED, "use_sliding_window": True, "max_window_layers": 28}, 28, 32),
        ({**LLAMA_3_8B, "layer_types": ["full_attention"] * 32}, 32, 32),
    ],
)
def test_of_layers_some_have_a_window(config: dict[str, object], full: int, layers: int) -> None:
    found = token_cost(config)
    assert found.bytes_per_token is not None
    if full == layers:
        assert (found.window_tokens, found.bytes_beyond) == (None, None)
    else:
        assert found.bytes_beyond == found.bytes_per_token * full // layers


def test_what_a_request_holds() -> None:
    assert held_tokens(5000, None, 0.0) == 5000
    assert held_tokens(500, 1024, 0.25) == 500
    assert held_tokens(5000, 1024, 0.0) == 1024
    assert held_tokens(5024, 1024, 0.25) == 2024


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (DEEPSEEK_V2_LITE, "kv_lora_rank"),
        ({**LLAMA_3_8B, "hybrid_override_pattern": "M-M*"}, "several kinds"),
        ({**LLAMA_3_8B, "layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
        ({**LLAMA_3_8B, "torch_dtype": "int3"}, "int3"),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, "as Llama's does"),
        ({}, "as Llama's does"),
    ],
)
def test_what_is_not_known_is_said(config: dict[str, object], why: str) -> None:
    found = token_cost(config)
    assert found.bytes_per_token is None
    assert why in found.why


def test_it_is_what_a_real_vllm_makes_of_the_demo_model() -> None:
    """vLLM 0.32's page of the demo model: 1 GiB of KV cache hold 524,288 tokens."""
    folder = Path(launchers.__file__).parent / "models" / "demo-fp16"
    cost = token_cost(json.loads((folder / "config.json").read_text()))
    page = Path(__file__).with_name("pages") / "vllm-0.32.txt"
    assert 'kv_cache_memory_bytes="1073741824",kv_cache_size_tokens="524288"' in page.read_text()
    assert cost.bytes_per_token is not None
    assert 1_073_741_824 / cost.bytes_per_token == 524_288
    assert 'kv_cache_max_concurrency="256.0"' in page.read_text()
    assert max_concurrency(524_288, 2048, 128) == 256.0


def test_requests_take_whole_blocks() -> None:
    assert max_concurrency(1600, 100) == 16
    assert max_concurrency(1600, 100, 16) == pytest.approx(100 / 7)
    with pytest.raises(ValueError, match="positive"):
        max_concurrency(1600, 0)


def test_what_a_servers_provenance_says(tmp_path: Path) -> None:
    unread = {"kv_bytes_per_token": None, "kv_bytes_unknown": "there is no config.json to read"}
    assert kv_facts(None, {}) == kv_facts(tmp_path, {}) == unread
    config = tmp_path / "config.json"
    config.write_text("[")
    assert kv_facts(tmp_path, {}) == unread
    config.write_text(json.dumps(LLAMA_3_8B))
    reported = {"kv_cache_dtype": "fp8", "tensor_parallel_size": 16}
    assert kv_facts(tmp_path, {})["kv_bytes_per_token"] == 131_072
    assert kv_facts(tmp_path, reported)["kv_bytes_per_token"] == 131_072
    assert "kv_window_tokens" not in kv_facts(tmp_path, {})
    config.write_text(json.dumps(MISTRAL_7B_V1))
    told = kv_facts(tmp_path, {})
    assert (told["kv_window_tokens"], told["kv_bytes_beyond_window"]) == (4096, 0)
    config.write_text(json.dumps(DEEPSEEK_V2_LITE))
    assert "kv_lora_rank" in str(kv_facts(tmp_path, {})["kv_bytes_unknown"])


def test_layers_that_share_anothers_keys_and_values_are_not_counted() -> None:
    """Gemma 3n E4B: 35 layers, of which the last 15 have none of their own."""
    own = {
        "hidden_size": 2048, "num_hidden_layers": 35, "num_attention_heads": 8,
        "num_key_value_heads": 2, "head_dim": 256, "torch_dtype": "bfloat16",
        "sliding_window": 512, "num_kv_shared_layers": 15,
        "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 7,
    }  # fmt: skip
    cost = token_cost({"text_config": own})
    a_layer = 2 * 2 * 256 * 2
    assert (cost.bytes_per_token, cost.bytes_beyond) == (20 * a_layer, 4 * a_layer)
