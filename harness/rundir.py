"""The folder of one run. Every write is atomic: a killed run leaves whole files only.

runs/<utc>-<slug>/
    manifest.json  measurements.json or evaluation.json  report.html  report.md
    servers/<build>/server.log, visit-2/server.log, …      one each time that it was brought up
    cells/<cell id>/{plan.json, bodies.jsonl, samples.jsonl, drive.json, …}
    evals/<suite>/<build>[-again|-load]/{pass.json, plan.json, answers.jsonl, …}
    probes/<build>.json
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import msgspec
import psutil

from harness import __version__
from harness.errors import BadInputError, did_you_mean
from harness.foreign import FolderName, check_tree
from harness.measuring.measurement import SCHEMA as MEASUREMENTS_SCHEMA
from harness.measuring.measurement import Measurements, RunInfo
from loadprofiles.decoding import decoded
from loadprofiles.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MANIFEST_SCHEMA = 1
MANIFEST_FILE = "manifest.json"
MEASUREMENTS_FILE = "measurements.json"
CELLS = "cells"
SERVERS = "servers"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TEMPORARY = re.compile(r"\..+\.([0-9]{1,9})\.tmp")
"""What `atomically` writes, and in which process."""
_MAX_SLUG = 60
_PROBE_BYTES = 4096
_T = TypeVar("_T")


class _Version(msgspec.Struct):
    schema: int


class _Planned(msgspec.Struct):
    id: FolderName | None = None
    baseline: FolderName | None = None


class _Names(msgspec.Struct):
    """What of a manifest names folders."""

    cells: list[_Planned] | None = None


class RunFolder:
    """One run's folder; `path` is absolute, and `id` names the run."""

    def __init__(self, path: Path, *, part_of: str | None = None) -> None:
        self.path = path.absolute()
        self._looked_at = False
        self.id = path.name if part_of is None else f"{part_of}/{path.name}"

    @classmethod
    def create(cls, parent: Path, slug: str) -> RunFolder:
        """Create `parent/<utc>-<slug>` (or `…-2`, `…-3` if taken) and prove that it is writable.

        Raises:
            BadInputError: the folder cannot be created or written.
        """
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{stamp}-{_slug(slug)}"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = _make_free(parent, name)
        except OSError as error:
            raise _unwritable(parent, error) from error
        probe = path / ".writable"
        write_atomically(probe, bytes(_PROBE_BYTES))
        probe.unlink()
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open the folder of an earlier run.

        Raises:
            BadInputError: there is none.
        """
        if not path.is_dir():
            there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            near = did_you_mean(path.name, there)
            raise BadInputError(f"no run folder {path}{near}", hint="Runs are in runs/ by default.")
        if not (path / MANIFEST_FILE).is_file():
            raise BadInputError(
                f"{path} is no run folder: it has no {MANIFEST_FILE}",
                hint="A run that was killed before it wrote one had measured nothing: begin anew.",
            )
        return cls(path)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Let no other process measure into this folder until the end, or this one's death.

        What one before was writing when it was killed is removed.

        Raises:
            BadInputError: another one does.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            _lock(descriptor, self.path)
            for path in self.path.rglob(".*.tmp"):
                writer = _TEMPORARY.fullmatch(path.name)
                if writer and not psutil.pid_exists(int(writer[1])):
                    with contextlib.suppress(OSError):  # what cannot be written is told by who must
                        path.unlink()
            yield
        finally:
            os.close(descriptor)

    def begun(self, command: Sequence[str], seed: int) -> RunInfo:
        """Which run this is, if it begins now; secrets must be masked in the command line."""
        return RunInfo(
            id=self.id,
            path=str(self.path),
            started=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            command=shlex.join(command),
            seed=seed,
            harness_version=__version__,
        )

    def cell(self, cell_id: str) -> Path:
        """The folder of one cell, created if it is not there."""
        return self._folder(CELLS, cell_id)

    def server(self, build: str) -> Path:
        """A folder for a build's server that is about to start; what is there stays."""
        folder = self._folder(SERVERS, build)
        visit = 1
        while any(path.is_file() for path in folder.iterdir()):
            visit += 1
            folder = self._folder(SERVERS, build, f"visit-{visit}")
        return folder

    def part(self, name: str) -> RunFolder:
        """The folder of a run that is a part of this one, created if it is not there."""
        return RunFolder(self._folder(name), part_of=self.id)

    def write_manifest(self, manifest: dict[str, object]) -> None:
        """Write `manifest.json`; `schema` is added. Paths become strings, infinities null.

        Raises:
            BadInputError: the folder cannot be written (any more).
        """
        self.write_json(MANIFEST_FILE, {"schema": MANIFEST_SCHEMA, **manifest})

    def read_manifest(self) -> dict[str, object]:
        """Read `manifest.json`; the first time, look at all that lies in the folder, too.

        Raises:
            BadInputError: it is missing, broken, or of a newer harness, or the folder holds what
                no harness writes.
        """
        if not self._looked_at:
            check_tree(self.path)
            read_json(self.path / MANIFEST_FILE, _Names, MANIFEST_SCHEMA)
            self._looked_at = True
        return read_json(self.path / MANIFEST_FILE, dict[str, object], MANIFEST_SCHEMA)

    def write_measurements(self, measurements: Measurements) -> None:
        """Write `measurements.json`.

        Raises:
            BadInputError: the folder cannot be written (any more).
        """
        self.write_json(MEASUREMENTS_FILE, measurements)

    def read_measurements(self) -> Measurements:
        """Read `measurements.json`.

        Raises:
            BadInputError: it is missing, broken, or of a newer harness.
        """
        return read_json(self.path / MEASUREMENTS_FILE, Measurements, MEASUREMENTS_SCHEMA)

    def _folder(self, *names: str) -> Path:
        for name in names:
            if not _NAME.fullmatch(name):
                raise BadInputError(f"{name!r} cannot name a folder: use letters, digits, . _ -")
        path = self.path.joinpath(*names)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error
        return path

    def write_json(self, name: str, value: object) -> None:
        """Write one of the run's JSON files. Paths become strings, infinities null.

        Raises:
            BadInputError: the folder cannot be written (any more).
        """
        data = msgspec.json.format(msgspec.json.encode(value, enc_hook=_encode_other), indent=2)
        write_atomically(self.path / name, data + b"\n")


