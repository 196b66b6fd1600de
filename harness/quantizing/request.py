"""What is asked of `harness quantize`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from harness.errors import BadInputError

if TYPE_CHECKING:
    from pathlib import Path

    from evals.suite import Suite
    from harness.quantizing.model import Source
    from launchers.quantize.plan import Method

GROUP_SIZES: Final = (32, 64, 128)
"""Those that the engines' 4-bit kernels take."""
SAMPLES: Final = 256
USUAL_SAMPLES: Final = (128, 512)
SEQUENCE_LENGTH: Final = 2048
Role = Literal["general", "domain"]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Shares of the samples, as they were written: 70:30 and 7:3 are the same."""

    general: int
    domain: int

    def __str__(self) -> str:
        return f"{self.general}:{self.domain}"

    def share(self, role: Role) -> float:
        """Share of one role, 0…1."""
        return (self.general if role == "general" else self.domain) / (self.general + self.domain)

    def counts(self, samples: int) -> dict[Role, int]:
        """Divide samples exactly: the nearest number, half a sample to the general text.

        A role with a share above 0 gets one sample at least.

        Raises:
            BadInputError: there are not as many samples as roles.
        """
        total = self.general + self.domain
        general = (2 * samples * self.general + total) // (2 * total)
        if self.general and self.domain:
            if samples < len(("general", "domain")):
                raise BadInputError(
                    f"--samples: {samples} cannot be divided {self}; take 2 or more"
                )
            general = min(max(general, 1), samples - 1)
        return {"general": general, "domain": samples - general}


def mix_of(text: str) -> Mix:
    """Read `GENERAL:DOMAIN`.

    Raises:
        BadInputError: it is something else.
    """
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):  # noqa: PLR2004 - one colon
        raise BadInputError(
            f'--mix: "{text}" should be GENERAL:DOMAIN in whole numbers, e.g. 70:30'
        )
    mix = Mix(general=int(parts[0]), domain=int(parts[1]))
    if mix.general + mix.domain == 0:
        raise BadInputError(f'--mix: "{text}" leaves nothing to calibrate on; e.g. 70:30')
    return mix


@dataclass(frozen=True, kw_only=True)
class QuantizeRequest:
    """Everything, checked."""

    source: Source
    method: Method
    general: str
    """Name or path of the general text; not read where the mix leaves it out."""
    domain: str
    mix: Mix
    samples: int
    sequence_length: int
    pack: bool
    seed: int
    skip: tuple[str, ...]
    group_size: int
    out: Path
    suites: tuple[tuple[Suite, Path], ...]
    """What calibration samples are held against, each with the folder that its paths count from."""
    named: bool
    """Whether these suites were asked for by name, so that one that cannot be read is an error."""
    allow_contaminated: bool
    python: Path | None
    """With llm-compressor; None: the managed environment's."""
    threads: int | None
    command: str
