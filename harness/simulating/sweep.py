"""The measured cells of a build and the limits of its engine, read from runs' folders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.errors import BadInputError, did_you_mean
from harness.rundir import CELLS
from harness.simulating.engine import UNLIMITED, Limits
from harness.simulating.observed import Observed
from launchers.telemetry.records import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.rundir import RunFolder

_VLLM_ON_CPU: Final = {"max_num_seqs": 128, "max_num_batched_tokens": 2048}
"""vLLM 0.32, `EngineArgs.get_batch_defaults`, for its API server on one CPU worker."""


def read_sweep(
    runs: Iterable[RunFolder], build: str | None = None
) -> tuple[list[Observed], Limits, list[str]]:
    """Read all cells of one build that can be simulated.

    Args:
        runs: finished load runs.
        build: whose; None where they have one only.

    Returns:
        The cells, the engine's limits, and caveats: which cells were left out and why, and which
        limits nobody knows.

    Raises:
        BadInputError: there is no such cell, or there are several builds and none was named.
    """
    cells: list[Observed] = []
    caveats: list[str] = []
    limits: Limits | None = None
    manifests = {run.path.resolve(): (run, run.read_manifest()) for run in runs}
    _one_build([manifest for _, manifest in manifests.values()], build)
    for run, manifest in manifests.values():
        described: Any = manifest.get("cells") or []
        builds = sorted({cell["build"] for cell in described})
        for cell in described:
            if build not in (None, cell["build"]):
                continue
            try:
                cells.append(Observed.read(run.path / CELLS / cell["id"]))
            except BadInputError as error:
                caveats.append(error.text)
            except (OSError, msgspec.DecodeError) as error:
                caveats.append(f"cell {cell['id']} cannot be read: {error}")
        servers: Any = manifest.get("servers") or {}
        for name in builds:
            if limits is None and build in (None, name) and name in servers:
                limits, unknown = limits_of(servers[name])
                caveats += unknown
    if not cells:
        raise BadInputError(
            "no cell can be simulated" + "".join(f"\n  {text}" for text in caveats),
            hint="Measure a sweep first, e.g. harness load --profile closed --level 1,2,4,8,16,32.",
        )
    return cells, limits or Limits(), caveats


def _one_build(manifests: Iterable[Mapping[str, Any]], build: str | None) -> None:
    """Look that the cells are of one build.

    Raises:
        BadInputError: they are of several and none was named, or none is of the one named.
    """
    found = sorted({cell["build"] for one in manifests for cell in one.get("cells") or ()})
    if build is None and len(found) > 1:
        raise BadInputError(
            f"the runs have cells of {', '.join(found)}, and one engine is fitted",
            hint="Say which build.",
        )
    if build is not None and build not in found:
        raise BadInputError(
            f"no cell can be simulated: none is of build {build}{did_you_mean(build, found)}",
            hint=f"The runs have {', '.join(found) or 'no cells'}.",
        )


def limits_of(server: Mapping[str, Any]) -> tuple[Limits, list[str]]:
    """Read an engine's limits from what a manifest says of its server.

    Returns:
        The limits, unlimited where unknown, and a caveat if any is.
    """
    reported: Any = server.get("reported") or {}
    argv: Sequence[str] = server.get("argv") or ()
    usual = _VLLM_ON_CPU if (server.get("engine"), server.get("device")) == ("vllm", "cpu") else {}
    known = {
        name: _argument(argv, name) or reported.get(name) or usual.get(name)
        for name in ("max_num_seqs", "max_num_batched_tokens")
    }
    known["kv_tokens"] = _kv_tokens(server, reported)
    unknown = [name for name, value in known.items() if not value]
    caveats = []
    if unknown:
        caveats.append(
            f"The simulated engine has no limit of {', '.join(unknown)}: the run does not say it."
        )
    if window := server.get("kv_window_tokens"):
        caveats.append(
            f"Layers have a sliding window of {window:,} tokens; the simulated KV cache holds all "
            "of a request's context, so that it is full rather too early."
        )
    return Limits(**{name: int(value or UNLIMITED) for name, value in known.items()}), caveats


def _kv_tokens(server: Mapping[str, Any], reported: Mapping[str, Any]) -> float | None:
    """Return the tokens that the cache holds in all layers.

    Where only some layers have a sliding window, what an engine calls its tokens is of a group of
    layers: there it is the cache's bytes, where they are known for the whole replica.
    """
    tokens: float | None = reported.get("kv_cache_tokens")
    if not server.get("kv_bytes_beyond_window"):
        return tokens
    gib = server.get("kv_cache_gib") or reported.get("kv_cache_gib")
    if not gib or reported.get("tensor_parallel_size", 1) != 1:
        return None
    return float(gib) * GIB / float(server["kv_bytes_per_token"])


def _argument(argv: Sequence[str], name: str) -> int | None:
    """Return the value of `--max-num-seqs=8` or `--max-num-seqs 8`."""
    flag = f"--{name.replace('_', '-')}"
    found = re.search(rf"{flag}[= ](\d+)(?= |$)", " ".join(argv))
    return int(found[1]) if found else None
