"""K=V arguments of the command line."""

import os
import re
from typing import Final

from harness.errors import BadInputError
from launchers.redact import is_key, is_secret

_FROM_ENVIRONMENT: Final = "env:"

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OUR_HEADERS = {
    *(
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
    ),
    *("transfer-encoding", "user-agent", "x-request-id"),
}


def headers_of(values: tuple[str, ...]) -> dict[str, str]:
    """Return request headers from `--header K=V`, or `K=env:NAME` for one of the environment.

    Raises:
        BadInputError: what is no header, or not for the user to set, or a secret in plain sight:
            all users of a machine see its command lines.
    """
    headers = pairs_of("header", values)
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise BadInputError(
                f'--header: "{_shown(name)}…" cannot name a header', hint="e.g. --header X-Team=a"
            )
        if name.lower() in _OUR_HEADERS:
            raise BadInputError(f"--header: {name} is for the load driver to set; leave it out")
        if value.startswith(_FROM_ENVIRONMENT):
            headers[name] = _variable(name, value.removeprefix(_FROM_ENVIRONMENT))
        elif is_secret(name) or is_key(value):
            raise BadInputError(
                f"--header: the value of {name} would be in the list of processes for all to see",
                hint=f"Use --api-key-env KEY, or --header {name}=env:KEY: sent is what the "
                "environment variable KEY holds.",
            )
        if not headers[name].isascii() or not headers[name].isprintable():
            raise BadInputError(f"--header: the value of {name} is not ASCII")
    return headers


def _variable(header: str, name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise BadInputError(
            f"--header {header}: no environment variable of the name after env: is set",
            hint=f"export KEY=… and --header {header}=env:KEY",
        )
    return value


def pairs_of(flag: str, values: tuple[str, ...]) -> dict[str, str]:
    """Return what stands on both sides of each value's first `=`.

    Raises:
        BadInputError: there is none, or a control character.
    """
    pairs = {}
    for value in values:
        name, sign, content = value.partition("=")
        if not sign or not name.strip():
            raise BadInputError(f'--{flag}: "{_shown(value)}…" is no K=V')
        if not (name + content).isprintable():
            raise BadInputError(f"--{flag}: {_shown(name)!r} holds a control character")
        pairs[name.strip()] = content.strip()
    return pairs


def _shown(pair: str) -> str:
    """The part of a K=V or K: V that can be no secret."""
    return re.split(r"[:=\s]", pair, maxsplit=1)[0]
