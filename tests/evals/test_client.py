"""The client against real sockets, and what it does not believe."""

from __future__ import annotations

import asyncio
import json
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from evals.client import connection
from evals.client.connection import Reply
from evals.client.echo import Broken, read_scores
from evals.client.http import Client
from evals.client.many import batches, for_each
from evals.client.written import Limits, read_written
from evals.endpoint import Endpoint
from evals.errors import ReachError
from evals.records import Completion, Failure, Scored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme

    from tests.conftest import StartMock

PROMPTS = [[1, 5, 9], [1, 7]]


def echo(prompts: list[list[int]] = PROMPTS) -> dict[str, Any]:
    """What vLLM 0.32 answers, shortened; every value differs from every other."""
    choices = []
    for index, ids in enumerate(prompts):
        values = [-(1.0 + index + place / 8) for place in range(len(ids) + 1)]
        names = [f"token_id:{token}" for token in [*ids, 2]]
        tops = [{name: value, "token_id:3": -0.5} for name, value in zip(names, values)]  # noqa: B905
        logprobs = {
            "tokens": names,
            "token_logprobs": [None, *values[1:]],
            "top_logprobs": [None, *tops[1:]],
        }
        choices.append(
            {
                "index": index,
                "text": "x",
                "logprobs": logprobs,
                "finish_reason": "length",
                "prompt_token_ids": ids,
                "token_ids": [2],
            }
        )
    sent = sum(map(len, prompts))
    usage = {"prompt_tokens": sent, "completion_tokens": len(prompts)}
    return {"model": "m", "choices": choices, "usage": usage}


def read(answer: dict[str, Any], top: int = 0) -> list[Scored | Failure]:
    return read_scores(Reply(json.dumps(answer).encode(), 0, 1.0, 1), "m", PROMPTS, top)


def test_a_good_answer_is_read() -> None:
    answer = echo()
    answer["choices"].reverse()
    first, second = read(answer, top=1)
    assert isinstance(first, Scored)
    assert isinstance(second, Scored)
    assert math.isnan(first.logprobs[0])
    assert first.logprobs[1:] == [-1.125, -1.25]
    assert second.logprobs[1:] == [-2.125]
    assert first.top_ids == [[], [3], [3]]
    assert first.top_logprobs == [[], [-0.5], [-0.5]]
    assert first.greedy == [False, False, False]


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Change one place of an answer: `choices.0.logprobs.tokens`."""

    def change(answer: dict[str, Any]) -> None:
        at: Any = answer
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in way:
            at = at[part]
        at[last] = value

    return change


LIES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "noecho": (_set("choices.0.logprobs.token_logprobs", [-0.5]), "wrong_length"),
    "one missing": (lambda answer: answer["choices"].pop(), "missing_choice"),
    "one twice": (_set("choices.1.index", 0), "missing_choice"),
    "one too many": (lambda a: a["choices"].append(a["choices"][0]), "order"),
    "no logprobs": (_set("choices.0.logprobs", None), "no_logprobs"),
    "a model of its own": (_set("model", "other"), "wrong_model"),
    "other ids": (_set("choices.0.prompt_token_ids", [1, 5, 8]), "wrong_ids"),
    "other names": (
        _set("choices.0.logprobs.tokens", [f"token_id:{n}" for n in (1, 5, 8, 2)]),
        "wrong_ids",
    ),
    "BOS added, and counted": (_set("usage.prompt_tokens", 7), "wrong_length"),
    "a value at place 0": (
        _set("choices.0.logprobs.token_logprobs.0", -1.0),
        "null_position",
    ),
    "two nulls": (_set("choices.0.logprobs.token_logprobs.1", None), "null_position"),
    "clamped": (_set("choices.0.logprobs.token_logprobs.1", -9999.0), "clamped"),
    "positive": (_set("choices.0.logprobs.token_logprobs.1", 0.3), "positive"),
    "infinite": (_set("choices.0.logprobs.token_logprobs.1", math.inf), "malformed"),
    "shifted": (
        _set("choices.0.logprobs.token_logprobs", [None, -1.25, -1.375, -1.5]),
        "contradiction",
    ),
    "above the likeliest": (
        _set("choices.0.logprobs.top_logprobs.1", {"token_id:3": -4.0}),
        "contradiction",
    ),
    "cut at the start": (
        _set("choices.0.logprobs.token_logprobs", [None, -1.25, -1.375]),
        "wrong_length",
    ),
    "no choices": (_set("choices", None), "malformed"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_a_failure(name: str) -> None:
    lie, code = LIES[name]
    answer = echo()
    lie(answer)
    first, second = read(answer)
    assert isinstance(first, Failure), first
    assert first.code == code
    if name.startswith(("other", "clamped", "positive", "shifted", "two nulls")):
        assert isinstance(second, Scored), "the other prompt's answer is good"


def test_page_of_html_is_malformed() -> None:
    (failure,) = read_scores(Reply(b"<html>", 0, 1.0, 1), "m", [[1, 2]], 0)
    assert isinstance(failure, Failure)
    assert failure.code == "malformed"


@pytest.fixture
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without much waiting."""
    monkeypatch.setattr(connection, "WAITS_S", (0.01, 0.02))


