"""What can be wrong before the first request is sent.

LoadProfilesError
├── ProfileError          a profile, a level or an override that cannot be
├── TokenizerError        the tokenizer's folder cannot be used
├── UnknownDialectError   no dialect of that name
└── RecordError           a file of a run is not as it was written

Errors while driving are no exceptions: they are data in the sample (`records.Sample.error`).
"""

from __future__ import annotations

import msgspec


class LoadProfilesError(Exception):
    """Bad input to this package; the text names the field and the fix."""


class ProfileError(LoadProfilesError):
    """A profile, a level or an override that cannot be.

    Attributes:
        field: the field of the profile that is wrong, or the first of several.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class TokenizerError(LoadProfilesError):
    """The folder given as tokenizer cannot be used."""


class UnknownDialectError(LoadProfilesError):
    """No dialect of that name."""


class RecordError(LoadProfilesError, msgspec.DecodeError):
    """A record is not as it was written; the text names the file, the line and the field."""
