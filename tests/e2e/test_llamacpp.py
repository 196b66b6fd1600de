"""The demo model on a real llama.cpp."""

from __future__ import annotations

import json
import shutil
import tomllib
from random import Random
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest
from tokenizers import Tokenizer

from evals.transactions import generate
from launchers.build import Build
from launchers.environments import installed
from launchers.launch import launch
from launchers.model import builtin_builds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchers.server import Server
    from tests.e2e.conftest import Workplace

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        installed("llama.cpp") is None and shutil.which("llama-server") is None,
        reason="llama.cpp is missing: run `harness engines install llama.cpp`",
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The 16-bit build."""
    path = builtin_builds()["llamacpp-f16"]
    build = Build.model_validate(tomllib.loads(path.read_text()) | {"device": "cpu"})
    folder = tmp_path_factory.mktemp("llamacpp")
    with launch(build, folder, base_dir=path.parent, on_line=lambda _: None) as running:
        yield running.server


def test_its_tokens_are_the_models(server: Server) -> None:
    """Of questions, and of any text: digits, spaces, other scripts."""
    assert server.tokenizer
    tokenizer = Tokenizer.from_file(str(server.tokenizer / "tokenizer.json"))
    rng = Random(7)  # noqa: S311
    letters = "aZ 0129½٣²\n\t  .,$€'’éß漢字🙂 \u00a0-_"
    texts = [question.prompt for question in generate(3, 30, "eval")]
    texts += ["".join(rng.choices(letters, k=rng.randrange(1, 60))) for _ in range(200)]
    root = server.base_url.removesuffix("/v1")
    with httpx.Client(base_url=root) as client:
        for text in texts:
            body = {"content": text, "add_special": True}
            told = client.post("/tokenize", json=body).json()["tokens"]
            assert told == tokenizer.encode(text).ids, text


def test_what_it_is(server: Server) -> None:
    assert server.engine == "llama.cpp"
    assert server.engine_version
    assert (server.max_model_len, server.kv_cache_tokens) == (2048, 32 * 2048)
    reported = server.provenance["reported"]
    assert reported == {"slots": 32, "kv_unified": False, "quantization": "F16"}
    assert server.provenance["kv_bytes_per_token"] == 2 * 4 * 128 * 2
    assert server.provenance["kv_cache_gib"] == 0.125
    assert set(psutil.Process(server.pid).cpu_affinity()).isdisjoint(server.client_cpus or ())


def test_its_route_is_proved(workplace: Workplace, server: Server) -> None:
    asked = ("--url", server.base_url, "--tokenizer", str(server.tokenizer))
    done = workplace.harness("probe", *asked, "--json")
    assert done.code == 0, done.err
    card = done.json
    assert (card["engine"], card["route"]) == ("llama.cpp", "label")
    assert not card["capabilities"]["echo_logprobs"]
    assert [caveat["code"] for caveat in card["caveats"]] == ["no_logprobs"]
    assert card["bos"]["agrees"]


@pytest.mark.parametrize(
    ("name", "dialect"), [("llamacpp-q8", "openai-completions"), ("llamacpp-q4", "llamacpp")]
)
def test_a_load(workplace: Workplace, name: str, dialect: str) -> None:
    """Each answer has the tokens that were planned, and nothing of the server is left."""
    done = workplace.load(
        *("--server", name, "--profile", "closed", "--level", "1,4"),
        *("--duration", "2", "--warmup", "2", "--dialect", dialect),
    )
    assert done.went_well, done.err
    for cell in done.cells:
        assert cell["engine"] == "llama.cpp"
        assert cell["requests"]["ok"] > 0
        assert cell["requests"]["failed"] == cell["requests"]["truncated"] == 0
        assert cell["token_source"] == "server"
        assert cell["server"]["kv_cache_tokens"] == 32 * 2048
        assert cell["server"]["memory_peak_gib"] > 0
        assert "short_answers" not in {c["code"] for c in cell["client"]["caveats"]}
    told = json.loads((done.run / "manifest.json").read_text())["servers"][name]
    assert told["reported"]["quantization"].startswith(name[-2:].upper())
    assert workplace.processes() == []
