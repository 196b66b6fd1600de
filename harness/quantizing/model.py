"""The model that is quantized, and the build that will serve what comes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.config import find_build, is_build
from harness.errors import BadInputError
from launchers.build import Build
from launchers.checkpoint import NONE
from launchers.model import cached_folder, resolve_model

if TYPE_CHECKING:
    from harness.config import Config

_NAME = "model"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A 16-bit checkpoint on this disk."""

    asked: str
    """What was asked for: a build, a folder, a hub id."""
    name: str
    """The folder's or the hub id's last part."""
    folder: Path
    weight_files: tuple[Path, ...]
    build: Build
    """How it is served; its engine, arguments and context go on to the quantized build."""
    context: int | None
    """Tokens that the model can hold, as its configuration says."""
    architecture: str | None


def source_of(name: str, config: Config) -> Source:
    """Find a model by a build's name, a folder, a hub id or `demo:NAME`.

    Raises:
        BadInputError: it is not there, or quantized already.
        BuildError: the build's model is not there.
    """
    if is_build(name, config) or name.endswith(".toml"):
        build, base_dir = find_build(name, config)
    else:
        build, base_dir = Build(name=_NAME, model=name), Path.cwd()
    found = resolve_model(build, base_dir)
    own_name = found.name.rpartition("/")[2]
    if found.folder is None:
        kept = _cached(str(found.hub_id), build)
        found = resolve_model(Build(name=_NAME, model=str(kept)), base_dir)
    assert found.folder is not None  # noqa: S101 - it was given, or found just now
    folder = found.folder
    if found.file or (found.checkpoint is not None and found.checkpoint.method != NONE):
        raise BadInputError(
            f"MODEL: {found.location} is quantized already", hint="Give the 16-bit checkpoint."
        )
    try:
        settings = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BadInputError(f"MODEL: {folder}/config.json cannot be read: {error}") from error
    if not isinstance(settings, dict):
        raise BadInputError(f"MODEL: {folder}/config.json holds no object")
    context = settings.get("max_position_embeddings")
    architectures = settings.get("architectures")
    return Source(
        asked=name,
        name=own_name,
        folder=folder,
        weight_files=tuple(found.weight_files),
        build=build,
        context=context if isinstance(context, int) else None,
        architecture=architectures[0]
        if isinstance(architectures, list) and architectures
        else None,
    )


def quantized_build(source: Source, name: str, method: str, dtype: str) -> Build:
    """Return the build that serves the new checkpoint from the folder that its TOML lies in."""
    arguments = {
        key: value
        for key, value in source.build.arguments.items()
        if key not in {"quantization", "revision"}
    }
    return source.build.model_copy(
        update={
            "name": name,
            "description": f"{source.asked} in 4 bits by {method.upper()}; see README.md.",
            "model": ".",
            "quantization": method,
            "dtype": dtype,
            "max_model_len": source.build.max_model_len or source.context,
            "arguments": arguments,
        }
    )


def _cached(hub_id: str, build: Build) -> Path:
    folder = cached_folder(hub_id, build)
    if folder is None or not (folder / "config.json").is_file():
        raise BadInputError(
            f"MODEL: {hub_id} is not in the model hub's cache on this machine",
            hint=f"Fetch it first: hf download {hub_id}",
        )
    return folder
