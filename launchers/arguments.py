"""A build's `arguments` as options of an engine's command line, and those that are none of it."""

from __future__ import annotations

import re
import shutil
from types import MappingProxyType
from typing import TYPE_CHECKING

from launchers.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from launchers.build import Build, Scalar

OURS = "the harness sets it"
NO_HTTP = (
    "the harness reaches a server that it starts by plain HTTP only: leave it out, or start the "
    "server yourself and name it with --url"
)
NO_KEY = (
    "the harness sends no key to a server that it starts, which only this machine can reach: "
    "leave it out, or start the server yourself and name it with --url and --api-key-env"
)
NO_FIELDS: Mapping[str, str] = MappingProxyType({})


def dashed(key: str) -> str:
    """An option's name as engines have it: what follows a dot, a field's name, stays as it is."""
    option, dot, field = key.removeprefix("--").partition(".")
    return option.replace("_", "-") + dot + field


def options_of(build: Build, fields: Mapping[str, str] = NO_FIELDS) -> dict[str, Scalar]:
    """Option → value: of the build's fields that are set, and then of its arguments.

    Without the port, which the launcher decides.

    Args:
        build: with its arguments as the user spelled them.
        fields: option → field of the build.
    """
    told = {option: getattr(build, field) for option, field in fields.items()}
    told = {option: value for option, value in told.items() if value}
    own = {dashed(key): value for key, value in build.arguments.items() if key != "port"}
    return told | own


def refuse(build: Build, advice: Mapping[str, str], fields: Mapping[str, str] = NO_FIELDS) -> None:
    """Find arguments that an engine must not be given.

    Args:
        build: with its arguments as the user spelled them.
        advice: pattern of whole option names → what to do instead.
        fields: option → field of the build that stands for it.

    Raises:
        BuildError: names the argument, with the advice.
    """
    advice = {**advice, **{key: f"use the build's field `{name}`" for key, name in fields.items()}}
    for key in build.arguments:
        for pattern, says in advice.items():
            if re.fullmatch(pattern, dashed(key)):
                raise BuildError(build.name, f"arguments.{key}", says)


def check_command(build: Build) -> None:
    """Find a `command` that cannot be run.

    Raises:
        BuildError: its first word is no program.
    """
    if build.command and shutil.which(build.command[0]) is None:
        raise BuildError(build.name, "command", f"{build.command[0]} is no program that runs")


def flags(
    options: Mapping[str, Scalar], *, joined: bool = True, one_way: Collection[str] = ()
) -> list[str]:
    """Spell options as words of a command line: `--key=value`.

    True is the bare switch, and false its `--no-` form or, for a switch that has none, nothing.
    A key with a dot is a field of a JSON argument: there they are values.

    Args:
        options: in this order.
        joined: False: `--key value`, in two words.
        one_way: switches without a `--no-` form.
    """
    words: list[str] = []
    for key, value in options.items():
        if isinstance(value, bool) and "." not in key:
            if value or key not in one_way:
                words.append(f"--{'' if value else 'no-'}{key}")
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words += [f"--{key}={text}"] if joined else [f"--{key}", text]
    return words
