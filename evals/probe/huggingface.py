"""A second reader: Hugging Face's own client asks a TGI what our client asks it.

What both make of the same prompt must be the same: its tokens and their log-probabilities, the
tokens that are written, how many, and why they end. Our reading is the one by which is graded
(`evals/client/tgi.py`). The client blocks, retries nothing and hides what was on the wire, so it
grades nothing itself.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from evals.client.tgi import read_generated
from evals.probe.agreement import agree
from evals.probe.card import Caveat

if TYPE_CHECKING:
    from evals.endpoint import Endpoint
    from evals.probe.asking import Asker

PROGRAM = Path(__file__).with_name("huggingface_client.py")
_TEXT: Final = "The meeting is at ten. It will be held in"
_TOKENS: Final = 8
_KEY: Final = "HARNESS_SECOND_READER_KEY"


class Reading(msgspec.Struct, kw_only=True):
    """What the client made of a document and of a stream."""

    version: str
    prefill: list[tuple[int, float | None]]
    ids: list[int]
    text: str
    count: int
    finish: str
    stream_text: str
    stream_count: int | None
    stream_finish: str | None


async def second_reading(asker: Asker, python: Path) -> tuple[str | None, list[Caveat]]:
    """Have a TGI read by Hugging Face's client; return who has read the same, and what differs.

    Args:
        asker: of the server.
        python: has `text-generation`.
    """
    endpoint = asker.endpoint
    if not endpoint.tls_verify:
        return None, [_unread("it takes no certificate that is not checked")]
    try:
        theirs = await asyncio.to_thread(_ask, endpoint, python)
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, ValueError) as error:
        return None, [_unread(str(error))]
    parameters = {"max_new_tokens": _TOKENS, "decoder_input_details": True, "do_sample": False}
    body: dict[str, object] = {"inputs": _TEXT, "parameters": parameters}
    ours = read_generated(await asker.post_raw(f"{endpoint.root}/generate", body))
    if ours is None:
        return None, [_unread("our own question was not answered")]
    problems = _problems(theirs, *ours)
    who = f"text-generation {theirs.version}"
    if not problems:
        return who, []
    text = f"Hugging Face's own client ({who}) reads this server otherwise: {'; '.join(problems)}"
    return None, [Caveat(code="readers_differ", text=text)]


def _problems(
    theirs: Reading, prefill: list[tuple[int, float | None]], ids: list[int], text: str
) -> list[str]:
    found: list[str] = []
    if [number for number, _ in theirs.prefill] != [number for number, _ in prefill]:
        found.append(f"{len(theirs.prefill)} prompt tokens, and here {len(prefill)} or other ones")
    else:
        scores = [[value or 0.0 for _, value in one] for one in (theirs.prefill, prefill)]
        if not agree(*scores):
            found.append("other log-probabilities of the prompt's tokens")
    if (theirs.ids, theirs.text) != (ids, text):
        found.append(f"it was written {theirs.text!r}, and we {text!r}")
    document = (theirs.text, theirs.count, theirs.finish)
    stream = (theirs.stream_text, theirs.stream_count, theirs.stream_finish)
    if document != stream:
        found.append(f"a document of {document}, and a stream of {stream}")
    return found


def _ask(endpoint: Endpoint, python: Path) -> Reading:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"NO_PROXY": "*", "no_proxy": "*"}  # no proxy comes between us either
    header_env = [*endpoint.header_env]
    if endpoint.api_key_env:
        environment[_KEY] = f"Bearer {os.environ[endpoint.api_key_env]}"
        header_env.append(("Authorization", _KEY))
    if endpoint.ca_file:
        environment["REQUESTS_CA_BUNDLE"] = endpoint.ca_file
    question = {
        "url": endpoint.root, "text": _TEXT, "max_new_tokens": _TOKENS,
        "timeout_s": max(1, round(endpoint.timeout_s)), "header_env": header_env,
    }  # fmt: skip
    done = subprocess.run(
        [str(python), "-P", "-W", "ignore", str(PROGRAM)],
        input=msgspec.json.encode(question),
        env=environment,
        capture_output=True,
        timeout=3 * endpoint.timeout_s,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(lines[-1] if lines else f"exit code {done.returncode}")
    return msgspec.json.decode(done.stdout, type=Reading)


def _unread(why: str) -> Caveat:
    text = f"Hugging Face's own client could not read this server: {why}"
    return Caveat(code="no_second_reader", text=text)