def ask(url: str, question: Callable[[Client], Any], **fields: Any) -> Any:  # noqa: ANN401
    async def main() -> Any:  # noqa: ANN401
        endpoint = Endpoint(base_url=url, model="mock", engine="mock", **fields)
        async with Client(endpoint) as client:
            return await question(client)

    return asyncio.run(main())


def test_it_writes(mock: StartMock) -> None:
    url = mock("--ttft-ms", "1", "--itl-ms", "1")
    written = ask(url, lambda client: client.complete("hello there", max_tokens=3))
    assert isinstance(written, Completion)
    assert (written.output_tokens, written.finish_reason) == (3, "length")
    assert written.latency_ms > 0


def test_too_long_is_never_sent() -> None:
    found = ask(
        "http://127.0.0.1:9/v1",
        lambda client: client.score([[1] * 8, []]),
        max_model_len=8,
    )
    assert [failure.code for failure in found] == ["too_long", "empty"]
    assert [failure.attempts for failure in found] == [0, 0]


@pytest.mark.usefixtures("_at_once")
def test_one_request_without_an_answer_is_no_server_that_is_gone(mock: StartMock) -> None:
    url = mock("--ttft-ms", "1", "--itl-ms", "1", "--fault", "reset:1")
    failure = ask(url, lambda client: client.complete("a", max_tokens=8), concurrency=1)
    assert isinstance(failure, Failure)


@pytest.mark.usefixtures("_at_once")
def test_nobody_there_is_said_once() -> None:
    with pytest.raises(ReachError, match="is the server up"):
        ask("http://127.0.0.1:9/v1", lambda client: client.score([[1, 2]]))


@pytest.mark.usefixtures("_at_once")
@pytest.mark.parametrize(
    ("fault", "code", "attempts"),
    [("http_500", "status", 3), ("http_400", "status", 1), ("redirect", "redirect", 1)],
)
def test_only_what_may_pass_is_tried_again(
    mock: StartMock, fault: str, code: str, attempts: int
) -> None:
    url = mock("--ttft-ms", "1", "--fault", f"{fault}:1")
    failure = ask(url, lambda client: client.complete("a", max_tokens=1))
    assert (failure.code, failure.attempts) == (code, attempts)


def test_no_thousand_tasks_and_the_first_error_is_raised() -> None:
    most = 0

    async def work(item: int) -> None:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        await asyncio.sleep(0)
        if item == 500:
            raise ReachError("gone")

    with pytest.raises(ReachError, match="gone"):
        asyncio.run(for_each(range(1000), work, at_once=8))
    assert most <= 9


def test_batches_keep_order_and_bounds() -> None:
    prompts = [[1] * n for n in (3, 3, 3, 20, 1, 1)]
    found = list(batches(prompts, most=2, tokens=8))
    assert [[len(ids) for ids in batch] for batch in found] == [[3, 3], [3], [20], [1, 1]]


def test_one_bad_prompt_costs_the_others_nothing(mock: StartMock) -> None:
    url = mock("--ttft-ms", "0", "--max-model-len", "16")
    prompts = [[65, 66], [65] * 20, [67, 68], [69, 70]]
    found = ask(url, lambda client: client.score(prompts))
    assert [type(one) for one in found] == [Scored, Failure, Scored, Scored]
    assert found[1].code == "status"
    assert [one.token_ids for one in found if isinstance(one, Scored)] == [
        ids for ids in prompts if len(ids) == 2
    ]


@pytest.mark.usefixtures("_at_once")
def test_silence_is_a_timeout(mock: StartMock) -> None:
    url = mock("--fault", "silent")
    failure = ask(url, lambda client: client.complete("a", max_tokens=1), timeout_s=0.2)
    assert (failure.code, failure.attempts) == ("timeout", 3)


