"""Where a build's model lies."""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.errors import BuildError, suggest

if TYPE_CHECKING:
    from launchers.build import Build

BUILDS = Path(__file__).parent / "builds"
MODELS = Path(__file__).parent / "models"
DEMO = "demo:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
FULL_HASH_BYTES = 4 * 2**30
"""Weights up to this size are hashed whole; of larger ones the headers and sizes."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model that an engine can load: a folder on this disk, or an id of the model hub."""

    name: str
    """What requests ask for."""
    folder: Path | None = None
    hub_id: str | None = None

    @property
    def location(self) -> str:
        """The folder or the hub id, as engines take it."""
        return str(self.folder) if self.folder else str(self.hub_id)

    @property
    def tokenizer(self) -> Path | None:
        """The folder, if it has a `tokenizer.json`."""
        has = self.folder is not None and (self.folder / "tokenizer.json").is_file()
        return self.folder if has else None


def builtin_builds() -> dict[str, Path]:
    """Name → TOML file of every build that ships with the package."""
    return {path.stem: path for path in sorted(BUILDS.glob("*.toml"))}


def resolve_model(build: Build, base_dir: Path) -> ModelSource:
    """Find the model of a build; relative folders start at `base_dir` (where its TOML lies).

    Raises:
        BuildError: names the field `model` and what to write instead.
    """
    model = build.model
    if model.startswith(DEMO):
        return _demo(build, model.removeprefix(DEMO))
    folder = base_dir / Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise BuildError(build.name, "model", f"{folder} has no config.json: not a checkpoint")
        folder = folder.resolve()
        return ModelSource(name=folder.name, folder=folder)
    if folder.exists():
        raise BuildError(build.name, "model", f"{folder} is a file; a checkpoint is a folder")
    # "models/awq" beside an existing folder "models" is a typing mistake, not a hub id.
    if HUB_ID.fullmatch(model) and not folder.parent.is_dir():
        return ModelSource(name=model, hub_id=model)
    raise BuildError(
        build.name,
        "model",
        f"no folder {folder}; give a checkpoint's folder (relative to {base_dir}), "
        "ORGANISATION/NAME for the model hub, or demo:NAME for the demo model",
    )


def _demo(build: Build, name: str) -> ModelSource:
    known = {path.name.removeprefix("demo-"): path for path in MODELS.glob("demo-*")}
    if name not in known:
        raise BuildError(
            build.name, "model", f"no demo model {name!r}: {suggest(name, known)} (as demo:NAME)"
        )
    return ModelSource(name=f"demo-{name}", folder=known[name])


def weights_hash(folder: Path) -> dict[str, object] | None:
    """Return sha256 over the names and bytes of the folder's `*.safetensors`, in name order.

    Above 4 GiB only each file's name, size and header are hashed; `of` says which it was.
    None when the folder has no safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return None
    size = sum(path.stat().st_size for path in files)
    whole = size <= FULL_HASH_BYTES
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            if whole:
                while block := file.read(2**20):
                    digest.update(block)
            else:
                (length,) = struct.unpack("<Q", file.read(8))
                digest.update(file.read(min(length, 2**28)))
    return {
        "sha256": digest.hexdigest(),
        "of": "names, sizes and contents" if whole else "names, sizes and headers",
        "files": len(files),
        "bytes": size,
    }
