"""Texts that need no file: `embedded:transactions`, `embedded:python-docs`, and what is held out.

**transactions**: questions and answers of the demo model's own world, as documents.
The demo model has read nothing but such questions, one at a time, so this is the text on which it
can lose anything: 280 questions of the generator's held-out split, each a document with its answer,
some 16,000 of the demo model's tokens. Questions of one template share their wording, and so their
cluster. The text is good for differences between builds of one model, and for nothing absolute.

**python-docs**: English prose that every Python brings along, the reference of the language that
`help()` shows; it stands for general text where no other can be had. The demo model has read no
such text: what it loses on it can be measured all the same, what it knows of it is nothing.
"""

from __future__ import annotations

import hashlib
from functools import cache

from evals.contamination import contamination
from evals.perplexity.documents import Document
from evals.transactions import generate

SEED = 20
"""Of the questions; the domain suite asks others of the same split."""
QUESTIONS = 280
"""Four of each evaluation template: 7 categories, 10 templates each."""
CALIBRATION_SEED = 1
CALIBRATION_QUESTIONS = 700
"""25 of each calibration template: 7 categories, 4 templates each."""
TOPIC_CHARACTERS = 1500
"""Of a topic; whole, two of the longest would be half of the text."""


def transactions() -> tuple[Document, ...]:
    """Return the documents, the same on every machine."""
    return tuple(
        Document(question.prompt + question.answer, question.category, question.template)
        for question in generate(SEED, QUESTIONS, "eval")
    )


@cache
def transactions_calibration() -> tuple[Document, ...]:
    """Return questions of the split that shares no prompt and no wording with what is asked."""
    return tuple(
        Document(question.prompt + question.answer, question.category, question.template)
        for question in generate(CALIBRATION_SEED, CALIBRATION_QUESTIONS, "calibration")
    )


@cache
def python_docs() -> tuple[Document, ...]:
    """Return the beginnings of a quarter of the topics of Python's own help, chosen by name."""
    return tuple(Document(text[:TOPIC_CHARACTERS], cluster=name) for name, text in _held_out())


@cache
def python_docs_calibration() -> tuple[Document, ...]:
    """Return those of the other topics that share no run of 13 words with that quarter."""
    held_out = dict(_held_out())
    others = {name: text for name, text in _topics() if name not in held_out}
    shared = contamination(others, held_out.values()).overlapping
    return tuple(Document(others[name], cluster=name) for name in others if name not in shared)


def _topics() -> list[tuple[str, str]]:
    from pydoc_data.topics import topics

    return sorted(topics.items())


def _held_out() -> list[tuple[str, str]]:
    """A quarter by name, so that every version of Python divides its topics alike."""
    return [
        (name, text)
        for name, text in _topics()
        if hashlib.sha256(name.encode()).digest()[0] % 4 == 0
    ]
