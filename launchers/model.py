"""Where a build's model lies."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.checkpoint import Checkpoint, check_quantization, read_checkpoint
from launchers.errors import BuildError, suggest
from launchers.gguf import MAGIC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from launchers.build import Build

BUILDS = Path(__file__).parent / "builds"
MODELS = Path(__file__).parent / "models"
DEMO = "demo:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
GGUF = "*.gguf"
GGUF_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
"""An engine loads the files of the first of these that fits any."""
FULL_HASH_BYTES = 4 * 2**30
"""Weights up to this size are hashed whole; of larger ones `SAMPLES` blocks of each file."""
SAMPLES = 32
SAMPLE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model that an engine can load: a folder on this disk, or an id of the model hub."""

    name: str
    """What requests ask for."""
    folder: Path | None = None
    file: Path | None = None
    """In the folder: the GGUF file that it is, or the first of its parts."""
    hub_id: str | None = None
    checkpoint: Checkpoint | None = None
    """How it was quantized; None where no file here says it."""

    @property
    def location(self) -> str:
        """The file, the folder or the hub id, as engines take it."""
        return str(self.file or self.folder or self.hub_id)

    @property
    def tokenizer(self) -> Path | None:
        """The folder, if it has a `tokenizer.json`."""
        has = self.folder is not None and (self.folder / "tokenizer.json").is_file()
        return self.folder if has else None

    @property
    def weight_files(self) -> list[Path]:
        """The files on this disk that hold its weights, in name order."""
        if self.file is None:
            return _weight_files(self.folder) if self.folder else []
        if part := GGUF_PART.fullmatch(self.file.name):
            return sorted(self.file.parent.glob(f"{glob.escape(part[1])}-*-of-{part[3]}.gguf"))
        return [self.file]


def builtin_builds() -> dict[str, Path]:
    """Name → TOML file of every build that ships with the package."""
    return {path.stem: path for path in sorted(BUILDS.glob("*.toml"))}


def resolve_model(build: Build, base_dir: Path) -> ModelSource:
    """Find the model of a build; relative folders start at `base_dir` (where its TOML lies).

    Raises:
        BuildError: names the field `model`, or `quantization` where the checkpoint is another.
    """
    source = _find(build, base_dir)
    source = replace(source, checkpoint=checkpoint_of(source, build))
    check_quantization(build, source.checkpoint)
    return source


def checkpoint_of(source: ModelSource, build: Build) -> Checkpoint | None:
    """How a model was quantized; of the hub's as far as its local cache has it."""
    if source.folder is not None:
        return read_checkpoint(Path(source.location))
    folder = cached_folder(source.hub_id or "", build)
    return None if folder is None else read_checkpoint(folder)


def cached_folder(hub_id: str, build: Build) -> Path | None:
    """Where the hub's local cache keeps the revision that a build serves; None if it does not."""
    environment = os.environ | build.environment
    revision = str(build.arguments.get("revision") or "main")
    commit = hub_commit(hub_id, revision, environment)
    return None if commit is None else _hub_folder(hub_id, environment) / "snapshots" / commit


def _find(build: Build, base_dir: Path) -> ModelSource:
    model = build.model
    if model.startswith(DEMO):
        return _demo(build, model.removeprefix(DEMO))
    folder = base_dir / Path(model).expanduser()
    if folder.is_dir():
        return _readable(build, _in_folder(build, folder.resolve()))
    if folder.is_file() and folder.match(GGUF):
        file = folder.resolve()
        return _readable(build, ModelSource(name=file.stem, folder=file.parent, file=file))
    if folder.exists():
        problem = f"{folder} is a file; a checkpoint is a folder, or a file that ends in .gguf"
        raise BuildError(build.name, "model", problem)
    # "models/awq" beside an existing folder "models" is a typing mistake, not a hub id.
    if HUB_ID.fullmatch(model) and not folder.parent.is_dir():
        return ModelSource(name=model, hub_id=model)
    raise BuildError(
        build.name,
        "model",
        f"no folder {folder}; give a checkpoint's folder or GGUF file (relative to {base_dir}), "
        "ORGANISATION/NAME for the model hub, or demo:NAME for the demo model",
    )


