from __future__ import annotations

import hashlib
import json
import struct
import tomllib
from typing import TYPE_CHECKING

import pytest

from launchers import model as module
from launchers.build import Build
from launchers.engines import load_engine
from launchers.errors import BuildError
from launchers.model import (
    ModelSource,
    builtin_builds,
    memory_of_weights_gib,
    resolve_model,
    weights_hash,
)

if TYPE_CHECKING:
    from pathlib import Path


def build(model: str) -> Build:
    return Build(name="mine", model=model)


def test_every_builtin_build_is_valid_and_named_as_its_file() -> None:
    assert set(builtin_builds()) >= {
        *("fp16", "gptq", "awq", "nf4", "int8", "fp8", "damaged"),
        *("llamacpp-f16", "llamacpp-q8", "llamacpp-q4"),
    }
    for name, path in builtin_builds().items():
        read = Build.model_validate(tomllib.loads(path.read_text()))
        assert read.name == name
        assert read.description
        assert load_engine(read.engine).name == read.engine


def test_every_builtin_model_is_shipped() -> None:
    for path in builtin_builds().values():
        source = resolve_model(Build.model_validate(tomllib.loads(path.read_text())), path.parent)
        assert source.folder
        assert source.tokenizer
        assert weights_hash(source.weight_files)


def test_a_folder_starts_at_the_toml(checkpoint: Path, tmp_path: Path) -> None:
    for spelled in ("tiny", "./tiny", str(checkpoint)):
        source = resolve_model(build(spelled), tmp_path)
        assert source.folder == checkpoint
        assert source.name == "tiny"
        assert source.location == str(checkpoint)
        assert source.tokenizer is None
    (checkpoint / "tokenizer.json").write_text("{}")
    assert resolve_model(build("tiny"), tmp_path).tokenizer == checkpoint


def test_a_hub_id(tmp_path: Path) -> None:
    source = resolve_model(build("mistralai/Mistral-7B-v0.1"), tmp_path)
    assert (source.name, source.location) == ("mistralai/Mistral-7B-v0.1",) * 2
    assert source.folder is None


@pytest.mark.parametrize(
    ("spelled", "says"),
    [
        ("./no-such", "no folder .*no-such"),
        ("no-such", "ORGANISATION/NAME"),
        ("/no/such/folder", "no folder /no/such/folder"),
        ("models/typo", "no folder .*models/typo"),
        ("models", "has no config.json and no GGUF file"),
        ("pointer.gguf", r"pointer.gguf is no GGUF file: it begins with b'vers'"),
        ("file.bin", "is a file"),
        ("demo:apq", r"no demo model 'apq': did you mean 'awq'\? known are awq, fp16"),
    ],
)
def test_a_missing_model_names_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str, says: str
) -> None:
    (tmp_path / "models" / "demo-fp16").mkdir(parents=True)
    (tmp_path / "models" / "demo-awq").mkdir()
    (tmp_path / "file.bin").touch()
    (tmp_path / "pointer.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    monkeypatch.setattr(module, "MODELS", tmp_path / "models")
    with pytest.raises(BuildError, match=says) as caught:
        resolve_model(build(spelled), tmp_path)
    assert "build 'mine': field `model`" in str(caught.value)
    assert caught.value.field == "model"


def hash_of(folder: Path) -> dict[str, object] | None:
    return weights_hash(ModelSource(name="x", folder=folder).weight_files)


def write_safetensors(path: Path, weights: bytes) -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(weights)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + weights)


def test_the_hash_covers_every_byte_of_every_file(tmp_path: Path) -> None:
    assert hash_of(tmp_path) is None
    write_safetensors(tmp_path / "b.safetensors", b"12")
    write_safetensors(tmp_path / "a.safetensors", b"34")
    before = hash_of(tmp_path)
    assert before
    assert before["files"] == 2
    digest = hashlib.sha256()
    for name in ("a.safetensors", "b.safetensors"):
        data = (tmp_path / name).read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    assert before["sha256"] == digest.hexdigest()
    write_safetensors(tmp_path / "b.safetensors", b"13")
    after = hash_of(tmp_path)
    assert after
    assert after["sha256"] != before["sha256"]


