"""The half of `harness capacity` that says how many servers a demand takes, and what they cost."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Group, Parameter

from harness.cli.flags import by_build
from harness.cli.tables import print_json, stdout
from harness.config import Config
from harness.errors import BadInputError, ExitCode
from harness.reports.sizing import markdown_of, print_sizing
from harness.rundir import RunFolder, write_atomically
from harness.sizing.asked import Asked
from harness.sizing.demand import read_demand
from harness.sizing.record import Sizing, Terms
from harness.sizing.runs import size_runs
from harness.sizing.settings import CapacitySettings

_GROUP = Group("Sizing", help="How many replicas a demand takes, and what they cost.")


def _flag(text: str, name: str | None = None) -> Parameter:
    return Parameter(name=name, help=text, group=_GROUP)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SizingFlags:
    """None: not said, and what `[capacity]` of harness.toml says counts."""

    demand: Annotated[
        str | None, _flag("Arrivals at the peak: 12, 12/s, 500/min; or a trace's file.")
    ] = None
    mean_demand: Annotated[
        str | None, _flag("Arrivals on average, beside a peak; what a request costs hangs on it.")
    ] = None
    peak_window: Annotated[
        float | None,
        _flag("A trace's peak is the most within any window of so many seconds; 60 unless said."),
    ] = None
    headroom: Annotated[
        float | None,
        _flag("Share of what each replica holds to be left free at the peak; 0.2 unless said."),
    ] = None
    spare: Annotated[int | None, _flag("So many replicas may fail at the peak; 1 unless said.")] = (
        None
    )
    growth_per_month: Annotated[
        float | None, _flag("0.1: the demand grows by 10 % a month, compound.")
    ] = None
    months: Annotated[int | None, _flag("Size for so many months ahead.")] = None
    price_per_gpu_hour: Annotated[
        str | None, _flag("USD: one number for all builds, or fp16=4,awq=2.5.")
    ] = None
    gpus_per_replica: Annotated[
        str | None, _flag("GPUs of a replica: one number for all builds, or fp16=2,awq=1.")
    ] = None
    output_price_ratio: Annotated[
        float | None,
        _flag("An output token is counted so many times as dear as a prompt's; 4 unless said."),
    ] = None
    gpu_memory_gib: Annotated[
        float | None,
        _flag("Memory of one card, to look whether a replica fits.", "--gpu-memory-gib"),
    ] = None
    context: Annotated[
        int | None, _flag("Longest prompt and answer, in tokens, that must fit.")
    ] = None

    @property
    def given(self) -> bool:
        """Whether any was."""
        return any(value is not None for value in vars(self).values())


def asked_of(flags: SizingFlags | None, config: Config) -> Asked | None:
    """Return the demand and the terms, the flags' before harness.toml's; None where neither says.

    Raises:
        BadInputError: with each flag that cannot be, and what to write instead.
    """
    flags = flags or SizingFlags()
    told = config.capacity
    if told is None and not flags.given:
        return None
    values: dict[str, Any] = dict(vars(flags))
    values["peak_window_s"] = values.pop("peak_window")
    values["context_tokens"] = values.pop("context")
    for name, what in (("price_per_gpu_hour", "price"), ("gpus_per_replica", "number")):
        flag = f"--{name.replace('_', '-')}"
        values[name] = by_build(flag, values[name], what) if values[name] else None
    settings = (told or CapacitySettings()).with_flags(values)
    if flags.demand is None:
        window_s, mean = settings.peak_window_s, settings.mean_demand
    else:  # the file's are of its own demand
        window_s, mean = flags.peak_window, flags.mean_demand
    base = None if flags.demand or config.path is None else config.path.parent
    if settings.demand is None:
        for name in ("mean_demand", "peak_window_s", "growth_per_month", "months"):
            if getattr(settings, name):
                flag = f"--{name.removesuffix('_s').replace('_', '-')}"
                raise BadInputError(f"{flag} goes with --demand", hint="Say what is to be served.")
        return Asked(demand=None, terms=settings.terms)
    demand = read_demand(settings.demand, base=base, window_s=window_s, mean=mean)
    return Asked(demand=demand, terms=settings.terms)


def size_runs_at(
    folders: Iterable[Path],
    slo: str | None,
    asked: Asked | None,
    *,
    besides: Collection[str] = (),
) -> Sizing:
    """Size by finished runs.

    Args:
        folders: theirs.
        slo: limits; None: those that the runs were held to.
        asked: the demand and the terms.
        besides: builds whose price is known although they may not be in the runs.

    Raises:
        BadInputError: a folder holds no run, or they cannot be put together.
    """
    runs = [RunFolder.open(folder) for folder in folders]
    asked = asked or Asked(demand=None, terms=Terms())
    return size_runs(runs, slo, asked.demand, asked.terms, besides=besides)


def show_sizing(
    sizing: Sizing, *, json: bool | None, markdown: Path | None, html: Path | None = None
) -> ExitCode:
    """Print a sizing; return 1 where no build holds the limits.

    Args:
        sizing: the answer.
        json: as JSON, or as tables for a person; None: not at all.
        markdown: file that gets it as Markdown, too.
        html: file that gets it as a page, too.
    """
    if json:
        print_json(msgspec.to_builtins(sizing))
    elif json is False:
        print_sizing(sizing, stdout())
    if markdown is not None:
        write_atomically(markdown, markdown_of(sizing).encode())
    if html is not None:
        from harness.reports.page.frame import render_sizing

        write_atomically(html, render_sizing(sizing).encode())
    held = any(one.supply.rate for one in sizing.builds)
    return ExitCode.OK if held else ExitCode.FAIL
