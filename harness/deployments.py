"""`[servers.NAME]` of a harness.toml: servers that somebody else runs, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from harness.sizing.settings import CapacitySettings, Gpus, Price

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
Url = Annotated[str, Field(pattern=r"^https?://[^@?#,\s]+$")]


def _several(value: object) -> object:
    """One text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


class Deployment(BaseModel):
    """What `--server NAME` then stands for: the flags of a --url."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=NAME)
    description: str = ""
    url: Annotated[
        tuple[Url, ...],
        Field(min_length=1),
        BeforeValidator(_several, json_schema_input_type=Url | tuple[Url, ...]),
    ]
    """The API's base, or those of all replicas of one deployment; no user name and no query, which
    would be written into runs."""
    model: str | None = None
    """The model to ask for, where it serves several."""
    dialect: str | None = None
    """openai-completions, openai-chat, tgi or llamacpp."""
    tokenizer: str | None = None
    """Folder with the model's tokenizer.json (relative to the harness.toml)."""
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the environment variable that holds the key; never the key."""
    ca_file: str | None = None
    """PEM file of the authority that signed its certificate (relative to the harness.toml)."""
    price_per_gpu_hour: Price | None = None
    """USD, for `harness capacity`."""
    gpus_per_replica: Gpus | None = None

    def flags(self) -> dict[str, tuple[str, ...]]:
        """Flag (without its dashes, underscores) → values, as typed on a command line."""
        one = {
            name: (value,)
            for name in ("model", "dialect", "tokenizer", "api_key_env", "ca_file")
            if (value := getattr(self, name)) is not None
        }
        return {"url": self.url} | one


def with_prices(
    told: CapacitySettings | None, servers: Mapping[str, Deployment]
) -> CapacitySettings | None:
    """Add what the tables of servers say of prices and GPUs."""
    names = ("price_per_gpu_hour", "gpus_per_replica")
    own = {
        key: {name: value for name, one in servers.items() if (value := getattr(one, key))}
        for key in names
    }
    if not any(own.values()):
        return told
    before = {} if told is None else told.model_dump(exclude_unset=True)
    merged = {key: {**before.get(key, {}), **own[key]} for key in names if own[key]}
    return CapacitySettings.model_validate(before | merged)
