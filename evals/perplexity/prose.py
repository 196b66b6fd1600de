"""`embedded:transactions`: questions and answers of the demo model's own world, as documents.

The demo model has read nothing but such questions, one at a time, so this is the text on which it
can lose anything: 280 questions of the generator's held-out split, each a document with its answer,
some 16,000 of the demo model's tokens. Questions of one template share their wording, and so their
cluster. The text is good for differences between builds of one model, and for nothing absolute.
"""

from __future__ import annotations

from evals.perplexity.documents import Document
from evals.transactions import generate

SEED = 20
"""Of the questions; the domain suite asks others of the same split."""
QUESTIONS = 280
"""Four of each evaluation template: 7 categories, 10 templates each."""


def transactions() -> tuple[Document, ...]:
    """Return the documents, the same on every machine."""
    return tuple(
        Document(question.prompt + question.answer, question.category, question.template)
        for question in generate(SEED, QUESTIONS, "eval")
    )
