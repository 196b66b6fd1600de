"""`harness compare`."""

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter
from rich.console import Console

from harness.cli.eval import request_of as eval_request_of
from harness.cli.flags import at_least, by_build, naming_flags, share
from harness.cli.load import levels_of
from harness.cli.pairs import pairs_of
from harness.cli.tables import json_shown, print_json
from harness.comparing.checks import check
from harness.comparing.manifest import read_compare_manifest
from harness.comparing.plan import default_repeats, plan_comparison, words
from harness.comparing.request import CompareRequest, Weighing
from harness.comparing.run import compare_runs, run_compare
from harness.config import Config, find_profile, load_config
from harness.errors import BadInputError, ExitCode
from harness.evidence.folders import COMPARISON_FILE, LOAD
from harness.evidence.limits import parse_limits
from harness.live import Live
from harness.load.request import LoadRequest
from harness.measuring.slo import Limit, Slo, parse_slo
from harness.named import find_server
from harness.reports.comparison import load_report
from harness.reports.comparison.terminal import print_comparison
from harness.rundir import MANIFEST_FILE, RunFolder
from harness.serving import names_in
from harness.sizing.settings import CapacitySettings
from launchers.redact import redact_argv, redact_json
from loadprofiles.profile import Overrides, Profile

PROFILE: Final = "closed"
SUITES: Final = "domain,perplexity"
WINDOW_S: Final = 10.0
"""A closed-loop cell's, where nothing is said."""
_KEPT: Final = frozenset(
    {
        *("names", "baseline", "profile", "level", "rate", "duration", "requests", "warmup"),
        *("repeats", "prompt_tokens", "output_tokens", "suite", "limit", "slo", "price_per_hour"),
        *("allow_different", "interleave", "tokenizer", "max_fail_ratio", "seed", "metadata"),
        "config",
    }
)
"""What a run keeps of its command line, so that --resume takes it from there."""
_DEFAULTS: Final[dict[str, object]] = {
    "names": (), "profile": PROFILE, "suite": SUITES,
    "allow_different": False, "interleave": False, "max_fail_ratio": 0.05, "seed": 0,
    "metadata": (),
}  # fmt: skip


