"""The probe against the mock, honest and lying, over real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import launchers
from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.errors import ReachError, RouteError
from evals.probe import probe
from evals.probe.agreement import agree
from evals.probe.canary import compare, sing_again
from evals.probe.card import Bos, Canary, Capabilities, Card
from evals.probe.routes import choose_route
from evals.records import Scored

if TYPE_CHECKING:
    from evals.records import Route
    from tests.conftest import StartMock

TOKENIZER = str(Path(launchers.__file__).parent / "models" / "demo-fp16")
FAST = ("--ttft-ms", "0", "--itl-ms", "0")


def endpoint(url: str, engine: str = "unknown", **fields: object) -> Endpoint:
    known = Endpoint(base_url=url, model="mock", engine=engine)
    return msgspec.structs.replace(known, **fields)


def probed(url: str, engine: str = "unknown") -> Card:
    return asyncio.run(probe(endpoint(url, engine)))


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_an_honest_server_is_trusted(mock: StartMock, seed: str) -> None:
    card = probed(mock(*FAST, "--seed", seed))
    assert card.route == "next"
    assert card.routes == ["next", "echo", "label", "generative"]
    able = card.capabilities
    assert able.next_logprobs
    assert able.token_id_prompts
    assert able.usage
    assert able.top_logprobs
    assert able.batch_order
    assert able.concurrency
    assert able.stop
    assert card.bos == Bos(token_id=256, tokenizer_adds=True, text=1, ids=0, agrees=True)
    assert card.score_difference_nats == 0
    # The mock's streams say "token" over and over, whatever its language model would say.
    assert [caveat.code for caveat in card.caveats] == ["stream"]
    assert msgspec.json.decode(msgspec.json.encode(card), type=Card) == card


def test_who_tells_no_ids_is_no_liar(mock: StartMock) -> None:
    card = probed(mock(*FAST, "--lie", "no_ids"))
    assert (card.route, card.tells_ids) == ("echo", False)
    card = own_tokens(mock, "any", "--lie", "no_ids")
    assert (card.route, card.caveats) == ("echo", [])


@pytest.mark.parametrize(
    ("lie", "code"), [("named_moved", "contradiction"), ("named_renormalised", "known_answer")]
)
def test_who_lies_of_named_ids_alone_still_grades_by_echo(
    mock: StartMock, lie: str, code: str
) -> None:
    card = probed(mock(*FAST, "--lie", lie), "vllm")
    assert not card.capabilities.next_logprobs
    assert card.route == "echo"
    assert [one.text[:4] for one in card.caveats if one.code == code] == ["next"]


LIES = {
    "no_echo": "wrong_length",
    "echo_no_logprobs": "no_logprobs",
    "add_bos": "token_ids",
    "double_bos": "token_ids",
    "shift": "contradiction",
    "clamp": "clamped",
    "other_model_silent": "known_answer",
    "other_model": "wrong_model",
    "reorder": "wrong_length",
    "drop_choice": "missing_choice",
    "duplicate_index": "missing_choice",
    "cache_dependent": "known_answer",
    "order_dependent": "batch_order",
    "batch_dependent": "batch_order",
    "concurrency_dependent": "concurrency",
    "penalty_always": "known_answer",
    "truncate_left": "token_ids",
    "wrong_usage": "wrong_length",
    "positive": "positive",
    "nan": "malformed",
    "null_twice": "null_position",
    "retokenize": "token_ids",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_liar_is_not_trusted_to_score(mock: StartMock, lie: str) -> None:
    card = probed(mock(*FAST, "--lie", lie))
    assert card.route not in {"echo", "native"}
    assert LIES[lie] in {caveat.code for caveat in card.caveats}, card.caveats


FLAGGED = {
    "text_bos": "bos",
    "no_text_bos": "bos",
    "penalty": "sampling_defaults",
    "drift": "drift",
    "ignore_stop": "stop_ignored",
    "truncate_answers": "answers_cut",
    "empty_text": "empty_text",
}


@pytest.mark.parametrize("lie", FLAGGED)
def test_what_is_wrong_with_writing_is_flagged(mock: StartMock, lie: str) -> None:
    card = probed(mock(*FAST, "--lie", lie))
    assert FLAGGED[lie] in {caveat.code for caveat in card.caveats}, card.caveats


def test_drift_after_the_probe_is_found_by_the_canary(mock: StartMock) -> None:
    url = mock(*FAST, "--lie", "drift:300")
    card = probed(url)
    assert card.route == "next"
    assert card.requests < 300
    assert asyncio.run(sing_again(endpoint(url), card)) == []

    async def wait() -> list[str]:
        found: list[str] = []
        for _ in range(40):
            found = [caveat.code for caveat in await sing_again(endpoint(url), card)]
            if found:
                break
        return found

    assert "drift" in asyncio.run(wait())


def test_a_canary_whose_few_answers_vary_is_no_drift() -> None:
    before = Canary(texts=["a"] * 4, written=["w", "x", "y", "z"])
    (caveat,) = compare(before, msgspec.structs.replace(before, written=["w", "x", "y", "Z"]))
    assert (caveat.code, caveat.invalidates) == ("answers_vary", False)
    (caveat,) = compare(before, msgspec.structs.replace(before, written=["W", "x", "Y", "Z"]))
    assert (caveat.code, caveat.invalidates) == ("drift", True)


def test_a_canary_that_cannot_be_scored_any_more_is_drift() -> None:
    before = Canary(prompts=[[1, 2, 3]], logprobs=[[-1.0, -2.0]])
    same = Canary(prompts=[[1, 2, 3]], logprobs=[[-1.01, -2.02]])
    assert compare(before, same) == []
    for later, words in (([[]], "cannot be any more"), ([[-2.0, -1.0]], "by up to 1 nats")):
        (caveat,) = compare(before, msgspec.structs.replace(before, logprobs=later))
        assert (caveat.code, caveat.invalidates) == ("drift", True)
        assert words in caveat.text


def test_a_server_that_knows_only_openais_fields(mock: StartMock) -> None:
    url = mock(*FAST, "--engine", "openai", "--tokenizer", TOKENIZER)
    card = asyncio.run(probe(endpoint(url, tokenizer=TOKENIZER)))
    assert card.engine == "openai"
    assert card.routes == ["echo", "label", "generative"]
    assert not card.tells_ids


@pytest.mark.parametrize("engine", ["sglang", "tgi", "llama.cpp", "transformers"])
def test_other_engines_get_the_best_that_they_prove(mock: StartMock, engine: str) -> None:
    # The mock's models are owned by "mock" where TGI says their own name.
    card = probed(mock(*FAST, "--engine", engine), "tgi" if engine == "tgi" else "unknown")
    assert card.engine == (engine if engine != "transformers" else "unknown")
    best: dict[str, tuple[Route, ...]] = {
        "sglang": ("echo", "native", "label", "generative"),
        "tgi": ("generative",),
        "llama.cpp": ("label", "generative"),
        "transformers": ("generative",),
    }
    assert tuple(card.routes) == best[engine], card.caveats


def own_tokens(mock: StartMock, engine: str, *lies: str) -> Card:
    """Probe a mock that has the demo model's tokenizer, and we too."""
    url = mock(*FAST, "--engine", engine, "--tokenizer", TOKENIZER, *lies)
    return asyncio.run(probe(endpoint(url, engine, tokenizer=TOKENIZER)))


