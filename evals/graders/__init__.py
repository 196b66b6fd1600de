"""How answers are graded: each module of this folder has one kind and ends in `GRADER`.

A grader is its own settings: `[domain.grader]` of a suite's TOML names the `kind` and the rest.
The folder is the registry. What they share is in `evals.grading`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

if TYPE_CHECKING:
    from evals.grading import Grader

    AnyGrader = Grader
    """One of them all, told apart by its `kind`."""
else:
    _KINDS = [
        importlib.import_module(f"{__name__}.{module.name}").GRADER
        for module in pkgutil.iter_modules(__path__)
    ]
    AnyGrader = Annotated[Union[tuple(_KINDS)], Field(discriminator="kind")]  # noqa: UP007
