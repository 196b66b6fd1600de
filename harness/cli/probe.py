"""`harness probe`."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from evals.endpoint import Endpoint
from evals.errors import ReachError
from evals.probe import probe as ask
from evals.probe.card import Card
from harness.cli.flags import at_least, urls_of
from harness.cli.launching import launched
from harness.cli.pairs import headers_of
from harness.cli.tables import json_shown
from harness.errors import BadInputError, ExitCode, ServerError
from harness.load.checks import check_key, check_urls
from harness.quality.endpoints import HUGGINGFACE, endpoint_of
from harness.reports.card import card_text
from launchers.environments import installed
from launchers.url import connect


def probe(  # noqa: PLR0913 - one parameter for each flag
    *,
    server: str | None = None,
    url: Annotated[str | None, Parameter(name=["--url", "--base-url", "--target"])] = None,
    model: str | None = None,
    tokenizer: Path | None = None,
    header: tuple[str, ...] = (),
    api_key_env: str | None = None,
    ca_file: Path | None = None,
    insecure: Annotated[bool, Parameter(negative="")] = False,
    timeout: float = 60.0,
    concurrency: int = 32,
    config: Path | None = None,
    json: bool = False,
) -> int:
    """Say what an endpoint is, and what it can be trusted to do.

    About a hundred small requests. Answers 3 if nothing usable answers there, and 4 if nothing
    can be graded there at all.

    Args:
        server: A build to bring up, ask, and bring down again.
        url: API base of a server that is up, e.g. http://127.0.0.1:8000/v1, instead of --server.
        model: The model to ask the --url for, where it serves several.
        tokenizer: Folder with the model's tokenizer.json; a --server's lies with its weights.
        header: K=V, sent with each request; of a secret K=env:NAME, its variable.
        api_key_env: Environment variable whose value is sent as a bearer token.
        ca_file: PEM file of the authority that signed the certificate of an https --url.
        insecure: Take any certificate of an https --url.
        timeout: A request without its answer after so many seconds has failed.
        concurrency: Requests in flight at most.
        config: The harness.toml to read; otherwise the first one from here upwards.
        json: Print the card on stdout as JSON, with the canary's answers.
    """
    given = urls_of((url,) if url else (), model, ca_file, verify=not insecure)
    if (server is None) == (given is None):
        raise BadInputError("give either --server NAME or --url URL")
    if timeout <= 0:
        raise BadInputError(f"--timeout: {timeout:g} must be above 0")
    if tokenizer is not None and not (tokenizer / "tokenizer.json").is_file():
        raise BadInputError(f"--tokenizer: {tokenizer} holds no tokenizer.json")
    if api_key_env is not None:
        check_key(api_key_env)
    headers = headers_of(header)
    at_least("concurrency", concurrency, 1)
    if given is not None:
        check_urls(given)
        found = connect(
            given.urls[0], model, headers=headers, api_key_env=api_key_env, trust=given.trust
        )
        endpoint = endpoint_of(
            found,
            trust=given.trust,
            headers=headers,
            api_key_env=api_key_env,
            tokenizer=tokenizer,
            timeout_s=timeout,
            concurrency=concurrency,
        )
        card = _ask(endpoint)
    else:
        if headers or api_key_env:
            raise BadInputError("--header and --api-key-env go with --url")
        with launched(server or "", config) as running:
            base = endpoint_of(running.server)
            endpoint = msgspec.structs.replace(base, timeout_s=timeout, concurrency=concurrency)
            if tokenizer is not None:
                endpoint = msgspec.structs.replace(endpoint, tokenizer=str(tokenizer))
            card = _ask(endpoint)
    if json:
        print(json_shown(msgspec.json.format(msgspec.json.encode(card), indent=2).decode()))
    else:
        print(card_text(card), end="")
    return ExitCode.OK if card.route is not None else ExitCode.INVALID


def _ask(endpoint: Endpoint) -> Card:
    try:
        return asyncio.run(ask(endpoint, huggingface=installed(HUGGINGFACE)))
    except ReachError as error:
        raise ServerError(str(error)) from error