def compare(  # noqa: PLR0913 - one parameter for each flag
    *names: str,
    baseline: str | None = None,
    profile: str = PROFILE,
    level: Annotated[
        str | None, Parameter(name=["--level", "--concurrency", "--max-concurrency"])
    ] = None,
    rate: Annotated[str | None, Parameter(name=["--rate", "--request-rate"])] = None,
    duration: float | None = None,
    requests: Annotated[
        int | None, Parameter(name=["--requests", "--num-requests", "--num-prompts"])
    ] = None,
    warmup: int | None = None,
    repeats: int | None = None,
    prompt_tokens: Annotated[int | None, Parameter(name=["--prompt-tokens", "--isl"])] = None,
    output_tokens: Annotated[int | None, Parameter(name=["--output-tokens", "--osl"])] = None,
    suite: str = SUITES,
    limit: int | None = None,
    slo: str | None = None,
    price_per_hour: str | None = None,
    allow_different: Annotated[bool, Parameter(negative="")] = False,
    interleave: Annotated[bool, Parameter(negative="")] = False,
    tokenizer: Path | None = None,
    max_fail_ratio: float = 0.05,
    seed: int = 0,
    metadata: tuple[str, ...] = (),
    resume: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    out: Path = Path("runs"),
    config: Path | None = None,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Measure builds side by side, quality and load, and say which one to ship.

    Each is brought up once a repeat, in the order A B C D, D C B A, A B C D, …: a machine that
    drifts costs all the same. Or compare what finished runs hold: harness compare RUN RUN…

    Args:
        names: Builds, or servers of harness.toml that run already, the baseline first; or folders
            of finished runs of any kind.
        baseline: The one that the others are held against, where it is not the first.
        profile: Shape of the traffic: a name of `harness list profiles`, or a TOML file.
        level: Streams held open, by comma (closed-loop profiles).
        rate: Mean requests per second, by comma (open-loop profiles).
        duration: Length of each measured window in seconds; 10 for closed-loop profiles.
        requests: Measured requests per cell.
        warmup: Requests sent and discarded first.
        repeats: Bring each build up and measure it so often; below 2 there are no intervals.
            Unless said: 6 times for two builds, 4 for three, 2 for more.
        prompt_tokens: Length of every prompt, instead of the profile's distribution.
        output_tokens: Length of every answer, instead of the profile's distribution.
        suite: Suites of `harness list suites`, or TOML files, by comma.
        limit: Items of each suite: a random subset that --seed decides, spread over categories.
        slo: Your limits, e.g. "ttft_p95_ms@c8<=500,retained(domain)>=95%,memory_peak_gib<=20".
            With them the exit code tells the verdict: 0 PASS, 1 FAIL, 5 INCONCLUSIVE.
        price_per_hour: USD of what the builds run on: one number for all, or fp16=4,awq=2.5
        allow_different: Compare builds that differ in more than their weights; a caveat says so.
        interleave: Have all builds up at once and ask them by turns, request by request: one
            stream, closed loop. Each is started but once.
        tokenizer: Folder with the model's tokenizer.json, where the builds have none.
        max_fail_ratio: Share of failed requests above which a cell, or a suite, is invalid.
        seed: Decides prompts, lengths, arrivals, items and the order of levels.
        metadata: K=V, kept in the manifest.
        resume: Go on with the comparison in this folder; all else is taken from there.
        dry_run: Check everything, print what would be done and how long it takes, and stop.
        out: Folder that gets the run's folder.
        config: The harness.toml to read; otherwise the first one from here upwards.
        quiet: Nothing on stderr while it runs.
        json: Print comparison.json on stdout, and nothing else there.
    """
    given = {name: value for name, value in locals().items() if name in _KEPT}
    command = redact_argv(["harness", *sys.argv[1:]])
    if any(map(_is_run, names)):
        if resume is not None or dry_run:
            raise BadInputError("finished runs start nothing: leave --resume and --dry-run out")
        weighing = _of_runs(given)
        runs = [RunFolder.open(Path(name)) for name in names]
        with Live(quiet=quiet) as live:
            folder, code = compare_runs(runs, weighing, out, live, command=command)
        return _show(folder, code, json=json)
    run = None
    if resume is not None:
        run = RunFolder.open(resume)
        given = _resumed(run, given)
    request = request_of(given, command, run)
    if dry_run:
        return _plan(request, out, json=json)
    with Live(quiet=quiet) as live, naming_flags(given):
        folder, code = run_compare(request, out, live)
    return _show(folder, code, json=json)


def request_of(
    given: dict[str, Any], command: list[str], run: RunFolder | None = None
) -> CompareRequest:
    """Make a request of the flags' values.

    Raises:
        BadInputError: with the flag and the fix.
    """
    found = load_config(None if given["config"] is None else Path(given["config"]))
    builds = [find_server(name, found) for name in _names(given)]
    called = names_in(builds)
    if given["repeats"] is None:
        given = {**given, "repeats": default_repeats(len(builds))}
    weighing = replace(_weighing(given), baseline=called[0])
    if not weighing.prices:
        weighing = replace(weighing, prices=prices_of(found, called))
    with naming_flags(given):
        shape = _profile(find_profile(given["profile"], found), given)
        alone = "1" if given["interleave"] and shape.is_closed else None
        levels = levels_of(shape, given["level"] or alone, given["rate"], as_recorded=False)
    if run is not None and (run.path / LOAD / MANIFEST_FILE).is_file():
        shape = Profile.model_validate(RunFolder(run.path / LOAD).read_manifest()["profile"])
    interleave = bool(given["interleave"])
    asked = {**given, **redacted(given), "config": found.path}
    limits = _slo(weighing)
    load = LoadRequest(
        servers=builds,
        profile=shape,
        levels=levels,
        repeats=at_least("repeats", given["repeats"], 1),
        order="each" if interleave else "mirrored",
        interleave=interleave,
        again=True,
        seed=at_least("seed", given["seed"], 0),
        slo=limits,
        tokenizer=None if given["tokenizer"] is None else Path(given["tokenizer"]),
        max_fail_ratio=share("max-fail-ratio", given["max_fail_ratio"]),
        asked=asked
        | {"levels": levels, "order": "interleaved" if interleave else "mirrored"}
        | {"slo": limits and str(limits)},
        command=command,
    )
    quality = eval_request_of(
        {
            "server": ",".join(_names(given)),
            **{name: given[name] for name in ("suite", "limit", "seed", "config", "tokenizer")},
            "max_fail_ratio": given["max_fail_ratio"],
        },
        {},
        command,
        None,
    )
    return CompareRequest(
        builds=builds,
        load=load,
        quality=replace(quality, baseline=builds[0]),
        weighing=weighing,
        resume=run,
        asked=asked,
        command=command,
    )


def prices_of(config: Config, builds: Iterable[str]) -> dict[str, float]:
    """USD per hour of builds, by a harness.toml's [capacity]; empty unless it prices them all.

    A GPU's price × a replica's GPUs, which are 1 unless said.
    """
    told = config.capacity or CapacitySettings()
    found = {}
    for name in builds:
        price = told.price_per_gpu_hour.get(name, told.price_per_gpu_hour.get(""))
        if price is None:
            return {}
        gpus = told.gpus_per_replica.get(name, told.gpus_per_replica.get("", 1))
        found[name] = price * gpus
    return found


def redacted(given: dict[str, Any]) -> dict[str, object]:
    """What of the flags may hold secrets, masked, and paths as they are found from any folder."""
    found: dict[str, object] = {"metadata": redact_json(pairs_of("metadata", given["metadata"]))}
    if given["tokenizer"] is not None:
        found["tokenizer"] = str(Path(given["tokenizer"]).absolute())
    for name in ("profile", "suite", "baseline"):
        if given[name] is not None:
            found[name] = ",".join(map(_absolute, str(given[name]).split(",")))
    found["names"] = [_absolute(name) for name in given["names"]]
    return found


def _absolute(name: str) -> str:
    looks_so = name.endswith(".toml") or "/" in name
    return str(Path(name.strip()).absolute()) if looks_so else name.strip()


def _is_run(name: str) -> bool:
    return (Path(name) / MANIFEST_FILE).is_file()


def _names(given: dict[str, Any]) -> list[str]:
    """The builds, the baseline first."""
    names = [str(name) for name in given["names"]]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f'"{name}" is there twice; --repeats measures it again')
    baseline = given["baseline"]
    if baseline is not None:
        names = [baseline, *(name for name in names if name != baseline)]
    if len(names) < 2:  # noqa: PLR2004 - one is no comparison
        raise BadInputError(
            "one build is no comparison",
            hint="Name two or more, the baseline first: harness compare fp16 awq",
        )
    return names


def _profile(shape: Profile, given: dict[str, Any]) -> Profile:
    names = ("requests", "warmup", "prompt_tokens", "output_tokens")
    duration = given["duration"]
    if duration is None and given["requests"] is None and shape.is_closed:
        duration = WINDOW_S
    return shape.with_overrides(
        Overrides(duration_s=duration, **{name: given[name] for name in names})
    )


def _weighing(given: dict[str, Any]) -> Weighing:
    if given["slo"] is not None:
        parse_limits(given["slo"])
    return Weighing(
        baseline=given["baseline"],
        limits=given["slo"],
        prices=by_build("--price-per-hour", given["price_per_hour"] or ""),
        allow_different=given["allow_different"],
    )


def _slo(weighing: Weighing) -> Slo | None:
    """The limits that a single cell can be held to, for its goodput."""
    if weighing.limits is None:
        return None
    own = [
        one.text
        for one in parse_limits(weighing.limits)
        if one.kind == "load" and one.level is None and not one.ratio
    ]
    found: list[Limit] = []
    for text in own:
        try:
            found += parse_slo(text).limits
        except BadInputError:  # of a metric that no SLO knows
            continue
    return Slo(tuple(found)) if found else None


def _of_runs(given: dict[str, Any]) -> Weighing:
    """How finished runs are to be weighed.

    Raises:
        BadInputError: what is no run, or a flag that says how to measure.
    """
    for name in given["names"]:
        if not _is_run(name):
            raise BadInputError(
                f"{name} is no run folder, as others are",
                hint="Give builds to be measured, or folders of finished runs.",
            )
    for name in sorted(_KEPT - {"names", "baseline", "slo", "price_per_hour", "allow_different"}):
        if given[name] != _DEFAULTS.get(name):
            raise BadInputError(
                f"--{name.replace('_', '-')} says how to measure, and finished runs are not "
                "measured again; leave it out"
            )
    return _weighing(given)


def _resumed(run: RunFolder, given: dict[str, Any]) -> dict[str, Any]:
    """Return what a run was asked."""
    for name in sorted(given):
        if given[name] != _DEFAULTS.get(name):
            flag = "builds" if name == "names" else f"--{name.replace('_', '-')}"
            raise BadInputError(
                f"{flag} and --resume do not go together: a run goes on as it began"
            )
    kept = read_compare_manifest(run)
    if not kept.builds:
        raise BadInputError(f"{run.path} compares finished runs, so there is nothing to go on with")
    pairs = kept.request.get("metadata") or {}
    return {**given, **kept.request, "metadata": tuple(f"{k}={v}" for k, v in pairs.items())}


def _plan(request: CompareRequest, out: Path, *, json: bool) -> ExitCode:
    """Print what would be done."""
    _, sizes = check(request, out)
    plan = plan_comparison(request, sizes)
    if json:
        print_json(msgspec.to_builtins(plan))
    else:
        for line in words(plan):
            print(line)
    return ExitCode.OK


def _show(folder: RunFolder, code: ExitCode, *, json: bool) -> ExitCode:
    """Print the comparison: as JSON, or as tables for a person."""
    if not (folder.path / COMPARISON_FILE).is_file():
        print(f"No build has numbers; what there is lies in {folder.path}", file=sys.stderr)
    elif json:
        sys.stdout.write(json_shown(load_report("json").render(folder)))
    else:
        print_comparison(folder, Console(highlight=False, markup=False))
    return code
