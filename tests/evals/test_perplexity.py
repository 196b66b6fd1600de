"""Perplexity over real sockets, against a server whose every probability is known."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer

from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.errors import ReachError, ResumeError, SuiteError
from evals.kinds import Job
from evals.perplexity import KIND
from evals.perplexity.planning import plan
from evals.perplexity.result import perplexity, read_perplexity
from evals.perplexity.tokens import NO_TOKEN, PARTS_FOLDER, TOKENS_FILE, read_tokens
from evals.store import ANSWERS_FILE, read_answers
from evals.suite import Suite
from launchers.mock.language import Language, context_of
from launchers.mock.tokens import load_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.records import Failure, Scored
    from tests.conftest import StartMock

DEMO = Path(__file__).parents[2] / "launchers" / "models" / "demo-fp16"
FAST = ("--ttft-ms", "0", "--itl-ms", "0", "--tokenizer", str(DEMO))
TOKENIZER = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
BOS = 1
TEXT = "Anna paid 5 € in Zürich.\n\nShe paid again, $20, in Oslo; then 300 more.  Block it? yes\n"


def suite(**settings: object) -> Suite:
    return Suite.model_validate({"name": "text", "perplexity": {"text": "a.txt", **settings}})


def endpoint(url: str = "http://nowhere.invalid/v1", max_model_len: int = 2048) -> Endpoint:
    return Endpoint(
        base_url=url,
        model="mock",
        engine="mock",
        tokenizer=str(DEMO),
        max_model_len=max_model_len,
    )


def make_job(
    folder: Path,
    text: str = TEXT,
    *,
    name: str = "a.txt",
    limit: int | None = None,
    seed: int = 0,
    **settings: object,
) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, newline="")
    asked = suite(text=name, **settings)
    out = folder / "out"
    return Job(suite=asked, base_dir=folder, folder=out, route="echo", limit=limit, seed=seed)


def ask(job: Job, where: Endpoint) -> None:
    async def run() -> None:
        async with Client(where) as client:
            await KIND.ask(job, client, lambda _done, _all: None)

    asyncio.run(run())


def truth(sent: Sequence[int], seed: int = 0) -> list[float]:
    """ln p of each id but the first, from the mock's definition."""
    language = Language(load_tokens(DEMO), seed)
    return [language.next(context_of(sent, end)).logprob(sent[end]) for end in range(1, len(sent))]


def brute_force(ids: list[int], window: int, stride: int, *, bos: bool) -> list[float]:
    """ln p of each scored token, one token at a time, each in the first window that has it."""
    capacity = window - bos
    found = []
    for place in range(len(ids)):
        begin = 0
        while begin + capacity <= place:
            begin += stride
        sent = [BOS] * bos + ids[begin : place + 1]
        if len(sent) > 1:
            found.append(truth(sent)[-1])
    return found


