"""`harness capacity`: the highest rate at which the SLOs hold."""

import inspect
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from harness.capacity.attainment import check_limits
from harness.capacity.request import SearchRequest
from harness.capacity.result import CAPACITY_FILE
from harness.capacity.run import run_search
from harness.capacity.search import PRECISION, PROBES
from harness.capacity.weigh import read_capacity
from harness.cli.flags import at_least, naming_flags, servers_named, urls_of
from harness.cli.pairs import headers_of, pairs_of
from harness.cli.sizing import SizingFlags, asked_of, show_sizing, size_runs_at
from harness.cli.tables import json_shown, stdout
from harness.cli.workers import announcements, fleet_of
from harness.config import Config, find_profile, is_build, load_config
from harness.errors import BadInputError, ExitCode
from harness.live import Live
from harness.load.request import USUAL, LoadRequest
from harness.measuring.slo import parse_slo
from harness.reports.capacity.terminal import print_capacity
from harness.rundir import RunFolder
from harness.serving import names_in
from harness.sizing.sizing import check_builds, check_unit
from launchers.redact import redact_argv, redact_json, redact_text
from loadprofiles.dialects import load_dialect
from loadprofiles.profile import Overrides

LEAST_PROBES: Final = 4
_OF_RUNS: Final = frozenset(
    ("runs", "slo", "config", "quiet", "json", "markdown", "html", "sizing")
)
"""What can be said where nothing is measured."""
PRECISIONS: Final = (0.005, 0.5)


def capacity(  # noqa: PLR0913 - one parameter for each flag
    *runs: Path,
    server: str | None = None,
    url: Annotated[tuple[str, ...], Parameter(name=["--url", "--base-url", "--target"])] = (),
    model: str | None = None,
    ca_file: Path | None = None,
    insecure: Annotated[bool, Parameter(negative="")] = False,
    slo: str | None = None,
    profile: str = "steady",
    duration: float | None = None,
    probes: int = PROBES,
    precision: float = PRECISION,
    prompt_tokens: Annotated[int | None, Parameter(name=["--prompt-tokens", "--isl"])] = None,
    output_tokens: Annotated[int | None, Parameter(name=["--output-tokens", "--osl"])] = None,
    burstiness: float | None = None,
    dataset: Path | None = None,
    dialect: str | None = None,
    tokenizer: Path | None = None,
    header: tuple[str, ...] = (),
    api_key_env: str | None = None,
    ignore_eos: bool = False,
    timeout: float | None = None,
    workers: int | None = None,
    seed: int = 0,
    metadata: tuple[str, ...] = (),
    out: Path = Path("runs"),
    resume: Path | None = None,
    config: Path | None = None,
    quiet: bool = False,
    json: bool = False,
    markdown: Path | None = None,
    html: Path | None = None,
    sizing: SizingFlags | None = None,
) -> int:
    """Find the highest rate of requests at which all limits hold, and what a demand then takes.

    Answers 0 with a rate, 1 if the limits are not met at any load, 5 if this client was too slow
    to reach them. With --demand it says how many replicas, and with a price what they cost; of
    folders of finished runs, too: harness capacity RUN… --demand 50.

    Args:
        runs: Size by what these finished runs hold; nothing is started.
        server: Builds to bring up and search one after the other, by comma; servers of
            harness.toml that run already are searched as they are.
        url: API base of a server that is up, instead of --server; of the replicas of one
            deployment all, by comma.
        model: The model to ask the --url for, where it serves several.
        ca_file: PEM file of the authority that signed the certificate of an https --url.
        insecure: Take any certificate of an https --url.
        slo: Limits, e.g. "ttft_due_p95_ms<=500,itl_p95_ms<=50,error_rate<=0.1%".
        profile: Shape of the traffic: one that sends at a rate.
        duration: Seconds that each probe in the open loop lasts, if it is not decided before.
        probes: The most probes, the two first ones in a closed loop included.
        precision: End when half the interval is no more than this share of the rate.
        prompt_tokens: Length of every prompt, instead of the profile's distribution.
        output_tokens: Length of every answer, instead of the profile's distribution.
        burstiness: Turns Poisson arrivals into gamma ones: 1 is Poisson, below 1 in clumps.
        dataset: JSON or JSONL of conversations, in place of made-up prompts.
        dialect: openai-completions, openai-chat, tgi or llamacpp; each server's own unless said:
            tgi for a TGI that is brought up, openai-completions for others and for URLs.
        tokenizer: Folder with the model's tokenizer.json, for exact prompt lengths.
        header: K=V, sent with each request; of a secret K=env:NAME, its variable.
        api_key_env: Environment variable whose value is sent as a bearer token.
        ignore_eos: Ask an unknown --url, too, for answers of exactly the planned length.
        timeout: A request without its end after so many seconds has failed.
        workers: Drive with so many processes of this machine, each on a core of its own.
        seed: Decides prompts, lengths and arrivals.
        metadata: K=V, kept in the manifest.
        out: Folder that gets the run's folder.
        resume: Go on in this run's folder; say all else as the first time.
        config: The harness.toml to read; otherwise the first one from here upwards.
        quiet: Nothing on stderr while it runs.
        json: Print capacity.json on stdout, and nothing else there.
        markdown: Write the sizing to this file as Markdown, too.
        html: Of finished runs: write the sizing to this file as a page, too.
        sizing: What is to be served and at what price.
    """
    given = dict(locals())
    found = load_config(config)
    sized_for = asked_of(sizing, found)
    if runs:
        _check_of_runs(given, found)
        sized = size_runs_at(runs, slo, sized_for, besides=found.priced)
        return show_sizing(sized, json=json, markdown=markdown, html=html)
    if html is not None:
        raise BadInputError(
            "--html goes with finished runs; a search writes report.html into its folder itself"
        )
    if slo is None:
        raise BadInputError(
            "--slo is missing: the limits that are to hold",
            hint='E.g. --slo "ttft_due_p95_ms<=500,itl_p95_ms<=50,error_rate<=0.1%".',
        )
    if markdown is not None and sized_for is None:
        raise BadInputError("--markdown goes with --demand, or with a price")
    if dialect is not None:
        load_dialect(dialect)
    limits = parse_slo(slo)
    check_limits(limits)
    if not PRECISIONS[0] <= precision <= PRECISIONS[1]:
        raise BadInputError(
            f"--precision: {precision:g} must lie between {PRECISIONS[0]:g} and {PRECISIONS[1]:g}",
            hint="0.03 is 3 % of the rate to either side.",
        )
    if duration is not None and not duration > 0:
        raise BadInputError(f"--duration: {duration:g} must be above 0")
    with naming_flags(given):
        shape = find_profile(profile, found).with_overrides(
            Overrides(
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                burstiness=burstiness,
                dataset=None if dataset is None else str(dataset.absolute()),
                timeout_s=timeout,
            )
        )
    headers = headers_of(header)
    fleet = fleet_of(workers, 0, None, 60, None, web=False, elsewhere=server is None)
    names = (
        "server", "model", "ca_file", "insecure", "profile", "duration", "prompt_tokens",
        "output_tokens", "burstiness", "dataset", "tokenizer", "api_key_env",
        "ignore_eos", "timeout", "workers", "seed", "config",
    )  # fmt: skip
    asked: dict[str, Any] = {name: given[name] for name in names} | {
        "slo": str(limits),
        "dialect": dialect or USUAL,
        "url": redact_text(",".join(url)) if url else None,
        "headers": sorted(headers),
        "search": {"probes": at_least("probes", probes, LEAST_PROBES), "precision": precision},
        "metadata": redact_json(pairs_of("metadata", metadata)),
    }
    folder = None if resume is None else _opened(resume, asked)
    at = urls_of(url, model, ca_file, verify=not insecure)
    servers = servers_named(server, at, found, "once is enough")
    if sized_for is not None:
        builds = names_in(servers)
        check_builds(builds, sized_for.terms, besides=found.priced)
        unit = "requests/s" if shape.session is None else "sessions/s"
        check_unit(builds[0], unit, sized_for.demand)
    request = SearchRequest(
        load=LoadRequest(
            servers=servers,
            profile=shape,
            levels=[shape.levels[0]],
            seed=at_least("seed", seed, 0),
            slo=limits,
            dialect=dialect,
            tokenizer=tokenizer,
            headers=headers,
            api_key_env=api_key_env,
            force_ignore_eos=ignore_eos,
            fleet=fleet,
            asked=asked,
            command=redact_argv(["harness", *sys.argv[1:]]),
        ),
        slo=limits,
        duration_s=duration,
        probes=probes,
        precision=precision,
        sizing=sized_for,
    )
    with Live(quiet=quiet) as live, naming_flags(given):
        for line in announcements(fleet):
            live.note(line)
        run, code = run_search(request, out, live, folder)
    return _show(run, code, json=json, markdown=markdown)