def test_engines_own_pages_score(mock: StartMock) -> None:
    card = own_tokens(mock, "tgi")
    assert card.routes == ["native", "generative"]
    assert "no_greedy" in {caveat.code for caveat in card.caveats}
    assert own_tokens(mock, "sglang").capabilities.native_logprobs


@pytest.mark.parametrize("engine", ["tgi", "sglang"])
@pytest.mark.parametrize(
    "lie", ["shift", "clamp", "null_twice", "other_model_silent", "cache_dependent", "nan"]
)
def test_engines_own_pages_are_not_trusted_either(mock: StartMock, engine: str, lie: str) -> None:
    card = own_tokens(mock, engine, "--lie", lie)
    assert not card.capabilities.native_logprobs
    assert card.route not in {"echo", "native"}


def test_all_routes_have_the_same_scores(mock: StartMock) -> None:
    ids = [1, 487, 330, 440, 507, 288]  # canonical: a text has them
    url = mock(*FAST, "--tokenizer", TOKENIZER)

    async def scores(engine: str, route: Route) -> list[float]:
        async with Client(endpoint(url, engine, tokenizer=TOKENIZER), route) as client:
            (scored,) = await client.score([ids])
        assert isinstance(scored, Scored), scored
        return scored.logprobs[1:]

    echo = asyncio.run(scores("vllm", "echo"))
    assert asyncio.run(scores("sglang", "native")) == pytest.approx(echo, abs=1e-9)
    assert asyncio.run(scores("tgi", "native")) == pytest.approx(echo, abs=1e-9)


def test_a_model_that_is_not_served_is_told() -> None:
    with pytest.raises(ReachError, match="is the server up"):
        asyncio.run(probe(endpoint("http://127.0.0.1:9/v1")))


def test_another_model_is_not_reached(mock: StartMock) -> None:
    with pytest.raises(ReachError, match="serves no model 'other', but mock"):
        asyncio.run(probe(endpoint(mock(*FAST), model="other")))


def test_routes() -> None:
    card = Card(
        engine="e", model="m", capabilities=Capabilities(), bos=Bos(), routes=["generative"]
    )
    assert choose_route(card, ("echo", "generative")) == "generative"
    with pytest.raises(RouteError, match="Proved is generative, which this suite cannot use"):
        choose_route(card, ("echo", "native"))
    with pytest.raises(RouteError, match="good for this suite: generative"):
        choose_route(card, ("echo", "generative"), demanded="echo")
    with pytest.raises(RouteError, match="cannot go by label"):
        choose_route(card, ("echo",), demanded="label")


def test_agreement_is_of_scores_and_not_of_digits() -> None:
    scores = [-1.0, -12.0, -0.1, -3.0]
    assert agree(scores, [value - 0.03 for value in scores])
    assert not agree(scores, scores[1:] + scores[:1])
    assert not agree(scores, scores[:-1])
    assert not agree(scores, [value - 0.1 for value in scores])
