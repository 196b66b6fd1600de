"""The demo model on a real `transformers serve`."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from launchers.build import Build
from launchers.environments import installed
from launchers.launch import launch
from launchers.model import builtin_builds
from loadprofiles.dialects import load_dialect
from loadprofiles.records import read_samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from launchers.server import Server
    from tests.e2e.conftest import Workplace

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        installed("transformers-serve") is None,
        reason="transformers is missing: run `harness engines install transformers-serve`",
    ),
]
ENDS_BY_ITSELF = "Question: amount 5 limit 9. Answer:"
TOKENS = 96


def serving(folder: Path, **fields: object) -> Iterator[Server]:
    path = builtin_builds()["transformers-fp16"]
    build = Build.model_validate(tomllib.loads(path.read_text()) | {"device": "cpu"} | fields)
    with launch(build, folder, base_dir=path.parent, on_line=lambda _: None) as running:
        yield running.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The 16-bit build, one request after the other."""
    yield from serving(tmp_path_factory.mktemp("transformers"))


@pytest.fixture
def batched(tmp_path: Path) -> Iterator[Server]:
    """The same, in batches."""
    yield from serving(tmp_path, arguments={"continuous-batching": True})


def asked(server: Server, pin: tuple[str, ...]) -> tuple[str, int, str]:
    """Why an answer ended, its tokens and its text."""
    body = load_dialect("openai-completions").encode(
        server.model, ENDS_BY_ITSELF, TOKENS, pin, stream=False
    )
    json_type = {"content-type": "application/json"}
    with httpx.Client(base_url=server.base_url, timeout=60, headers=json_type) as client:
        page = client.post("/completions", content=body).json()
    choice = page["choices"][0]
    return choice["finish_reason"], page["usage"]["completion_tokens"], choice["text"]


def test_what_it_is(server: Server) -> None:
    assert server.engine == "transformers"
    assert server.engine_version == server.provenance["versions"]["transformers"]  # type: ignore[index]
    assert (server.model, server.max_model_len) == ("demo-fp16", 2048)
    assert server.provenance["scheme"] == "float16"
    assert server.provenance["reported"] == {"continuous_batching": False}
    assert set(psutil.Process(server.pid).cpu_affinity()).isdisjoint(server.client_cpus or ())


def test_an_answer_that_ends_by_itself_can_be_made_to_go_on(server: Server) -> None:
    reason, tokens, text = asked(server, ())
    assert (reason, tokens < TOKENS) == ("stop", True)
    reason, tokens, longer = asked(server, server.pin_output)
    assert (reason, tokens) == ("length", TOKENS)
    assert longer.startswith(text)


def test_in_batches_too(server: Server, batched: Server) -> None:
    assert batched.provenance["reported"] == {"continuous_batching": True}
    assert asked(batched, ()) == asked(server, ())
    assert asked(batched, server.pin_output)[0] == "stop", "what a single request knows does not do"
    reason, tokens, longer = asked(batched, batched.pin_output)
    assert (reason, tokens) == ("length", TOKENS)
    assert longer.startswith(asked(server, ())[2])


def test_its_route_is_proved(workplace: Workplace) -> None:
    done = workplace.harness("probe", "--server", "transformers-fp16", "--json")
    assert done.code == 0, done.err
    card = done.json
    assert (card["engine"], card["route"]) == ("transformers", "generative")
    able = card["capabilities"]
    assert able["stream"]
    assert able["usage"]
    assert able["stop"]
    assert not any(able[name] for name in ("token_id_prompts", "echo_logprobs", "top_logprobs"))


def test_loads(workplace: Workplace) -> None:
    """Each answer has the tokens that were planned, and a chunk for each that is seen as text."""
    (workplace.path / "harness.toml").write_text(
        '[builds.batched]\nengine = "transformers"\nmodel = "demo:fp16"\ndtype = "float16"\n'
        'device = "cpu"\nmax_model_len = 2048\narguments.continuous-batching = true\n'
        "arguments.cb-max-memory-percent = 0.05\n"  # else 60 % of what is free
    )
    schemes = {"transformers-int8": "LLM.int8", "transformers-nf4": "NF4", "batched": "float16"}
    started = workplace.start(
        *("load", "--server", ",".join(schemes), "--profile", "closed", "--level", "2"),
        *("--requests", "8", "--output-tokens", "12", "--warmup", "1", "--repeats", "1", "--json"),
    )
    done = workplace.finish(started, limit_s=280)
    assert done.went_well, done.err
    servers = json.loads((done.run / "manifest.json").read_text())["servers"]
    assert len(done.cells) == len(schemes)
    for cell in done.cells:
        name = cell["build"]
        assert servers[name]["scheme"].startswith(schemes[name])
        assert cell["engine_version"] == servers[name]["engine_version"]
        assert cell["requests"]["ok"] > 0
        assert cell["requests"]["failed"] == cell["requests"]["truncated"] == 0
        assert cell["token_source"] == "server"
        assert cell["server"]["memory_peak_gib"] > 0
        codes = {caveat["code"] for caveat in cell["client"]["caveats"]}
        assert not codes & {"short_answers", "telemetry_gaps"}
        samples = [*read_samples(done.run / "cells" / cell["id"])]
        measured = [sample for sample in samples if sample.phase == "measured"]
        assert measured
        for sample in measured:
            assert sample.output_tokens == sample.planned_output_tokens
            # In batches an end token is written and not shown, or else each token is a chunk.
            hidden = 12 - (len(sample.chunk_ns) + 1)
            assert 0 <= hidden <= (6 if name == "batched" else 0)
            assert sample.finish_reason == "length"
            assert sample.silent_chunks == 1, "the one with the reason and the usage, without text"
            assert sample.first_ns
            assert sample.last_ns == sample.first_ns + sum(sample.chunk_ns)
            assert sample.end_ns
            assert sample.last_ns <= sample.end_ns <= sample.done_ns
