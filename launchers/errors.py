"""What can go wrong while a server is brought up.

LauncherError
├── BuildError         a field of the build cannot be served as it is
├── UnknownNameError   no engine, environment or demo model of that name
├── RequirementsError  a file of an environment's pins cannot be read, or pins not all
├── InstallError       an engine could not be installed, or is not there
│   └── NotYetInstalledError   a managed environment that is made when it is first wanted
├── LaunchError        a server did not come up
├── PlanError          a model cannot be quantized as it was asked
├── QuantizeError      quantizing failed
└── ConnectError       nothing usable answers at a URL
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class LauncherError(Exception):
    """Base of everything below. The message says what to do."""


class BuildError(LauncherError):
    """A field of the build names something that cannot be served."""

    def __init__(self, build: str, field: str, problem: str) -> None:
        super().__init__(f"build {build!r}: field `{field}`: {problem}")
        self.build = build
        self.field = field


class UnknownNameError(LauncherError):
    """No `kind` is called `name`; the message lists those there are."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"no {kind} {name!r}: {suggest(name, known)}")
        self.kind = kind
        self.name = name


class RequirementsError(LauncherError):
    """A file of an environment's pins is not there, or does not pin; names file and line."""


class InstallError(LauncherError):
    """The engine could not be installed, or is not there."""


class NotYetInstalledError(InstallError):
    """A managed environment is not there; whatever starts a server makes it."""


class LaunchError(LauncherError):
    """The server did not come up; the message ends with the last lines of its log."""


class PlanError(LauncherError):
    """The model cannot be quantized as it was asked; the message begins with the flag."""


class QuantizeError(LauncherError):
    """Quantizing failed; the message ends with the last lines of its log."""


class ConnectError(LauncherError):
    """Nothing usable answers at the URL."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return what to write instead of `name`: "did you mean 'awq'? known are awq, fp16"."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known are {', '.join(names) or 'none'}"
