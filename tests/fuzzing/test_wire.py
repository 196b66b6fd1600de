"""The fuzzer's kept corpus, replayed; and that its check can fail."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from loadprofiles.wire import answer, sse
from tests.fuzzing import corpus, wire

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _in_memory() -> Iterator[None]:
    with wire.in_memory():
        yield


def replay() -> None:
    for one in corpus.kept():
        wire.check(one)


def test_the_kept_corpus() -> None:
    replay()


def test_it_has_something_of_everything() -> None:
    seen: Counter[str] = Counter()
    for one in corpus.kept():
        given = wire.read_input(one)
        if given is not None:
            found, _ = wire.the_sample(wire.receive(given, []), given)
            seen[f"{found.error}"[:4]] += 1
            seen[f"{given.dialect.path} {found.error is None}"] += 1
    assert {"None", "malf", "trun", "rese", "time", "erro", "empt", "http"} <= seen.keys()
    for dialect in wire.DIALECTS:
        assert seen[f"{dialect.path} True"]
        assert seen[f"{dialect.path} False"]


def test_a_document_that_is_none_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "no_document", lambda *_: (None, None))
    with pytest.raises(AssertionError):
        replay()


def test_an_events_end_that_is_one_off_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sse._alike

    def wrong(piece: bytes, offset: int, mark: bytes) -> sse.Batch | None:
        batch = right(piece, offset, mark)
        return batch and batch._replace(ends=[end - 1 for end in batch.ends])

    monkeypatch.setattr(sse, "_alike", wrong)
    with pytest.raises(AssertionError):
        replay()
