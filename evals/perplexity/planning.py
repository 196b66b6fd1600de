"""A suite and an endpoint → the windows that are asked, and the convention they make."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from evals.errors import SuiteError
from evals.perplexity.convention import Convention
from evals.perplexity.encoding import encode, joined
from evals.perplexity.texts import load_documents
from evals.perplexity.windows import windows
from evals.vocabulary import Vocabulary, load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evals.endpoint import Endpoint
    from evals.kinds import Job
    from evals.perplexity.encoding import Encoded
    from evals.suite import PerplexitySettings

MOST_TOKENS = 2048
"""A window unless said otherwise."""
_GENERATED = 1
"""Tokens that a server has to write for a prompt to be scored."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One window, ready to be sent."""

    index: int
    ids: tuple[int, ...]
    """As sent, BOS included."""
    context: int
    """So many ids at the start are not scored."""
    position: int
    """Of the first scored token among all tokens of the text."""
    text: str
    """What is scored."""
    bytes: int
    words: int
    category: str
    cluster: str

    @property
    def item(self) -> str:
        """The window's name among the answers."""
        return f"window-{self.index:05d}"

    @property
    def tokens(self) -> int:
        """Tokens scored."""
        return len(self.ids) - self.context

    @property
    def prompt_hash(self) -> str:
        """See `Answer.prompt_hash`."""
        sent = np.array([self.context, *self.ids], dtype="<i8").tobytes()
        return hashlib.sha256(sent).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """What is asked, in the text's order."""

    windows: tuple[Asked, ...]
    convention: Convention


def plan(job: Job, endpoint: Endpoint) -> Plan:
    """Return the windows of a job.

    Raises:
        SuiteError, NeedError: naming the field or file and the fix.
    """
    settings = job.suite.perplexity
    if settings is None:
        raise SuiteError(f"suite {job.suite.name}: there is no [perplexity] table")
    vocabulary = load_vocabulary(endpoint.tokenizer)
    bos = _bos(settings, vocabulary)
    window, stride = _sizes(settings, endpoint, bos=bos is not None)
    documents = load_documents(settings.text, job.base_dir, job.python)
    if settings.documents == "joined":
        documents = [joined(documents, settings.join)]
    texts = [encode(vocabulary, document) for document in documents if document.text]
    texts = _start(texts, settings.tokens)
    capacity = window - (bos is not None)
    every = tuple(_asked(texts, capacity, stride, bos))
    if not every:
        raise SuiteError(
            f'[perplexity] text = "{settings.text}": no token of it can be scored: it has '
            f"{sum(len(text.ids) for text in texts)}"
        )
    chosen = _subset(every, job.limit or job.suite.limit, job.seed)
    convention = Convention(
        text=settings.text,
        text_sha256=_digest(texts),
        tokenizer_sha256=vocabulary.sha256,
        documents=settings.documents,
        join=settings.join if settings.documents == "joined" else "",
        bos="" if bos is None else vocabulary.bos_name,
        window=window,
        stride=stride,
        windows=len(chosen),
        windows_in_all=len(every),
        tokens=sum(asked.tokens for asked in chosen),
        bytes=sum(asked.bytes for asked in chosen),
        words=sum(asked.words for asked in chosen),
    )
    return Plan(chosen, convention)


def _bos(settings: PerplexitySettings, vocabulary: Vocabulary) -> int | None:
    if settings.bos == "never" or (settings.bos == "auto" and not vocabulary.adds_bos):
        return None
    if vocabulary.bos is None:
        raise SuiteError(
            '[perplexity] bos = "always": the tokenizer names no BOS; say bos = "never"'
        )
    return vocabulary.bos


def _sizes(settings: PerplexitySettings, endpoint: Endpoint, *, bos: bool) -> tuple[int, int]:
    """Window (BOS included) and stride in tokens."""
    most = None if endpoint.max_model_len is None else endpoint.max_model_len - _GENERATED
    window = settings.window or min(MOST_TOKENS, most or MOST_TOKENS)
    if most is not None and window > most:
        raise SuiteError(
            f"[perplexity] window = {window}: the server's context holds {most + _GENERATED} "
            f"tokens, one of which it has to write: give {most} at most"
        )
    capacity = window - bos
    stride = settings.stride or max(1, capacity // 2)
    if stride > capacity:
        held = f"a window holds {capacity} of the text" + (" and BOS" if bos else "")
        if settings.stride != settings.window:
            raise SuiteError(f"[perplexity] stride = {stride}: {held}: give {capacity} at most")
        stride = capacity  # stride = window says: disjoint
    return window, stride


def _asked(
    texts: Sequence[Encoded], capacity: int, stride: int, bos: int | None
) -> Iterator[Asked]:
    index = before = 0
    begin = () if bos is None else (bos,)
    for text in texts:
        for window in windows(len(text.ids), capacity, stride, bos=bos is not None):
            scored, end = window.scored, window.end
            yield Asked(
                index=index,
                ids=(*begin, *text.ids[window.begin : end]),
                context=len(begin) + scored - window.begin,
                position=before + scored,
                text=text.text[text.char_at[scored] : text.char_at[end]],
                bytes=int(text.byte_at[end] - text.byte_at[scored]),
                words=int(text.word_at[end] - text.word_at[scored]),
                category=text.category,
                cluster=text.cluster,
            )
            index += 1
        before += len(text.ids)


def _start(texts: Sequence[Encoded], tokens: int | None) -> list[Encoded]:
    """Take the first tokens of all, and no more."""
    if tokens is None:
        return list(texts)
    found = []
    for text in texts:
        if tokens <= 0:
            break
        found.append(text.start(tokens))
        tokens -= len(text.ids)
    return found


def _subset(every: tuple[Asked, ...], limit: int | None, seed: int) -> tuple[Asked, ...]:
    """Draw windows at random; those of a smaller limit are among those of a larger one."""
    if limit is None or limit >= len(every):
        return every
    order = list(range(len(every)))
    Random(f"perplexity/{seed}").shuffle(order)  # noqa: S311 - no secret
    return tuple(every[place] for place in sorted(order[:limit]))


def _digest(texts: Sequence[Encoded]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.text.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