def _show(run: RunFolder, code: ExitCode, *, json: bool, markdown: Path | None) -> ExitCode:
    """Print what was found: as JSON, or as a table for a person."""
    found = read_capacity(run)
    if json:
        sys.stdout.write(json_shown((run.path / CAPACITY_FILE).read_text(encoding="utf-8")))
    else:
        print_capacity(found, stdout())
    if found.sizing is not None:
        show_sizing(found.sizing, json=None, markdown=markdown)
    if not json:
        print(f"All of it lies in {run.path}")
    return code


def _check_of_runs(given: dict[str, Any], config: Config) -> None:
    """Look that runs are given, and that nothing is said of how to measure.

    Raises:
        BadInputError: a build in a run's place, or the flag that says how.
    """
    for path in given["runs"]:
        if not path.exists() and is_build(str(path), config):
            raise BadInputError(
                f"{path} is a build, and no folder of a finished run",
                hint=f"To measure it: harness capacity --server {path} --slo …",
            )
    for name, parameter in inspect.signature(capacity).parameters.items():
        if name not in _OF_RUNS and given[name] != parameter.default:
            raise BadInputError(
                f"--{name.replace('_', '-')} says how to measure, and finished runs are not "
                "measured again; leave it out"
            )


def _opened(path: Path, asked: dict[str, Any]) -> RunFolder:
    """Open the folder of a search that is to go on.

    Raises:
        BadInputError: it is none, or it was asked something else.
    """
    run = RunFolder.open(path)
    manifest: Any = run.read_manifest()
    kept = manifest.get("request") or {}
    if "search" not in kept:
        raise BadInputError(f"--resume: {path} is no run of harness capacity")
    now = msgspec.to_builtins(asked, enc_hook=str)
    for name, value in now.items():
        if kept.get(name) != value:
            raise BadInputError(
                f"--resume: that search was asked another --{name.replace('_', '-')}: "
                f"{kept.get(name)!r}, not {value!r}",
                hint="Say all as the first time, or begin a new search.",
            )
    return run
