"""Whether an engine was told to run code that came with its model, from its provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.measuring.measurement import Caveat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODEL_CODE: Final = "model_code"
"""The code of the caveat that says so."""
_OPTION, _VARIABLE = "trust-remote-code", "TRUST_REMOTE_CODE"
_OFF = {"", "0", "false", "no"}


def model_code(build: str, provenance: Mapping[str, object]) -> Iterator[Caveat]:
    """Yield a caveat where a build's server was started with `trust_remote_code`."""
    if _trusted(provenance):
        yield Caveat(
            MODEL_CODE,
            f"{build} runs code that came with its model (trust_remote_code): that code has all "
            "rights of the user who started it, and every number of this server went through it. "
            "Trust it only if you have read it.",
        )


def _trusted(provenance: Mapping[str, object]) -> bool:
    argv, environment = provenance.get("argv"), provenance.get("environment")
    for word in argv if isinstance(argv, list | tuple) else ():
        name, _, value = str(word).partition("=")
        if name.lstrip("-").replace("_", "-") == _OPTION:
            return "=" not in str(word) or value.lower() not in _OFF
    given = environment.get(_VARIABLE, "") if isinstance(environment, dict) else ""
    return str(given).lower() not in _OFF
