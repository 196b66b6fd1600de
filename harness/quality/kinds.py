"""From a suite to the package that can ask it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evals.kinds import Kind
    from evals.suite import Suite


def kind_of(suite: Suite) -> Kind:
    """Load the package of `evals` that ends in `KIND: Kind`."""
    kind: Kind = import_module(f"evals.{suite.kind}").KIND
    return kind
