"""Every leaf of a file against what was recomputed: none may be left over."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RELATIVE = 1e-9
ABSOLUTE = 1e-12
ABSENT = object()


@dataclass
class Tally:
    """What became of the leaves of one file; `relative` is how far numbers may be apart."""

    relative: float = RELATIVE
    recomputed: int = 0
    copied: int = 0
    prose: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def leaves(self) -> int:
        return self.recomputed + self.copied + self.prose + len(self.wrong)

    def count(self, path: str, kept: object, found: object) -> None:
        if found is ABSENT:
            self.wrong.append(f"{path}: {kept!r} was not recomputed")
        elif not same(kept, found, self.relative):
            self.wrong.append(f"{path}: {kept!r} is {found!r} by hand")
        elif path.rpartition(".")[2] in COPIED or path.startswith(("run.", "schema")):
            self.copied += 1
        else:
            self.recomputed += 1


COPIED = {
    "id", "build", "engine", "engine_version", "model", "profile", "repeat", "weights", "lengths",
    "concurrency",
}  # fmt: skip
"""Names of facts that are taken over from facts.json, manifest.json or a metrics page, and are
compared with them."""
PROSE = {
    "caveats.text", "notes.text", "sweeps.text", "sweeps.notes", "sentences", "baseline.notes",
    "recommendation.headline", "recommendation.reasons", "recommendation.preferred_by",
}  # fmt: skip
"""Words that are made of numbers compared elsewhere."""
EVENTS = {"driven_again", "resumed"}
"""Caveats of what happened, which no sample tells."""
TOLD = {"servers.arguments", "server", "probe"}
"""What servers were started with, and what an endpoint can do: facts of manifest and probes."""


def same(kept: object, found: object, relative: float) -> bool:
    if isinstance(kept, bool) or isinstance(found, bool) or not isinstance(kept, int | float):
        return kept == found
    if not isinstance(found, int | float):
        return False
    if isinstance(kept, int):
        return kept == found
    return math.isclose(kept, found, rel_tol=relative, abs_tol=ABSOLUTE)


def walk(kept: object, found: object, tally: Tally, path: str = "") -> None:
    """Count every leaf of `kept`; what `found` has beyond it is wrong, too."""
    if path.endswith("caveats"):
        kept, found = by_code(kept), by_code(found)
        tally.copied += sum(len(one) for one in kept if one["code"] in EVENTS)
        kept = [one for one in kept if one["code"] not in EVENTS]
    if is_prose(path):
        tally.prose += sum(1 for _ in leaves(kept))
    elif isinstance(kept, dict):
        there: Mapping[str, object] = found if isinstance(found, dict) else {}
        if found is None or (not kept and not isinstance(found, dict)):
            tally.wrong.append(f"{path}: {kept!r} is {found!r} by hand")
        tally.wrong += [f"{path}.{key}: only by hand" for key in there if key not in kept]
        for key, value in kept.items():
            walk(value, there.get(key, ABSENT), tally, f"{path}.{key}" if path else key)
    elif isinstance(kept, list):
        if not isinstance(found, list | tuple) or len(found) != len(kept):
            tally.wrong.append(f"{path}: {kept!r} is {found!r} by hand")
            return
        for at, value in enumerate(kept):
            walk(value, found[at], tally, f"{path}.{at}")
    else:
        tally.count(path, kept, found)


def by_code(caveats: object) -> list[dict[str, object]]:
    """In one order: which of two caveats stands first says nothing."""
    if not isinstance(caveats, list):
        return []
    return sorted(caveats, key=lambda one: (one["code"], one["invalidates"]))


def is_prose(path: str) -> bool:
    named = re.sub(r"\.\d+(?=\.|$)", "", path)
    if named.startswith("recommendation.") and named.endswith(".text"):
        return True
    return named in TOLD | PROSE or any(
        named.endswith(f".{prose}") for prose in (*PROSE, "servers.arguments")
    )


def leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    else:
        yield value
