"""How requests come: each module of this folder has one kind and ends in `ARRIVAL: type[Arrival]`.

The folder is the registry. The mathematics that they share is in `loadprofiles.traffic.schedule`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

if TYPE_CHECKING:
    from loadprofiles.traffic.schedule import Arrival

    AnyArrival = Arrival
    """One of them all, told apart by its `kind`."""
else:
    _KINDS = [
        importlib.import_module(f"{__name__}.{module.name}").ARRIVAL
        for module in pkgutil.iter_modules(__path__)
    ]
    AnyArrival = Annotated[Union[tuple(_KINDS)], Field(discriminator="kind")]  # noqa: UP007
