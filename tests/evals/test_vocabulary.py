"""One rule about BOS: perplexity, lm-eval's tasks and the probe read a tokenizer alike."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import launchers
from evals.endpoint import Endpoint
from evals.lmeval.tokens import Tokens
from evals.probe.material import Folder
from evals.vocabulary import load_vocabulary

DEMO = Path(launchers.__file__).parent / "models" / "demo-fp16"


def folder_of(tmp_path: Path, *, processed: bool, **config: object) -> str:
    """A tokenizer whose post-processor puts BOS in front, or not, beside a configuration."""
    if processed:
        shutil.copy(DEMO / "tokenizer.json", tmp_path)
    else:
        data = json.loads((DEMO / "tokenizer.json").read_text()) | {"post_processor": None}
        Tokenizer.from_str(json.dumps(data)).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("processed", "config", "adds"),
    [
        (True, {"bos_token": "<bos>"}, True),
        (True, {"eos_token": "<eos>"}, True),
        (False, {"bos_token": "<bos>", "add_bos_token": True}, True),
        (False, {"bos_token": {"content": "<bos>"}, "add_bos_token": True}, True),
        (False, {"bos_token": "<bos>", "add_bos_token": False}, False),
        (False, {"bos_token": "<bos>"}, False),
    ],
)
def test_all_of_evals_agree_on_bos(
    tmp_path: Path, config: dict[str, object], *, processed: bool, adds: bool
) -> None:
    folder = folder_of(tmp_path, processed=processed, **config)
    vocabulary = load_vocabulary(folder)
    plain = vocabulary.tokenizer.encode("a card", add_special_tokens=False).ids
    whole = [1, *plain] if adds else plain
    assert (vocabulary.bos, vocabulary.adds_bos) == (1, adds)
    endpoint = Endpoint(base_url="http://127.0.0.1:9/v1", model="m", tokenizer=folder)
    assert Tokens(endpoint, "auto").encode(["a card"], bos=True) == [whole]
    probe = Folder(folder)
    assert probe.bos == (1 if adds else None)
    assert asyncio.run(probe.encode("a card", special=True)) == whole
