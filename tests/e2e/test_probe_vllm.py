"""`harness probe`, against a real vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from launchers.server import Server
    from tests.e2e.conftest import Workplace


@pytest.mark.engine
@pytest.mark.timeout(500)
def test_a_real_vllm_proves_echo_and_order(workplace: Workplace, fp16: Server) -> None:
    asked = ("--url", fp16.base_url, "--tokenizer", str(fp16.tokenizer))
    done = workplace.harness("probe", *asked, "--json")
    assert done.code == 0, done.err
    card = done.json
    assert (card["engine"], card["model"], card["route"]) == ("vllm", "demo-fp16", "next")
    assert card["context_length"] == 2048
    able = dict(card["capabilities"])
    assert not able.pop("native_logprobs"), "vLLM has no such page here"
    assert all(able.values()), able
    bos = {"token_id": 1, "tokenizer_adds": True, "text": 1, "ids": 0, "agrees": True}
    assert card["bos"] == bos
    assert card["tells_ids"]
    assert card["caveats"] == []
