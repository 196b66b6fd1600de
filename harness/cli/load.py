"""`harness load`."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Final, Literal

from cyclopts import Parameter
from rich.console import Console

from harness.cli.flags import at_least, naming_flags, servers_named, share, urls_of
from harness.cli.pairs import headers_of, pairs_of
from harness.cli.sweeping import check_same, check_sweep, plan_of, resumed
from harness.cli.tables import json_shown
from harness.cli.turns import turns_of
from harness.cli.workers import announcements, fleet_of
from harness.config import find_profile, load_config
from harness.errors import BadInputError, ExitCode
from harness.live import Live
from harness.load.matrix import Lengths
from harness.load.order import Order
from harness.load.request import USUAL, LoadRequest
from harness.load.run import run_load
from harness.measuring.slo import STREAMED, Slo, parse_goodput, parse_slo
from harness.reports import load_report
from harness.reports.terminal import print_run
from harness.rundir import RunFolder
from launchers.redact import redact_argv, redact_json, redact_text
from loadprofiles.dialects import load_dialect
from loadprofiles.profile import Overrides, Profile

_LENGTHS: Final[dict[str | None, tuple[Lengths, ...]]] = {
    None: ("forced",),
    "forced": ("forced",),
    "natural": ("natural",),
    "both": ("forced", "natural"),
}


def load(  # noqa: PLR0913 - one parameter for each flag
    *,
    server: str | None = None,
    url: Annotated[tuple[str, ...], Parameter(name=["--url", "--base-url", "--target"])] = (),
    model: str | None = None,
    ca_file: Path | None = None,
    insecure: Annotated[bool, Parameter(negative="")] = False,
    profile: str | None = None,
    level: Annotated[
        str | None, Parameter(name=["--level", "--concurrency", "--max-concurrency"])
    ] = None,
    rate: Annotated[str | None, Parameter(name=["--rate", "--request-rate"])] = None,
    sweep: Annotated[bool, Parameter(negative="")] = False,
    max_levels: int | None = None,
    max_minutes: float | None = None,
    resume: Path | None = None,
    duration: float | None = None,
    requests: Annotated[
        int | None, Parameter(name=["--requests", "--num-requests", "--num-prompts"])
    ] = None,
    warmup: int | None = None,
    repeats: int | None = None,
    order: Order | None = None,
    interleave: Annotated[bool, Parameter(negative="")] = False,
    prompt_tokens: Annotated[int | None, Parameter(name=["--prompt-tokens", "--isl"])] = None,
    output_tokens: Annotated[int | None, Parameter(name=["--output-tokens", "--osl"])] = None,
    slo: str | None = None,
    goodput: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    dialect: str | None = None,
    no_stream: bool = False,
    tokenizer: Path | None = None,
    header: tuple[str, ...] = (),
    api_key_env: str | None = None,
    ignore_eos: bool = False,
    lengths: Literal["forced", "natural", "both"] | None = None,
    timeout: float | None = None,
    think: float | None = None,
    burstiness: float | None = None,
    dataset: Path | None = None,
    skip_longer: bool = False,
    trace: Path | None = None,
    time_scale: float | None = None,
    clip_to: int | None = None,
    skip_above: int | None = None,
    max_fail_ratio: float = 0.05,
    workers: int | None = None,
    expect_workers: int = 0,
    bind: str | None = None,
    join_timeout: float = 60,
    web: bool = False,
    web_port: int | None = None,
    seed: int = 0,
    metadata: tuple[str, ...] = (),
    out: Path = Path("runs"),
    config: Path | None = None,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Drive traffic at servers and measure what they do.

    Args:
        server: Builds to bring up and measure one after the other, by comma; servers of
            harness.toml that run already are measured as they are.
        url: API base of a server that is up, e.g. http://127.0.0.1:8000/v1, instead of --server;
            of the replicas of one deployment all, by comma: requests go round robin over them.
        model: The model to ask the --url for, where it serves several.
        ca_file: PEM file of the authority that signed the certificate of an https --url; workers
            on other machines look for it under the same path.
        insecure: Take any certificate of an https --url.
        profile: Shape of the traffic: a name of `harness list profiles`, or a TOML file.
        level: Streams held open, by comma (closed-loop profiles).
        rate: Mean requests per second, by comma (open-loop profiles).
        sweep: Find the levels: up from one stream, or a light rate, until the server saturates,
            then around the knee. --level or --rate LOW[,HIGH] say where to begin and where to end.
        max_levels: Levels that a sweep measures at most, 16 unless said.
        max_minutes: Minutes that it takes for a build at most, 30 unless said.
        resume: Go on with the run in this folder; all else is taken from there.
        duration: Length of the measured window in seconds.
        requests: Measured requests per cell.
        warmup: Requests sent and discarded first.
        repeats: Measure each cell so often, each time with other prompts and arrivals. Unless
            said: once; several servers at one stream 6 times if two, 4 if three, 2 if more.
        order: each: one server after the other, each up once; mirrored: each up once a repeat, in
            the order A B, B A, A B, …, so that a drift of the machine costs all the same. Unless
            said: mirrored for several servers at one stream.
        interleave: Have all servers up at once and ask them by turns, request by request: one
            stream, closed loop. Each is started but once.
        prompt_tokens: Length of every prompt, instead of the profile's distribution.
        output_tokens: Length of every answer, instead of the profile's distribution.
        slo: Limits for goodput, e.g. "ttft_p95_ms<=500,itl_p95_ms<=50".
        goodput: The same as vLLM spells it: ttft:500 tpot:50 e2el:5000 (ms).
        dialect: openai-completions, openai-chat, tgi or llamacpp; each server's own unless said:
            tgi for a TGI that is brought up, openai-completions for others and for URLs.
        no_stream: Ask for each answer as one document: no TTFT, ITL and TPOT then.
        tokenizer: Folder with the model's tokenizer.json, for exact prompt lengths.
        header: K=V, sent with each request; of a secret K=env:NAME, its variable.
        api_key_env: Environment variable whose value is sent as a bearer token.
        ignore_eos: Ask an unknown --url, too, for answers of exactly the planned length.
        lengths: forced: answers of exactly the planned length (of a --url, too); natural: they
            end where the model ends them; both: each cell is measured in both ways. Without this
            flag they are forced where the engine is known to be able to.
        think: Seconds that each stream pauses between an answer and its next request.
        burstiness: Turns Poisson arrivals into gamma ones: 1 is Poisson, below 1 in clumps.
        dataset: JSON or JSONL of conversations (ShareGPT, OpenAI messages, plain prompts): their
            prompts in place of made-up ones, their answers' lengths too.
        skip_longer: The same as --skip-above with as many tokens as the model takes.
        trace: CSV or JSONL of the Azure, BurstGPT or Mooncake layout, for --profile replay.
        time_scale: Replay so many times as fast as recorded, at the rate that the trace then has.
        clip_to: Make longer requests of the trace so many tokens long, prompt and answer together.
        skip_above: Leave requests of the trace, and conversations of the dataset, out that have
            more tokens, prompts and answers together.
        timeout: A request without its end after so many seconds has failed.
        max_fail_ratio: Share of failed requests above which a cell is invalid.
        workers: Drive with so many processes of this machine, each on a core of its own.
        expect_workers: Wait for so many more, which `harness worker --join` starts elsewhere.
        bind: HOST:PORT where they join: an address of this machine that they can reach.
        join_timeout: Seconds to wait for all of them, before each cell.
        web: Show Locust's own page, on this machine alone, while cells are driven.
        web_port: Its port, 8089 unless said.
        seed: Decides prompts, lengths and arrivals.
        metadata: K=V, kept in the manifest.
        out: Folder that gets the run's folder.
        config: The harness.toml to read; otherwise the first one from here upwards.
        quiet: Nothing on stderr while it runs.
        json: Print measurements.json on stdout, and nothing else there.
    """
    said = SimpleNamespace(**locals())
    run = None
    if resume is not None:
        run = RunFolder.open(resume)
        said = SimpleNamespace(**resumed(run, vars(said), load))
    request = request_of(said, run)
    if run is not None:
        check_same(run, request)
    with Live(quiet=quiet) as live, naming_flags(vars(said)):
        for line in announcements(request.fleet, quiet=quiet):
            live.note(line)
        folder, code = run_load(request, said.out, live)
    return _show(folder, code, json=json)


