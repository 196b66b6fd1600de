"""Perplexity over HTTP: one text, scored by sliding windows, every token counted once.

documents.py   a text: documents
texts.py       where texts come from: prose.py (embedded), files, hub.py (fetch.py is its child)
encoding.py    a text as tokens, with the tokenizer that the server uses
windows.py     which tokens are sent together, and which of them are scored
planning.py    a suite and an endpoint → windows, and the convention they make (convention.py)
kind.py        asks
tokens.py      what is kept of every token
result.py      answers → perplexities
"""

from evals.kinds import Kind
from evals.perplexity.kind import PerplexityKind

KIND: Kind = PerplexityKind()
