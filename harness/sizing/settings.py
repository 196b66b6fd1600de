"""`[capacity]` of a harness.toml, and the same from flags: what a sizing is to reckon with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from harness.errors import BadInputError
from harness.sizing.record import Terms

if TYPE_CHECKING:
    from collections.abc import Mapping

_USUAL: Final = Terms()
_NOT_TERMS: Final = ("demand", "mean_demand", "peak_window_s")
_FLAGS: Final = {
    "peak_window_s": "--peak-window",
    "context_tokens": "--context",
}
"""Of settings whose flags are called otherwise."""


def _by_build(value: Any) -> Any:  # noqa: ANN401 - whatever stands in the file
    """A number for every build, or a table of builds."""
    return value if isinstance(value, dict) else {"": value}


Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Gpus = Annotated[int, Field(ge=1, le=10_000)]


class CapacitySettings(BaseModel):
    """A demand and terms; each as the flag of that name says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    demand: str | None = None
    """A peak rate, or a trace's file; a relative one beside the harness.toml."""
    mean_demand: str | None = None
    peak_window_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    headroom: Annotated[float, Field(ge=0, lt=1)] = _USUAL.headroom
    spare: Annotated[int, Field(ge=0, le=10_000)] = _USUAL.spare
    growth_per_month: Annotated[float, Field(gt=-1, le=10)] = _USUAL.growth_per_month
    months: Annotated[int, Field(ge=0, le=120)] = _USUAL.months
    price_per_gpu_hour: Annotated[
        dict[str, Price],
        BeforeValidator(_by_build, json_schema_input_type=Price | dict[str, Price]),
    ] = {}
    gpus_per_replica: Annotated[
        dict[str, Gpus], BeforeValidator(_by_build, json_schema_input_type=Gpus | dict[str, Gpus])
    ] = {}
    output_price_ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)] = (
        _USUAL.output_price_ratio
    )
    gpu_memory_gib: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    context_tokens: Annotated[int, Field(ge=1)] | None = None

    def with_flags(self, flags: Mapping[str, object]) -> CapacitySettings:
        """Return them with what the command line says otherwise.

        Args:
            flags: setting → value; None where the flag was not given.

        Raises:
            BadInputError: with every flag whose value cannot be, and why.
        """
        given = {name: value for name, value in flags.items() if value is not None}
        try:
            return CapacitySettings.model_validate(self.model_dump(exclude_unset=True) | given)
        except ValidationError as error:
            lines = [
                f"{flag_of(str(one['loc'][0]))}: {_said(one['msg'])}, not {one['input']!r}"
                for one in error.errors(include_url=False)
            ]
            raise BadInputError("\n".join(lines)) from error

    @property
    def terms(self) -> Terms:
        """All but the demand."""
        return Terms(**self.model_dump(exclude=set(_NOT_TERMS)))


def flag_of(setting: str) -> str:
    """How the flag of a setting is spelled."""
    return _FLAGS.get(setting, f"--{setting.replace('_', '-')}")


def _said(message: str) -> str:
    return message.removeprefix("Input ")