@contextlib.contextmanager
def atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is put at `path` at the end: there is the old one or all of the new one.

    Raises:
        BadInputError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # never through a link that lies there
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path`: after a crash there is the old file or the new one, never a part.

    Raises:
        BadInputError: it cannot be written.
    """
    with atomically(path) as file:
        file.write(data)


def read_json(path: Path, kind: type[_T], schema: int) -> _T:
    """Read one of our own JSON files.

    Raises:
        BadInputError: it is missing, broken (the text names file and field), or of a newer harness.
    """
    try:
        data = path.read_bytes()
        found = decoded(data, _Version, str(path)).schema
        if found <= schema:
            return decoded(data, kind, str(path))
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror or error}") from error
    except RecordError as error:
        raise BadInputError(str(error), hint="The file is not as harness wrote it.") from error
    raise BadInputError(
        f"{path} has schema {found}; this harness knows {schema}",
        hint="Install the newer harness that wrote it.",
    )


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BadInputError(
            f"{path} is being measured by another process",
            hint="It still runs: wait for its end, or stop it; then --resume goes on.",
        ) from error
    except OSError:
        pass  # a file system that knows no locks


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_free(parent: Path, name: str) -> Path:
    """Create the first of `name`, `name-2`, … that does not exist; mkdir decides races."""
    count = 1
    while True:
        path = parent / (name if count == 1 else f"{name}-{count}")
        try:
            path.mkdir()
        except FileExistsError:
            count += 1
        else:
            return path


def _slug(text: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug[:_MAX_SLUG].strip("-") or "run"


def _encode_other(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} in a run's JSON")


def _unwritable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(
        f"cannot write {path}: {error.strerror or error}",
        hint="Choose a folder that you may write, on a disk with free space, with --out DIR.",
    )