def request_of(said: SimpleNamespace, run: RunFolder | None = None) -> LoadRequest:
    """Make a request of the flags' values; `run` is the one to go on with.

    Raises:
        BadInputError: with the flag and the fix.
    """
    if said.profile is None:
        raise BadInputError(
            "--profile is missing: name the shape of the traffic, e.g. --profile steady",
            hint="`harness list profiles` has them.",
        )
    found = load_config(said.config)
    if said.dialect is not None:
        load_dialect(said.dialect)
    with naming_flags(vars(said)):
        shape = find_profile(said.profile, found).with_overrides(
            Overrides(
                duration_s=said.duration,
                requests=said.requests,
                warmup=said.warmup,
                prompt_tokens=said.prompt_tokens,
                output_tokens=said.output_tokens,
                timeout_s=said.timeout,
                think_s=said.think,
                burstiness=said.burstiness,
                dataset=None if said.dataset is None else str(said.dataset.absolute()),
                skip_longer=said.skip_longer,
                trace=None if said.trace is None else str(said.trace.absolute()),
                time_scale=said.time_scale,
                clip_to=said.clip_to,
                skip_above=said.skip_above,
            )
        )
        levels = levels_of(shape, said.level, said.rate, as_recorded=said.time_scale is not None)
    fail_ratio = share("max-fail-ratio", said.max_fail_ratio)
    plan = None
    url = urls_of(said.url, said.model, said.ca_file, verify=not said.insecure)
    servers = servers_named(said.server, url, found, "--repeats measures it again")
    taken = turns_of(said, servers, shape, levels)
    levels = taken.levels
    check_sweep(said)
    if said.sweep:
        ends = None if said.level is None and said.rate is None else levels
        plan = plan_of(shape, ends, said.max_levels, said.max_minutes, fail_ratio)
        levels, fail_ratio = [plan.low], 1.0  # that some fail at the end is what it looks for
    if said.ignore_eos and said.lengths == "natural":
        raise BadInputError("--ignore-eos and --lengths natural contradict each other")
    headers = headers_of(said.header)
    if said.api_key_env is not None and "authorization" in map(str.lower, headers):
        raise BadInputError("--header Authorization and --api-key-env say the same; leave one out")
    limits = _limits(said.slo, said.goodput)
    if limits is not None and said.no_stream:
        _check_unstreamed(limits)
    fleet = fleet_of(
        said.workers,
        said.expect_workers,
        said.bind,
        said.join_timeout,
        said.web_port,
        web=said.web,
        elsewhere=said.server is None,
    )
    return LoadRequest(
        servers=servers,
        profile=shape,
        levels=levels,
        repeats=at_least("repeats", taken.repeats, 1),
        order=taken.order,
        side_by_side=plan is None,
        interleave=said.interleave,
        seed=at_least("seed", said.seed, 0),
        slo=limits,
        dialect=said.dialect,
        stream=not said.no_stream,
        tokenizer=said.tokenizer,
        headers=headers,
        api_key_env=said.api_key_env,
        force_ignore_eos=said.ignore_eos or said.lengths in {"forced", "both"},
        lengths=_LENGTHS[said.lengths],
        max_fail_ratio=fail_ratio,
        fleet=fleet,
        sweep=plan,
        resume=run,
        asked={
            "server": said.server,
            "url": redact_text(",".join(said.url)) if said.url else None,
            "model": said.model,
            "ca_file": said.ca_file,
            "insecure": said.insecure,
            "profile": said.profile,
            "level": said.level,
            "rate": said.rate,
            "levels": levels,
            "sweep": said.sweep,
            "max_levels": said.max_levels,
            "max_minutes": said.max_minutes,
            "duration": said.duration,
            "requests": said.requests,
            "warmup": said.warmup,
            "repeats": taken.repeats,
            "order": taken.order,
            "interleave": said.interleave,
            "prompt_tokens": said.prompt_tokens,
            "output_tokens": said.output_tokens,
            "seed": said.seed,
            "slo": str(limits) if limits else None,
            "dialect": said.dialect or USUAL,
            "no_stream": said.no_stream,
            "tokenizer": said.tokenizer,
            "headers": sorted(headers),
            "api_key_env": said.api_key_env,
            "ignore_eos": said.ignore_eos,
            "lengths": said.lengths,
            "timeout": said.timeout,
            "think": said.think,
            "burstiness": said.burstiness,
            "dataset": said.dataset,
            "skip_longer": said.skip_longer,
            "trace": said.trace,
            "time_scale": said.time_scale,
            "clip_to": said.clip_to,
            "skip_above": said.skip_above,
            "max_fail_ratio": said.max_fail_ratio,
            "workers": said.workers,
            "expect_workers": said.expect_workers,
            "bind": said.bind,
            "join_timeout": said.join_timeout,
            "web": said.web,
            "web_port": said.web_port,
            "metadata": redact_json(pairs_of("metadata", said.metadata)),
            "out": said.out,
            "config": said.config,
        },
        command=redact_argv(["harness", *sys.argv[1:]]),
    )