def test_of_large_weights_blocks_are_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FULL_HASH_BYTES", 10)
    monkeypatch.setattr(module, "SAMPLES", 3)
    monkeypatch.setattr(module, "SAMPLE_BYTES", 2**19)
    path, size = tmp_path / "a.safetensors", 2**22
    path.write_bytes(bytes(size))
    (tmp_path / "b.safetensors").write_bytes(b"short")
    before = hash_of(tmp_path)
    assert before
    assert before["of"] == "names, sizes and 3 blocks of 0.5 MiB of each file"
    sampled = {0, 2**19 - 1, size // 2, size - 2**19, size - 1}
    for place in sorted(sampled | {2**19, size - 2**19 - 1}):
        path.write_bytes(bytes(place) + b"1" + bytes(size - place - 1))
        assert (hash_of(tmp_path) != before) == (place in sampled)


def test_weights_of_torch_are_hashed_where_there_are_no_others(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"1")
    before = hash_of(tmp_path)
    assert before
    (tmp_path / "pytorch_model.bin").write_bytes(b"2")
    assert hash_of(tmp_path) != before
    write_safetensors(tmp_path / "a.safetensors", b"34")
    both = hash_of(tmp_path)
    assert both
    assert both["files"] == 1


def test_weights_that_cannot_be_read_name_the_field(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "model.safetensors").symlink_to("no-such-blob")
    with pytest.raises(BuildError, match=r"field `model`: .*model\.safetensors cannot be read"):
        resolve_model(build("tiny"), tmp_path)


@pytest.mark.parametrize(
    ("config", "arguments", "expected"),
    [
        ({}, {}, 1.5),
        ({"quantization_config": {}}, {"quantization": "gptq_marlin"}, 1.5),
        ({}, {"quantization": "bitsandbytes"}, None),  # quantized while it is loaded
    ],
)
def test_what_weights_take_once_loaded(
    tmp_path: Path, config: dict[str, object], arguments: dict[str, str], expected: float | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    served = Build(name="b", model=".", arguments=dict(arguments))
    assert memory_of_weights_gib(served, tmp_path, 3 * 2**29) == expected


def test_a_gguf_file(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "tiny.Q4_K_M.gguf").write_bytes(b"GGUF4")
    source = resolve_model(build("models/tiny.Q4_K_M.gguf"), tmp_path)
    assert (source.name, source.folder) == ("tiny.Q4_K_M", folder)
    assert source.location == str(folder / "tiny.Q4_K_M.gguf")
    alone = resolve_model(build("models"), tmp_path)
    assert (alone.name, alone.file) == ("models", source.file)

    (folder / "tiny.Q8_0.gguf").write_bytes(b"GGUF8")
    assert source.weight_files == [folder / "tiny.Q4_K_M.gguf"]
    with pytest.raises(BuildError, match=r"several GGUF files \(tiny\.Q4_K_M\.gguf, tiny\.Q8_0"):
        resolve_model(build("models"), tmp_path)
    # A checkpoint with a GGUF file beside it is still that checkpoint.
    write_safetensors(folder / "model.safetensors", b"16")
    (folder / "config.json").write_text("{}")
    assert resolve_model(build("models"), tmp_path).file is None


def test_a_gguf_in_parts_is_one_model(tmp_path: Path) -> None:
    parts = [tmp_path / f"big-{n:05}-of-00002.gguf" for n in (1, 2)]
    for part in [*parts, tmp_path / "bigger-00002-of-00002.gguf"]:
        part.write_bytes(b"GGUF")
    source = resolve_model(build("."), tmp_path)
    assert source.location == str(parts[0])
    assert source.weight_files == parts
