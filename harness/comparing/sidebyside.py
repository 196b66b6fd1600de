"""The builds of one load run against the first of them: a pure function of its folder.

The statistics are those of a comparison. Builds may differ in anything, their engine first of all;
in what is said, and nothing is refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.comparing.alike import of_evidence, unlike
from harness.comparing.crossover import METRICS_CROSSED
from harness.comparing.pairs import one_start, pair_rows
from harness.comparing.rows import Note, SideBySide, WorkRow
from harness.comparing.servers import server_figures
from harness.comparing.telling import chunk_notes, sentences, unlike_note, work_notes
from harness.comparing.values import Cells, Grid, grids, rows
from harness.comparing.weighed import weigh_load
from harness.evidence.evidence import Evidence, LoadRun
from harness.reports.figures import itl_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.comparing.rows import LevelRow
    from harness.measuring.measurement import CellMeasurement, Measurements
    from harness.rundir import RunFolder

KEY: Final = "side_by_side"
"""What a manifest has where builds are held against one another: {"baseline": the first}."""
CROSSED: Final = ("itl_p50_ms", *METRICS_CROSSED)
_TTFT: Final = "ttft_p50_ms"


def side_by_side(run: RunFolder, numbers: Measurements) -> SideBySide | None:
    """Hold the builds of a load run against the first; None unless it was to, or of one build.

    Args:
        run: its folder; samples are read where builds were interleaved.
        numbers: its cells'.

    Raises:
        BadInputError: its manifest is missing or broken.
    """
    manifest: dict[str, Any] = run.read_manifest()
    asked = manifest.get(KEY)
    if not isinstance(asked, dict) or not numbers.cells:
        return None
    baseline, lengths = str(asked.get("baseline")), numbers.cells[0].lengths
    cells = [cell for cell in numbers.cells if cell.lengths == lengths]
    builds = list(dict.fromkeys(cell.build for cell in cells))
    if len(builds) < 2 or baseline not in builds:  # noqa: PLR2004
        return None
    builds = [baseline, *(build for build in builds if build != baseline)]
    numbers = msgspec.structs.replace(numbers, cells=cells)
    evidence = Evidence(
        load=[LoadRun(folder=run, manifest=manifest, measurements=numbers)], quality=[]
    )
    facts = of_evidence(evidence, builds)
    sorted_cells = grids(evidence, builds)
    weighed = weigh_load(sorted_cells, baseline, crossed=CROSSED)
    work = [_work(build, cells) for build in builds[1:]]
    chunked = _chunked(cells)
    found = SideBySide(
        baseline=baseline,
        builds=builds,
        sentences=[],
        load=weighed.rows,
        prefill=_prefill(cells, builds, baseline),
        servers=server_figures(evidence, builds, sorted_cells, facts),
        work=work,
        pairs=pair_rows(evidence, baseline),
        crossovers=weighed.crossovers,
        notes=[
            *unlike_note(unlike(facts, baseline)),
            *work_notes(work, baseline),
            *chunk_notes(chunked, [b for b in builds if _uncounted(cells, b)]),
            *(Note(one.code, one.text) for one in (*weighed.caveats, *one_start(evidence))),
        ],
    )
    return msgspec.structs.replace(found, sentences=list(sentences(found, manifest, chunked)))


def _prefill(
    cells: Sequence[CellMeasurement], builds: Sequence[str], baseline: str
) -> list[LevelRow]:
    """TTFT of each length of prompt, the steps in the place of levels."""
    by_step: dict[tuple[str, tuple[str, float]], Cells] = defaultdict(Cells)
    for cell in cells:
        for step in cell.prefill.steps if cell.prefill else ():
            at = by_step[cell.build, ("prompt_tokens", (step.low + step.high) / 2)]
            key = (0, cell.repeat)
            at.counts[key], at.valid[key], at.stable[key] = (0, step.n), cell.client.valid, True
            if step.ttft_p50_ms is not None:
                at.read(key, _TTFT, step.ttft_p50_ms, step.ttft_p50_ci95)
    if not by_step:
        return []
    grid = Grid(
        profile=cells[0].profile,
        builds=[build for build in builds if any(build == one for one, _ in by_step)],
        levels=sorted({level for _, level in by_step}),
        cells=dict(by_step),
    )
    return rows(grid, baseline, (_TTFT,))[0]


def _work(build: str, cells: Sequence[CellMeasurement]) -> WorkRow:
    """Add up what the cells of a build say of the requests that the baseline has answered, too."""
    compared = [
        cell.outputs.compared
        for cell in cells
        if cell.build == build and cell.outputs is not None and cell.outputs.compared is not None
    ]
    prompts = {one.prompts for one in compared}
    pairs = sum(one.pairs for one in compared)
    tokens = [(one.length_ratio, one.pairs) for one in compared if one.length_ratio is not None]
    weight = sum(n for _, n in tokens)
    return WorkRow(
        build=build,
        pairs=pairs,
        prompts="others" if "others" in prompts else "same" if prompts == {"same"} else None,
        prompt_tokens=_added([one.prompt_tokens for one in compared]),
        shorter=sum(one.shorter for one in compared),
        longer=sum(one.longer for one in compared),
        length_ratio=sum(ratio * n for ratio, n in tokens) / weight if weight else None,
        finish_reasons=_added([one.finish_reasons for one in compared]),
        compared_texts=sum(one.compared_texts for one in compared),
        identical=sum(one.identical for one in compared),
    )


def _chunked(cells: Sequence[CellMeasurement]) -> dict[str, float]:
    """Return tokens per chunk of the builds that do not send one token a chunk."""
    found: dict[str, float] = {}
    for cell in cells:
        if itl_name([cell]) != "ITL" and cell.tokens_per_chunk is not None:
            found.setdefault(cell.build, cell.tokens_per_chunk)
    return found


def _uncounted(cells: Sequence[CellMeasurement], build: str) -> bool:
    """Whether a build's tokens are not the server's own count."""
    return any(
        cell.build == build and cell.token_source in {"chunks", "tokenizer"} for cell in cells
    )


def _added(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))