def _demo(build: Build, name: str) -> ModelSource:
    known = {path.name.removeprefix("demo-"): path for path in MODELS.glob("demo-*")}
    if name not in known:
        raise BuildError(
            build.name, "model", f"no demo model {name!r}: {suggest(name, known)} (as demo:NAME)"
        )
    return _in_folder(build, known[name])


def _in_folder(build: Build, folder: Path) -> ModelSource:
    """Take a folder's checkpoint, or else the one GGUF file in it."""
    found = sorted(folder.glob(GGUF))
    whole = [path for path in found if not (p := GGUF_PART.fullmatch(path.name)) or int(p[2]) == 1]
    if not whole or _weight_files(folder):
        if not (folder / "config.json").is_file():
            problem = f"{folder} has no config.json and no GGUF file: not a checkpoint"
            raise BuildError(build.name, "model", problem)
        return ModelSource(name=folder.name, folder=folder)
    if len(whole) > 1:
        names = ", ".join(path.name for path in whole)
        problem = f"{folder} has several GGUF files ({names}): name one of them"
        raise BuildError(build.name, "model", problem)
    return ModelSource(name=folder.name, folder=folder, file=whole[0])


def _readable(build: Build, source: ModelSource) -> ModelSource:
    for path in source.weight_files:
        try:
            with path.open("rb") as file:
                begins = file.read(len(MAGIC))
        except OSError as error:
            problem = f"{path} cannot be read: {error.strerror}"
            raise BuildError(build.name, "model", problem) from error
        if source.file and begins != MAGIC:
            problem = f"{path} is no GGUF file: it begins with {begins!r}; fetch it again"
            raise BuildError(build.name, "model", problem)
    return source


def weights_hash(files: Sequence[Path]) -> dict[str, object] | None:
    """Return sha256 over the names, sizes and bytes of a model's weights, in the order given.

    Above 4 GiB only blocks of each file are read, evenly from its first byte (the header) to its
    last; `of` says which it was. None without any.
    """
    if not files:
        return None
    total = sum(path.stat().st_size for path in files)
    whole = total <= FULL_HASH_BYTES
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if whole:
                while block := file.read(2**20):
                    digest.update(block)
            else:
                for sample in range(SAMPLES):
                    file.seek(max(0, size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
                    digest.update(file.read(SAMPLE_BYTES))
    blocks = f"{SAMPLES} blocks of {SAMPLE_BYTES / 2**20:g} MiB of each file"
    return {
        "sha256": digest.hexdigest(),
        "of": f"names, sizes and {'contents' if whole else blocks}",
        "files": len(files),
        "bytes": total,
    }


def memory_of_weights_gib(build: Build, folder: Path, size: int) -> float | None:
    """Return what weights of `size` bytes take once they are loaded, as far as files can tell.

    None for a build that an engine quantizes while it loads: its argument `quantization` is set,
    and the checkpoint itself is not quantized.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        config = {}
    quantized = isinstance(config, dict) and "quantization_config" in config
    return None if build.arguments.get("quantization") and not quantized else size / 2**30


def hub_home(environment: Mapping[str, str]) -> Path:
    """Where the model hub's client keeps things, under these environment variables."""
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    home = Path(environment.get("HF_HOME") or Path(base) / "huggingface")
    return home.expanduser().absolute()


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Where the model hub's client keeps models, under these environment variables."""
    own = environment.get("HF_HUB_CACHE")
    return Path(own).expanduser().absolute() if own else hub_home(environment) / "hub"


def hub_commit(hub_id: str, revision: str, environment: Mapping[str, str]) -> str | None:
    """The commit that a revision stands for in the local cache; None if the cache has none."""
    folder = _hub_folder(hub_id, environment)
    if (folder / "snapshots" / revision).is_dir():
        return revision
    try:
        return (folder / "refs" / revision).read_text().strip()
    except OSError:
        return None


def _hub_folder(hub_id: str, environment: Mapping[str, str]) -> Path:
    return hub_cache(environment) / f"models--{hub_id.replace('/', '--')}"


def _weight_files(folder: Path) -> list[Path]:
    return next((files for kind in WEIGHTS if (files := sorted(folder.glob(kind)))), [])
