"""From a suite to the package that can ask it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from harness.errors import BadInputError

if TYPE_CHECKING:
    from evals.kinds import Kind
    from evals.suite import Suite

KINDS: Final = ("domain", "perplexity", "lmeval")
"""Each is a table of a suite's TOML, and a package of `evals` that ends in `KIND: Kind`."""


def kind_name(suite: Suite) -> str:
    """Return which kind a suite is of.

    Raises:
        BadInputError: it has no table that says so, or several.
    """
    there = [name for name in KINDS if getattr(suite, name) is not None]
    if len(there) != 1:
        tables = ", ".join(f"[{name}]" for name in KINDS)
        raise BadInputError(f"suite {suite.name}: give exactly one of the tables {tables}")
    return there[0]


def kind_of(suite: Suite) -> Kind:
    """Load the kind of a suite."""
    kind: Kind = import_module(f"evals.{kind_name(suite)}").KIND
    return kind
