"""Domain suites: questions with categories and clusters, asked and graded.

items.py      a user's JSON lines, or a generator's questions
subset.py     some of them: at random, of every category its share
prompts.py    an item as a text or as messages
choosing.py   multiple choice by log-probabilities
planning.py   a suite and an endpoint → what is asked
kind.py       asks, grades, keeps
"""

from evals.domain.kind import DomainKind
from evals.kinds import Kind

KIND: Kind = DomainKind()