@pytest.mark.usefixtures("_at_once")
def test_what_passes_at_a_later_attempt_says_so(mock: StartMock) -> None:
    url = mock("--ttft-ms", "0", "--itl-ms", "0", "--fault", "http_503:0.5", "--seed", "1")

    async def several(client: Client) -> list[Completion | Failure]:
        return [await client.complete("a", max_tokens=1) for _ in range(8)]

    found = ask(url, several)
    attempts = {one.attempts for one in found if isinstance(one, Completion)}
    assert attempts >= {1, 2}


def test_no_more_in_flight_than_allowed(mock: StartMock) -> None:
    url = mock("--ttft-ms", "100", "--itl-ms", "0")

    async def many(client: Client) -> float:
        async def one(_: int) -> None:
            assert isinstance(await client.complete("a", max_tokens=1), Completion)

        began = time.monotonic()
        await for_each(range(16), one, at_once=16)
        return time.monotonic() - began

    assert ask(url, many, concurrency=4) >= 0.4


def test_keys_and_headers_come_from_the_environment(
    mock: StartMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mock("--ttft-ms", "0", "--itl-ms", "0", "--api-key", "hush")
    question = lambda client: client.complete("a", max_tokens=1)  # noqa: E731
    with pytest.raises(ReachError, match="MY_KEY is not set"):
        ask(url, question, api_key_env="MY_KEY")
    with pytest.raises(ReachError, match="wants a key"):
        ask(url, question)
    monkeypatch.setenv("MY_KEY", "hush")
    assert isinstance(ask(url, question, api_key_env="MY_KEY"), Completion)
    monkeypatch.setenv("MY_HEADER", "Bearer hush")
    header = (("authorization", "MY_HEADER"),)
    assert isinstance(ask(url, question, header_env=header), Completion)


@pytest.mark.usefixtures("_at_once")
def test_certificates_are_checked(mock: StartMock, authority: trustme.CA, tmp_path: Path) -> None:
    certificate = authority.issue_cert("127.0.0.1")
    both, trusted = tmp_path / "server.pem", tmp_path / "ca.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(both)
    authority.cert_pem.write_to_path(trusted)
    url = mock("--ttft-ms", "0", "--itl-ms", "0", "--tls-cert", str(both))
    question = lambda client: client.complete("a", max_tokens=1)  # noqa: E731
    with pytest.raises(ReachError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(url, question)
    assert isinstance(ask(url, question, ca_file=str(trusted)), Completion)
    assert isinstance(ask(url, question, tls_verify=False), Completion)
    with pytest.raises(ReachError, match="of no use as a CA file"):
        ask(url, question, ca_file=str(tmp_path / "none.pem"))


def test_every_sampling_field_is_said(mock: StartMock, tmp_path: Path) -> None:
    bodies = tmp_path / "bodies"
    url = mock("--ttft-ms", "0", "--itl-ms", "0", "--bodies", str(bodies))

    async def some(client: Client) -> None:
        await client.score([[65, 66]])
        await client.complete("a", max_tokens=1)
        await client.chat([{"role": "user", "content": "a"}], max_tokens=1)

    ask(url, some)
    told = [json.loads(line)["body"] for line in bodies.read_text().splitlines()]
    assert len(told) == 3
    neutral = {
        "temperature": 0.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
        "frequency_penalty": 0.0, "presence_penalty": 0.0,
    }  # fmt: skip
    for body in told:
        assert body.items() >= neutral.items()


@pytest.mark.parametrize(
    ("cuts", "written", "kept"),
    [
        (False, "yes\n", "yes"),  # TGI
        (True, "yes\n", "yes"),
        (True, "yes\nQ", "yes"),  # its last token has more than the stop string
        (True, "yes\n\nQuestion: no\n", "yes"),  # in batches it goes on
        (True, "yes", "yes"),
    ],
)
def test_a_stop_string_is_no_part_of_an_answer(cuts: bool, written: str, kept: str) -> None:  # noqa: FBT001
    page = {"model": "m", "choices": [{"index": 0, "text": written, "finish_reason": "stop"}]}
    reply = Reply(json.dumps(page).encode(), sent_ns=0, latency_ms=1, attempts=1)
    assert read_written(reply, "m", Limits(9, ("\n", "Question"), cuts=cuts)).text == kept


def test_a_stop_string_that_others_write_on_after_is_told() -> None:
    page = {"model": "m", "choices": [{"index": 0, "text": "yes\nQ", "finish_reason": "stop"}]}
    reply = Reply(json.dumps(page).encode(), sent_ns=0, latency_ms=1, attempts=1)
    with pytest.raises(Broken, match="goes on after the stop string"):
        read_written(reply, "m", Limits(9, ("\n",)))