@pytest.mark.parametrize(
    ("window", "stride"), [(2047, None), (8, 3), (8, 8), (9, 1), (2, 1), (33, 16)]
)
@pytest.mark.parametrize("bos", ["always", "never"])
def test_it_is_the_known_distribution_s(
    mock: StartMock, tmp_path: Path, window: int, stride: int | None, bos: str
) -> None:
    job = make_job(tmp_path, window=window, stride=stride, bos=bos)
    ask(job, endpoint(mock(*FAST)))
    found, convention, flaws = read_perplexity(job.folder)
    begins = bos == "always"
    capacity = window - begins
    used = min(stride or max(1, capacity // 2), capacity)
    ids = TOKENIZER.encode(TEXT, add_special_tokens=False).ids
    logprobs = brute_force(ids, window, used, bos=begins)
    values = read_tokens(job.folder)
    assert values is not None
    assert values.logprob == pytest.approx(logprobs, abs=1e-12)
    nats = -math.fsum(logprobs)
    assert found.tokens == len(logprobs) == len(values.id)
    assert found.token == pytest.approx(math.exp(nats / len(logprobs)), rel=1e-12)
    assert found.nats == pytest.approx(nats, rel=1e-12)
    assert flaws == []
    assert found.failed == 0
    if begins:
        size, words = len(TEXT.encode()), len(TEXT.split())
        assert (found.bytes, found.words) == (size, words)
        assert found.byte == pytest.approx(math.exp(nats / size), rel=1e-12)
        assert found.word == pytest.approx(math.exp(nats / words), rel=1e-12)
        assert found.bits_per_byte == pytest.approx(nats / size / math.log(2), rel=1e-12)
        assert values.id.tolist() == ids
        assert values.position.tolist() == list(range(len(ids)))
    assert f"{found.tokens} tokens scored" in str(convention)


def answers_file(job: Job) -> bytes:
    """The answers without what differs from one time to the next."""
    found = read_answers(job.folder)
    for answer in found:
        answer.sent_ns, answer.latency_ms = 0, 0.0
    return msgspec.json.encode(sorted(found, key=lambda answer: answer.item))


def test_the_usual_recipe_s_wrong_numbers_are_others(mock: StartMock, tmp_path: Path) -> None:
    job = make_job(tmp_path, window=16, stride=5, bos="never")
    ask(job, endpoint(mock(*FAST)))
    found, _, _ = read_perplexity(job.folder)
    values = read_tokens(job.folder)
    assert values is not None
    assert found.token is not None
    windows = [values.logprob[values.window == index] for index in sorted(set(values.window))]
    assert len(windows) > 3
    assert len(windows[-1]) < 5

    mean_of_means = math.exp(-float(np.mean([np.mean(window) for window in windows])))
    assert abs(mean_of_means / found.token - 1) > 0.01, "(a) windows of unequal length weigh alike"

    n = len(TOKENIZER.encode(TEXT, add_special_tokens=False).ids)
    counts_the_first = math.exp(found.nats / n)
    assert found.tokens == n - 1
    assert counts_the_first < found.token * 0.99, "(b) divides by a token that was not scored"

    shifted = [p for window in windows for p in window[1:]]
    dropped = math.exp(-math.fsum(shifted) / len(shifted))
    assert abs(dropped / found.token - 1) > 1e-3, "(b) shifts what is not to be shifted"


def test_words_and_bytes_are_not_tokens(mock: StartMock, tmp_path: Path) -> None:
    job = make_job(tmp_path)
    ask(job, endpoint(mock(*FAST)))
    found, _, _ = read_perplexity(job.folder)
    assert found.token
    assert found.word
    assert found.byte
    assert found.bits_per_byte
    assert found.byte < found.token < found.word
    assert math.log2(found.byte) == pytest.approx(found.bits_per_byte)


def test_documents_apart(mock: StartMock, tmp_path: Path) -> None:
    lines = [
        {"text": "Anna paid $120 in Oslo.", "cluster": "one", "category": "trips"},
        {"text": ""},
        {"text": "Chen paid $7 in Rome, twice.", "cluster": "two"},
    ]
    text = "\n".join(map(json.dumps, lines))
    job = make_job(tmp_path, text, name="a.jsonl", documents="apart", window=8, stride=4)
    ask(job, endpoint(mock(*FAST)))
    answers = read_answers(job.folder)
    assert {answer.cluster for answer in answers} == {"one", "two"}
    trips = [answer for answer in answers if answer.category == "trips"]
    assert 0 < len(trips) < len(answers)
    expected = []
    for line in lines:
        ids = TOKENIZER.encode(line["text"], add_special_tokens=False).ids
        expected += brute_force(ids, 8, 4, bos=True)
    values = read_tokens(job.folder)
    assert values is not None
    assert values.logprob == pytest.approx(expected, abs=1e-12)
    assert KIND.check(job, endpoint()).categories == {"trips": len(trips)}


def test_documents_joined(mock: StartMock, tmp_path: Path) -> None:
    texts = ["Anna paid $120.", "Chen paid $7."]
    lines = "\n".join(json.dumps({"text": text}) for text in texts)
    joined = make_job(tmp_path / "jsonl", lines, name="a.jsonl", join=" | ")
    plain = make_job(tmp_path / "plain", " | ".join(texts))
    where = endpoint(mock(*FAST))
    ask(joined, where)
    ask(plain, where)
    assert answers_file(joined) == answers_file(plain)


def test_the_likeliest_tokens_are_kept(mock: StartMock, tmp_path: Path) -> None:
    job = make_job(tmp_path, top_k=4, window=12)
    ask(job, endpoint(mock(*FAST)))
    values = read_tokens(job.folder)
    assert values is not None
    assert values.top_ids.shape == values.top_logprobs.shape == (len(values.id), 4)
    assert (values.top_ids != NO_TOKEN).all()
    assert (np.diff(values.top_logprobs) <= 0).all()
    assert (values.greedy == (values.top_ids[:, 0] == values.id)).all()
    same = values.top_ids == values.id[:, None]
    assert same.any()
    assert (values.top_logprobs[same] == values.logprob[same.any(axis=1)]).all()


def test_a_limit_is_a_random_subset_and_a_larger_one_holds_it(tmp_path: Path) -> None:
    def windows(limit: int | None, seed: int) -> list[int]:
        job = make_job(tmp_path, TEXT * 9, window=8, limit=limit, seed=seed)
        planned = plan(job, endpoint())
        assert planned.convention.tokens == sum(asked.tokens for asked in planned.windows)
        return [asked.index for asked in planned.windows]

    some, more, every = windows(5, 3), windows(11, 3), windows(None, 3)
    assert (len(some), len(more)) == (5, 11)
    assert set(some) < set(more) < set(every)
    assert some != every[:5]
    assert windows(5, 4) != some
    assert windows(5, 3) == some


def test_the_first_tokens_of_a_text(tmp_path: Path) -> None:
    ids = TOKENIZER.encode(TEXT, add_special_tokens=False).ids
    planned = plan(make_job(tmp_path, window=8, stride=3, tokens=20), endpoint())
    sent = {place: ids[place] for place in range(20)}
    scored = {
        asked.position + place: token
        for asked in planned.windows
        for place, token in enumerate(asked.ids[asked.context :])
    }
    assert scored == sent
    assert planned.convention.tokens == 20


def test_several_windows_travel_together(mock: StartMock, tmp_path: Path) -> None:
    job = make_job(tmp_path, TEXT * 9, window=8)
    size = KIND.check(job, endpoint())
    bodies = tmp_path / "bodies"
    ask(job, endpoint(mock(*FAST, "--bodies", str(bodies))))
    sent = [json.loads(line)["body"] for line in bodies.read_bytes().splitlines()]
    assert len(sent) == size.requests < size.items / 8
    assert sum(len(body["prompt"]) for body in sent) == size.items
    assert size.prompt_tokens == sum(len(ids) for body in sent for ids in body["prompt"])


class Dies:
    """A client that is gone after some requests, as a killed process is."""

    def __init__(self, client: Client, after: int) -> None:
        self.endpoint, self._client, self._left = client.endpoint, client, after

    async def score(
        self, prompts: Sequence[Sequence[int]], *, top: int = 0
    ) -> list[Scored | Failure]:
        self._left -= 1
        if self._left < 0:
            raise ReachError("gone")
        return await self._client.score(prompts, top=top)

    complete = chat = None


@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_an_interrupted_one_goes_on_to_the_same_result(
    mock: StartMock, tmp_path: Path, after: int
) -> None:
    url = mock(*FAST)
    settings = {"window": 8, "stride": 2, "top_k": 3}
    whole, torn = (make_job(tmp_path / name, TEXT * 6, **settings) for name in ("whole", "torn"))
    ask(whole, endpoint(url))

    async def interrupted() -> None:
        async with Client(endpoint(url)) as client:
            await KIND.ask(torn, Dies(client, after), lambda _done, _all: None)  # type: ignore[arg-type]

    with pytest.raises(ReachError):
        asyncio.run(interrupted())
    there = len(read_answers(torn.folder))
    assert there < len(read_answers(whole.folder))
    _, _, flaws = read_perplexity(torn.folder)
    assert "were not asked" in flaws[0]
    answers = torn.folder / ANSWERS_FILE
    answers.write_bytes(answers.read_bytes()[:-30])  # a torn line, whose tokens are there
    ask(torn, endpoint(url))
    assert answers_file(torn) == answers_file(whole)
    assert (torn.folder / TOKENS_FILE).read_bytes() == (whole.folder / TOKENS_FILE).read_bytes()
    assert not (torn.folder / PARTS_FOLDER).exists()


def test_what_is_there_is_not_asked_again(mock: StartMock, tmp_path: Path) -> None:
    job = make_job(tmp_path, window=8)
    bodies = tmp_path / "bodies"
    where = endpoint(mock(*FAST, "--bodies", str(bodies)))
    ask(job, where)
    sent = bodies.read_bytes()
    first = read_perplexity(job.folder)
    ask(job, where)
    assert bodies.read_bytes() == sent
    assert read_perplexity(job.folder) == first
    (job.folder / TOKENS_FILE).unlink()  # answers whose tokens are lost are asked again
    ask(job, where)
    assert len(bodies.read_bytes()) > len(sent)
    assert read_perplexity(job.folder) == first
    assert read_tokens(job.folder) is not None


def test_another_convention_or_server_is_refused(mock: StartMock, tmp_path: Path) -> None:
    where = endpoint(mock(*FAST))
    ask(make_job(tmp_path, window=8), where)
    with pytest.raises(ResumeError, match="convention"):
        ask(make_job(tmp_path, window=9), where)
    with pytest.raises(ResumeError, match="identity"):
        ask(make_job(tmp_path, window=8), msgspec.structs.replace(where, identity="another"))


def test_failed_windows_are_told_and_asked_again(mock: StartMock, tmp_path: Path) -> None:
    job = make_job(tmp_path, TEXT * 20, window=8)
    ask(job, endpoint(mock(*FAST, "--fault", "http_400:0.6")))
    found, convention, flaws = read_perplexity(job.folder)
    assert 0 < found.failed < convention.windows
    assert f"{found.failed} of {convention.windows} windows failed" in flaws[0]
    assert found.tokens < convention.tokens
    failed = [answer for answer in read_answers(job.folder) if answer.outcome == "error"]
    assert len(failed) == found.failed
    assert all(answer.error for answer in failed)
    ask(job, endpoint(mock(*FAST)))
    found, _, flaws = read_perplexity(job.folder)
    assert flaws == []
    assert found.tokens == convention.tokens


def test_a_server_that_is_gone_ends_it(tmp_path: Path) -> None:
    job = make_job(tmp_path, window=8)
    with pytest.raises(ReachError):
        ask(job, endpoint("http://127.0.0.1:9/v1"))
    assert read_answers(job.folder) == []


def test_a_damaged_model_is_worse_by_what_is_known(mock: StartMock, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / str(damage), TEXT * 9) for damage in (0.0, 0.3)]
    for job, damage in zip(jobs, ("0", "0.3"), strict=True):
        ask(job, endpoint(mock(*FAST, "--damage", damage)))
    ids = [BOS, *TOKENIZER.encode(TEXT * 9, add_special_tokens=False).ids]
    language = Language(load_tokens(DEMO), 0, 0.3)
    expected = [language.next(context_of(ids, end)).logprob(ids[end]) for end in range(1, len(ids))]
    whole, damaged = (perplexity(read_answers(job.folder)) for job in jobs)
    assert damaged.nats == pytest.approx(-math.fsum(expected), rel=1e-12)
    assert damaged.nats != whole.nats


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 2048}, "window = 2048: the server's context holds 2048"),
        ({"window": 8, "stride": 9}, "stride = 9: a window holds 7 of the text and BOS"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sent(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        KIND.check(make_job(tmp_path, **settings), endpoint())


def test_without_bos_a_text_of_one_token_has_no_perplexity(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="no token of it can be scored"):
        KIND.check(make_job(tmp_path, "a", bos="never"), endpoint())


def test_nothing_answered_is_no_perplexity() -> None:
    found = perplexity([])
    assert (found.token, found.word, found.byte, found.bits_per_byte) == (None, None, None, None)


@pytest.mark.parametrize("lie", ["no_echo", "double_bos", "clamp", "nan", "reorder", "drop_choice"])
def test_a_lying_server_has_no_perplexity(mock: StartMock, tmp_path: Path, lie: str) -> None:
    job = make_job(tmp_path, TEXT * 3, window=8)
    ask(job, endpoint(mock(*FAST, "--lie", lie)))
    found, convention, flaws = read_perplexity(job.folder)
    assert found.token is None, "a scorer that adds up what no_echo answers says 1.0"
    assert found.failed == convention.windows
    assert flaws
    assert read_tokens(job.folder) is None
