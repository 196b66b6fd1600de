"""What is wrong with a profile's field, told by the flag that gave it its value."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from harness.errors import BadInputError
from loadprofiles.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
