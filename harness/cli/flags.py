"""Flags that several commands have, and what is wrong with their values, told by the flag."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from harness.errors import BadInputError
from harness.named import find_server
from harness.serving import Url
from launchers.trust import Trust
from loadprofiles.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.config import Config
    from harness.serving import Who

_PARAMETERS: Final = {
    "duration_s": "duration",
    "warmup_requests": "warmup",
    "timeout_s": "timeout",
    "think_s": "think",
    "file": "trace",
}
"""Fields whose flags are called otherwise."""


@contextmanager
def naming_flags(given: Mapping[str, object]) -> Iterator[None]:
    """Begin a profile's error with the flag; `given` are the flags' values, None where unsaid.

    Raises:
        BadInputError: in place of the ProfileError, where the value came from the command line.
    """
    try:
        yield
    except ProfileError as error:
        field = error.field.removeprefix("arrival.").removesuffix(".file")
        name = _PARAMETERS.get(field, field)
        if given.get(name) is None:
            raise
        text = str(error).removeprefix(f"{error.field}: ")
        raise BadInputError(f"--{name.replace('_', '-')}: {text}") from error


def urls_of(
    urls: tuple[str, ...], model: str | None, ca_file: Path | None, *, verify: bool
) -> Url | None:
    """Return the deployment that --url names, if any.

    Raises:
        BadInputError: an empty URL, or a flag that goes with one where there is none.
    """
    if not urls:
        flags = {"--model": model, "--ca-file": ca_file, "--insecure": not verify}
        for flag in (flag for flag, value in flags.items() if value):
            raise BadInputError(f"{flag} goes with --url; a --server's build says it all")
        return None
    parts = tuple(part.strip() for text in urls for part in text.split(","))
    if not all(parts):
        raise BadInputError("--url: an empty one; give the API's base, e.g. http://127.0.0.1:8000")
    return Url(urls=parts, model=model, trust=Trust(ca_file=ca_file, verify=verify))


def names_of(flag: str, text: str, again: str) -> list[str]:
    """Return the names that stand between commas; `again` says what to do in place of a second.

    Raises:
        BadInputError: an empty one, or one that is there twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise BadInputError(f'--{flag}: an empty name in "{text}"')
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f'--{flag}: "{name}" is there twice; {again}')
    return names


def servers_named(server: str | None, url: Url | None, config: Config, again: str) -> list[Who]:
    """Return what --server names, builds or [servers] of the harness.toml, or the URL.

    Args:
        server: the flag's text.
        url: as `urls_of` returns it.
        config: where names are looked up.
        again: what to do in place of naming one twice.

    Raises:
        BadInputError: neither, both, or one that is not known or named twice.
    """
    if (server is None) == (url is None):
        raise BadInputError("give either --server NAME[,NAME…] or --url URL")
    if url is not None:
        return [replace(url, name=config.server_at(url.urls) or url.name)]
    return [find_server(name, config) for name in names_of("server", server or "", again)]


def at_least(flag: str, value: int, least: int) -> int:
    """Return a number that must not be smaller.

    Raises:
        BadInputError: it is.
    """
    if value < least:
        raise BadInputError(f"--{flag}: {value} must be {least} or more")
    return value


def share(flag: str, value: float) -> float:
    """Return a share, which lies between 0 and 1.

    Raises:
        BadInputError: it does not.
    """
    if not 0 <= value <= 1:
        raise BadInputError(f"--{flag}: {value:g} must lie between 0 and 1, e.g. 0.05")
    return value


def by_build(flag: str, text: str, what: str = "price") -> dict[str, float]:
    """Read one number for all builds, or `fp16=4,awq=2.5`; none where nothing is said.

    The number for every build is that of "".

    Raises:
        BadInputError: what is no number above 0, or a build that is there twice.
    """
    found: dict[str, float] = {}
    if not text:
        return found
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.rpartition("="))
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < math.inf:
            raise BadInputError(
                f'{flag}: "{value}" is no {what} above 0',
                hint=f"Give one for all builds, e.g. {flag} 2.5, or fp16=4,awq=2.5",
            )
        if name in found:
            raise BadInputError(f'{flag}: "{name or value}" is there twice')
        found[name] = number
    return found
