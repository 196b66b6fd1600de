"""What a harness.toml names that there is not: an engine, a dialect, a profile, a suite, …."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from evals.suite import builtin_suites
from harness.defaults import COMMANDS
from harness.deployments import Deployment
from harness.errors import did_you_mean
from harness.gating.rules import builtin_rules
from launchers.build import Build
from launchers.engines import load_engine
from launchers.errors import UnknownNameError
from launchers.model import builtin_builds
from loadprofiles.dialects import load_dialect
from loadprofiles.errors import UnknownDialectError
from loadprofiles.profile import builtin_profiles

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pydantic import BaseModel

    from harness.defaults import Defaults, Flags

Wrong = tuple[str, str]
"""A field, and what is wrong with it."""


def is_path(name: str) -> bool:
    """Whether a name is that of a file, and not of a table."""
    return name.endswith(".toml") or "/" in name or os.sep in name


def wrong_names(model: BaseModel) -> Iterator[Wrong]:
    """Yield what a build or a server names that there is not."""
    if isinstance(model, Build):
        try:
            load_engine(model.engine)
        except UnknownNameError as error:
            yield "engine", str(error)
    if isinstance(model, Deployment) and model.dialect is not None:
        yield from _dialect(model.dialect)


def wrong_defaults(
    told: Defaults, named: Mapping[str, Collection[str]]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what `[defaults]` and its tables name that there is not.

    Args:
        told: the table.
        named: table of the harness.toml → names in it.
    """
    known = {
        "server": {*builtin_builds(), *named["builds"], *named["servers"]},
        "profile": {*builtin_profiles(), *named["profiles"]},
        "suite": {*builtin_suites(), *named["suites"]},
        "rules": {*builtin_rules(), *named["rules"]},
    }
    tables: dict[tuple[str, ...], Flags] = {(): told}
    tables |= {(name,): own for name in COMMANDS if (own := getattr(told, name)) is not None}
    for where, flags in tables.items():
        for field, names in known.items():
            for name in filter(None, map(str.strip, (getattr(flags, field) or "").split(","))):
                if name not in names and not is_path(name):
                    near = did_you_mean(name, names)
                    yield (*where, field), f'there is no {field} "{name}"{near}'
        if flags.dialect is not None:
            yield from (((*where, field), text) for field, text in _dialect(flags.dialect))


def _dialect(name: str) -> Iterator[Wrong]:
    try:
        load_dialect(name)
    except UnknownDialectError as error:
        yield "dialect", str(error).removeprefix("dialect: ")