def _show(run: RunFolder, code: ExitCode, *, json: bool) -> ExitCode:
    """Print the numbers: as JSON, or as tables for a person."""
    if json:
        sys.stdout.write(json_shown(load_report("json").render(run)))
    elif run.read_measurements().cells:
        print_run(run, Console(highlight=False, markup=False))
    else:
        print(f"No cell has numbers; what there is lies in {run.path}")
    return code


def levels_of(
    profile: Profile, level: str | None, rate: str | None, *, as_recorded: bool
) -> list[float]:
    """Return the levels to drive, of the flag that fits the profile, else the profile's own.

    Raises:
        BadInputError: a flag that does not fit, or no numbers.
    """
    fits, other = ("--level", "--rate") if profile.is_closed else ("--rate", "--level")
    given, misfit = (level, rate) if profile.is_closed else (rate, level)
    if misfit is not None and given is not None:
        raise _both(profile)
    if misfit is not None:
        kind = "keeps streams open" if profile.is_closed else "sends at a rate"
        raise BadInputError(f"{other}: the profile {profile.name} {kind}; use {fits}")
    if given is None:
        return list(profile.own_levels(as_recorded=as_recorded))
    levels = []
    for word in given.split(","):
        try:
            levels.append(float(word))
        except ValueError:
            raise BadInputError(f'{fits}: "{word.strip()}" is no number') from None
    for value in levels:
        if levels.count(value) > 1:
            raise BadInputError(f"{fits}: {value:g} is there twice; --repeats measures it again")
    return levels


