"""How often `harness load` measures several servers, and in which order, unless that is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import SimpleNamespace

    from harness.load.order import Order
    from harness.serving import Who
    from loadprofiles.profile import Profile

_ALONE: Final = [1.0]


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What is measured how often, in which order."""

    levels: list[float]
    repeats: int
    order: Order


def turns_of(
    said: SimpleNamespace,
    servers: Sequence[Who],
    shape: Profile,
    levels: list[float],
) -> Turns:
    """Return what is said, and where nothing is: several servers at one stream are compared.

    Raises:
        BadInputError: flags that do not go together.
    """
    builds = len(servers)
    if said.interleave:
        _check_interleave(said, builds)
        if said.level is None and shape.is_closed:
            levels = _ALONE
    usual, order = 1, said.order
    if builds > 1 and shape.is_closed and levels == _ALONE and not said.sweep:
        from harness.comparing.plan import default_repeats  # with all that compares

        usual = default_repeats(builds)
        order = order or ("each" if said.interleave else "mirrored")
    repeats = usual if said.repeats is None else said.repeats
    return Turns(levels=levels, repeats=repeats, order=order or "each")


def _check_interleave(said: SimpleNamespace, builds: int) -> None:
    if builds < 2:  # noqa: PLR2004 - turns want two
        raise BadInputError(
            "--interleave asks servers by turns, and there is but one",
            hint="Name two or more: --server fp16,awq",
        )
    others = {
        "--sweep": said.sweep,
        "--order": said.order is not None and said.order != "each",
        "--workers": said.workers is not None or bool(said.expect_workers),
    }
    for flag in (flag for flag, given in others.items() if given):
        raise BadInputError(f"--interleave and {flag} do not go together; leave one out")
