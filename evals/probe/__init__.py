"""What an endpoint is, and what it can be trusted to do: `card = await probe(endpoint)`.

Nothing is believed that an answer did not prove. A route whose scores fail one check is not
offered; `choose_route` then takes the next best, or refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from evals.client.http import Client
from evals.client.scorers import NATIVE
from evals.errors import NeedError, ReachError
from evals.probe.asking import Asker
from evals.probe.canary import compare, sing
from evals.probe.card import Canary, Card, Caveat
from evals.probe.facts import read_facts
from evals.probe.foresight import KNOW_NEXT, prove_next
from evals.probe.huggingface import second_reading
from evals.probe.material import find_encoder, make_material
from evals.probe.routes import ranked
from evals.probe.scoring import ScoringProof, knows_arithmetic
from evals.probe.writing import WritingProof

if TYPE_CHECKING:
    from pathlib import Path

    from evals.endpoint import Endpoint
    from evals.probe.facts import Facts
    from evals.probe.material import Encoder, Material
    from evals.records import Route

_NO_TOKENS = Caveat(
    code="no_tokenizer",
    text="nobody knows the tokenizer: neither a folder with tokenizer.json (--tokenizer DIR) nor "
    "the server's /tokenize nor its answers tell ids, so that no prompt can be scored",
)
_NO_GREEDY = Caveat(
    code="no_greedy",
    text="the server does not say which token of a prompt was the likeliest: metrics that ask "
    "whether a text would be written greedily (lambada's accuracy) are 0 there",
)

_UNVERIFIED = Caveat(
    code="unverified_writing",
    text="no log-probabilities come with what is written: a penalty or sampling of the server's "
    "own cannot be told from the model",
)


async def probe(endpoint: Endpoint, *, huggingface: Path | None = None) -> Card:
    """Ask an endpoint some tens of small questions and return its card.

    Args:
        endpoint: the server.
        huggingface: a Python that has `text-generation`, which then reads a TGI, too.

    Raises:
        ReachError: nothing usable answers there.
    """
    async with Client(endpoint) as client:
        facts = await read_facts(Asker(client))
        sent = client.connection.sent
    known = msgspec.structs.replace(
        endpoint,
        engine=facts.engine,
        engine_version=facts.engine_version,
        max_model_len=facts.context_length,
    )
    async with Client(known) as client:
        asker = Asker(client)
        encoder = await find_encoder(asker)
        material = await make_material(encoder, facts.context_length)
        first = await sing(client, [], scores=False)
        writing = WritingProof(client, asker)
        await writing.run(encoder, material)
        card = _card(known, facts, writing)
        card.tokens_from = None if encoder is None else encoder.source
        if encoder is None or material is None:
            card.caveats.append(_NO_TOKENS)
        else:
            await _prove_scoring(card, known, encoder, material)
        if huggingface is not None and facts.engine == "tgi":
            card.second_reader, differs = await second_reading(asker, huggingface)
            card.caveats += differs
        card.routes = ranked(card.routes)
        card.route = card.routes[0] if card.routes else None
        if "generative" in card.routes and not {"echo", "label"} & {*card.routes}:
            card.caveats.append(_UNVERIFIED)
        await _take_canary(card, known, first, material)
        card.requests += sent + client.connection.sent
    return card


def _card(endpoint: Endpoint, facts: Facts, writing: WritingProof) -> Card:
    able = writing.capabilities
    routes: list[Route] = []
    if able.writes:
        routes.append("generative")
        if able.label_logprobs:
            routes.append("label")
    return Card(
        base_url=endpoint.base_url,
        build=endpoint.build,
        engine=facts.engine,
        engine_version=facts.engine_version,
        models=facts.models,
        model=endpoint.model,
        context_length=facts.context_length,
        sampling_defaults=facts.sampling_defaults,
        capabilities=able,
        bos=writing.bos,
        tells_ids=writing.tells_ids,
        routes=routes,
        caveats=writing.caveats,
    )


async def _prove_scoring(
    card: Card,
    endpoint: Endpoint,
    encoder: Encoder,
    material: Material,
) -> None:
    """Try echo, then the engine's own page; keep what the first proved one showed."""
    ways: list[Route] = ["echo", "native"] if endpoint.engine in NATIVE else ["echo"]
    for route in ways:
        try:
            client = Client(endpoint, route)
        except NeedError as error:
            card.caveats.append(Caveat(code="no_tokenizer", text=str(error)))
            continue
        async with client:
            proof = ScoringProof(client, Asker(client), material, encoder)
            doubt = await proof.run()
            proved = doubt is None
            if doubt is not None:
                text = f"{route} route: {doubt.text}"
                card.caveats.append(Caveat(code=doubt.code, text=text))
            elif not any(one in card.routes for one in ("echo", "native")):
                await _keep(card, proof, client, encoder)
            if proved and route == "echo" and endpoint.engine in KNOW_NEXT:
                await _prove_next(card, proof, client, material)
            card.requests += client.connection.sent
        if proved:
            card.routes.append(route)
        if route == "echo":
            card.capabilities.echo_logprobs = proved
        else:
            card.capabilities.native_logprobs = proved


async def _prove_next(card: Card, proof: ScoringProof, client: Client, material: Material) -> None:
    """Try the next route, which the echo's scores are the known answers of."""
    doubt = await prove_next(client, material, [known.wrote[0] for known in proof.answers])
    card.capabilities.next_logprobs = doubt is None
    if doubt is None:
        card.routes.append("next")
    elif doubt.code not in {"status", "no_logprobs"}:  # where the engine does not know the field
        card.caveats.append(Caveat(code=doubt.code, text=f"next route: {doubt.text}"))


async def _keep(card: Card, proof: ScoringProof, client: Client, encoder: Encoder) -> None:
    able = card.capabilities
    able.top_logprobs = proof.names_top
    able.batch_order, able.concurrency = proof.order, proof.concurrency
    card.score_difference_nats = proof.largest
    if not proof.names_likeliest:
        card.caveats.append(_NO_GREEDY)
    card.knows_arithmetic = await knows_arithmetic(client, encoder)


async def _take_canary(
    card: Card, endpoint: Endpoint, first: Canary, material: Material | None
) -> None:
    """Keep the answers to be had again; what changed while the probe ran is drift already."""
    route = next((one for one in card.routes if one in {"echo", "native"}), None)
    prompts = [] if material is None or route is None else material.prompts
    async with Client(endpoint, route or "echo") as client:
        card.canary = await sing(client, prompts, scores=route is not None)
        card.requests += client.connection.sent
    card.caveats += compare(first, msgspec.structs.replace(card.canary, logprobs=[]))


__all__ = ["Card", "Caveat", "ReachError", "probe"]