def _both(profile: Profile) -> BadInputError:
    """Say why a profile takes one of both flags."""
    names = "--rate (--request-rate) and --level (--concurrency, --max-concurrency)"
    if profile.is_closed:
        return BadInputError(
            f"{names} do not go together: each stream of the profile {profile.name} sends when its "
            "last answer has ended, so the rate is the server's",
            hint="Leave the rate out, or take a profile that sends at a rate, such as steady.",
        )
    return BadInputError(
        f"{names} do not go together: the profile {profile.name} sends at a rate, and a cap on "
        "concurrency would skip or delay its arrivals, so there is none",
        hint="Leave the level out, or take --profile closed and leave the rate out.",
    )


def _limits(slo: str | None, goodput: tuple[str, ...]) -> Slo | None:
    if slo is None and not goodput:
        return None
    limits = () if slo is None else parse_slo(slo).limits
    return Slo((*limits, *(parse_goodput(goodput) if goodput else ())))


def _check_unstreamed(limits: Slo) -> None:
    for limit in limits.limits:
        if limit.metric in STREAMED:
            raise BadInputError(
                f'{limit.flag} "{limit.text}": {limit.metric} is not known of an answer in one '
                "document",
                hint="limit e2e_p95_ms or sequence_p95_tps, or leave out --no-stream",
            )
