"""One cell: from what was asked of it to what lies in its folder before it is driven."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import BadInputError
from harness.evidence.weights import weights_of
from harness.load.target import is_here, pin_of, target_of
from harness.measuring.measure import CellFacts
from harness.measuring.remeasure import write_facts
from harness.measuring.server_stats import ServerUse
from harness.serving import names_in
from launchers.telemetry.records import GIB, TELEMETRY_FILE
from launchers.telemetry.sampler import Telemetry, sample_telemetry
from launchers.telemetry.scraping import page_source
from loadprofiles.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.load.matrix import Cell
    from harness.load.request import LoadRequest
    from launchers.server import Server
    from loadprofiles.records import DrivePlan

TOKENIZER_FILE = "tokenizer.json"


@dataclass(kw_only=True)
class UnderWay:
    """A cell that is being driven."""

    cell: Cell
    plan: DrivePlan
    server: Server
    telemetry: Telemetry = field(default_factory=Telemetry)
    decided: bool = False
    """It was ended early since it had shown what it was to show."""


def plan_cell(folder: Path, request: LoadRequest, cell: Cell, server: Server) -> UnderWay:
    """Write a cell's plan, bodies and facts into its folder.

    Raises:
        BadInputError: the folder cannot be written.
    """
    request = request.of(cell.build)
    try:
        plan = make_plan(
            folder,
            profile=request.profile,
            level=cell.level,
            repeat=cell.repeat,
            seed=request.seed,
            target=target_of(request, cell, server),
            dialect=request.spoken(cell.build),
            stream=request.stream,
            tokenizer=request.tokenizer or _tokenizer_of(server),
            cpus=server.client_cpus,
        )
    except OSError as error:
        raise BadInputError(
            f"cannot write the plan of {cell.id}: {error.strerror or error}",
            hint="Is the disk full? --out DIR names another one.",
        ) from error
    under_way = UnderWay(cell=cell, plan=plan, server=server)
    write_facts(folder, facts_of(request, under_way))
    return under_way


@contextmanager
def watched(folder: Path, request: LoadRequest, under_way: UnderWay) -> Iterator[None]:
    """Look at a cell's server while the context is open, into the cell's folder."""
    server, given = under_way.server, request.url(under_way.cell.build)
    request = request.of(under_way.cell.build)
    headers = dict(request.headers)
    if request.api_key_env and (key := os.environ.get(request.api_key_env)):
        headers["Authorization"] = f"Bearer {key}"
    page = page_source(server, headers, None if given is None else given.trust)
    hosts = [under_way.plan.host, *(one.host for one in under_way.plan.replicas)]
    here = server.pid is not None or any(map(is_here, hosts))
    gpus = here and server.provenance.get("device") != "cpu"
    with sample_telemetry(folder / TELEMETRY_FILE, server.pid, page, gpus=gpus) as seen:
        under_way.telemetry = seen
        yield


def facts_of(
    request: LoadRequest, under_way: UnderWay, *, ended_with_grading: bool = False
) -> CellFacts:
    """Return what is known of a cell beside its samples, by now.

    `ended_with_grading` says that it was to end when the grading beside it did.
    """
    cell, plan, server = under_way.cell, under_way.plan, under_way.server
    on_gpu = server.provenance.get("device") == "cuda"
    seen = under_way.telemetry
    peak = seen.vram_peak_bytes if on_gpu else seen.memory_peak_bytes
    others: list[str] = []
    if request.interleave:
        others = [name for name in names_in(request.servers) if name != cell.build]
    hosts = [plan.host, *(one.host for one in plan.replicas)]
    return CellFacts(
        id=cell.id,
        build=cell.build,
        engine=server.engine,
        engine_version=server.engine_version,
        weights=weights_of(server.provenance),
        model=server.model,
        profile=cell.profile,
        repeat=cell.repeat,
        level=cell.level_value,
        max_fail_ratio=request.max_fail_ratio,
        shared_machine=server.pid is not None or any(map(is_here, hosts)),
        prompt_length_estimated=not plan.prompts_exact,
        output_pinned=bool(pin_of(request, cell, server)),
        lengths=cell.lengths,
        ended_with_grading=ended_with_grading,
        ended_when_decided=under_way.decided,
        interleaved_with=others,
        prompts_unique=request.profile.prompts_unique,
        server=ServerUse(
            memory_peak_gib=None if peak is None else peak / GIB,
            memory_kind=None if peak is None else "vram" if on_gpu else "rss",
            kv_cache_tokens=server.kv_cache_tokens,
        ),
    )


def _tokenizer_of(server: Server) -> Path | None:
    folder = server.tokenizer
    return folder if folder is not None and (folder / TOKENIZER_FILE).is_file() else None
