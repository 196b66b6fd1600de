"""`[defaults]` of a harness.toml: what flags are where the command line does not say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

PATHS: Final = frozenset({"tokenizer", "ca_file", "out", "baselines"})
"""Relative ones lie beside the harness.toml."""
NAMES: Final = frozenset({"server", "profile", "suite", "rules", "baseline"})
"""The same, where they look like paths."""
COMMANDS: Final = ("load", "compare", "capacity", "eval", "gate", "probe")
"""Those that measure. What the others call --out or --seed is something else."""

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Flags(BaseModel):
    """Each is the flag of that name, of every one of `COMMANDS` that has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    server: str | None = None
    """Builds and [servers], by comma."""
    url: str | None = None
    """API base of a server that is up; of replicas all, by comma."""
    model: str | None = None
    ca_file: str | None = None
    dialect: str | None = None
    tokenizer: str | None = None
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; never the key."""
    profile: str | None = None
    suite: str | None = None
    rules: str | None = None
    baseline: str | None = None
    baselines: str | None = None
    """Folder of the blessed baselines."""
    slo: str | None = None
    """Limits, e.g. "ttft_p95_ms<=500,itl_p95_ms<=50"."""
    price_per_hour: str | None = None
    """USD, of `harness compare`: one number for all builds, or fp16=4,awq=2.5."""
    duration: Seconds | None = None
    requests: Count | None = None
    warmup: Annotated[int, Field(ge=0)] | None = None
    repeats: Count | None = None
    order: Literal["each", "mirrored"] | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    lengths: Literal["forced", "natural", "both"] | None = None
    limit: Count | None = None
    margin: Annotated[float, Field(gt=0, lt=100)] | None = None
    perplexity_margin: Annotated[float, Field(gt=0, lt=100)] | None = None
    concurrency: Count | None = None
    timeout: Seconds | None = None
    max_fail_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    workers: Count | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    budget: Seconds | None = None
    probes: Count | None = None
    precision: Annotated[float, Field(gt=0)] | None = None
    metadata: dict[str, str] = {}
    out: str | None = None
    """Folder that gets the runs' folders."""
    quiet: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.server is not None and self.url is not None:
            raise ValueError("server, url: give one of both; a [servers.NAME] table names a URL")
        return self

    def said(self, folder: Path) -> dict[str, tuple[str, ...]]:
        """Flag → values as typed on a command line; relative paths begin at `folder`."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.model_fields_set:
            value = getattr(self, name)
            if name == "metadata":
                found[name] = tuple(f"{key}={text}" for key, text in value.items())
            elif isinstance(value, bool):
                found[name] = ("true",) if value else ()
            elif name in PATHS:
                found[name] = (str(folder / Path(value).expanduser()),)
            elif name in NAMES:
                found[name] = (",".join(_anchored(part, folder) for part in value.split(",")),)
            elif not isinstance(value, Flags) and value is not None:
                found[name] = (str(value),)
        return {name: values for name, values in found.items() if values}


class Defaults(Flags):
    """`[defaults]`, and `[defaults.COMMAND]` for what is to hold for one command alone."""

    load: Flags | None = None
    compare: Flags | None = None
    capacity: Flags | None = None
    eval: Flags | None = None
    gate: Flags | None = None
    probe: Flags | None = None

    def of(self, command: str, folder: Path) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
        """Return the flags of a command, its own table's first, and which are its own table's."""
        own = getattr(self, command, None) if command in COMMANDS else None
        special = {} if own is None else own.said(folder)
        general = self.said(folder)
        if {"server", "url"} & special.keys():
            general = {k: v for k, v in general.items() if k not in {"server", "url"}}
        return general | special, frozenset(special)


def _anchored(name: str, folder: Path) -> str:
    """A name, or a path from the folder of the harness.toml."""
    name = name.strip()
    looks_so = name.partition("@")[0].endswith(".toml") or "/" in name
    return str(folder / Path(name).expanduser()) if looks_so else name
