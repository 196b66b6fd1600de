"""`harness eval plan`."""

import math
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from harness.cli.eval import request_of
from harness.cli.pairs import headers_of
from harness.cli.tables import print_json, print_table
from harness.errors import BadInputError, ExitCode
from harness.live import Live
from harness.quality.plan import EvalPlan, plan_evaluation
from harness.quality.request import MARGIN
from harness.reports.figures import NOTHING, count, figure, plain


def plan(  # noqa: PLR0913 - one parameter for each flag
    *,
    suite: str,
    server: str | None = None,
    url: Annotated[str | None, Parameter(name=["--url", "--base-url", "--target"])] = None,
    model: str | None = None,
    ca_file: Path | None = None,
    insecure: Annotated[bool, Parameter(negative="")] = False,
    limit: int | None = None,
    tokenizer: Path | None = None,
    route: str | None = None,
    margin: float = MARGIN,
    power: float = 0.8,
    flip_rate: float = 0.1,
    concurrency: int | None = None,
    header: tuple[str, ...] = (),
    api_key_env: str | None = None,
    timeout: float | None = None,
    seed: int = 0,
    config: Path | None = None,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Say how many items a margin takes, what the items at hand can show, and what they cost.

    With --server or --url a short sample is asked, so that the time it will take is measured.

    Args:
        suite: Suites of `harness list suites`, or TOML files, by comma.
        server: A build to bring up and ask a sample.
        url: API base of a server that is up, to be asked a sample.
        model: The model to ask the --url for, where it serves several.
        ca_file: PEM file of the authority that signed the certificate of an https --url.
        insecure: Take any certificate of an https --url.
        limit: Items of each suite, as `harness eval` would be told.
        tokenizer: Folder with the tokenizer.json that the --url uses.
        route: Plan for this route: echo, native, label or generative.
        margin: Points of the score that a build may lose.
        power: Chance that a build that lost nothing gets its PASS.
        flip_rate: Share of answers that change from one build to another; 0.05 to 0.15 are usual.
        concurrency: Requests in flight at most, 32 unless said.
        header: K=V, sent with each request; of a secret K=env:NAME, its variable.
        api_key_env: Environment variable with the bearer token.
        timeout: A request without its end after so many seconds has failed, 120 unless said.
        seed: Decides which items a --limit takes.
        config: The harness.toml to read; otherwise the first one from here upwards.
        quiet: Nothing on stderr while it runs.
        json: Print the plan as JSON on stdout, and nothing else there.
    """
    given = dict(locals())
    for name in ("power", "flip_rate"):
        if not 0 < given[name] < 1:
            flag = name.replace("_", "-")
            raise BadInputError(f"--{flag}: {given[name]:g} must lie between 0 and 1")
    measure = server is not None or url is not None
    if not measure:
        given["url"] = "http://127.0.0.1:9/v1"  # nobody is asked
    request = request_of(given, headers_of(header), [], None)
    with Live(quiet=quiet) as live:
        found = plan_evaluation(request, live, power=power, flip_rate=flip_rate, measure=measure)
    if json:
        print_json(msgspec.to_builtins(found))
    else:
        _print(found)
    return ExitCode.OK


def _print(found: EvalPlan) -> None:
    print_table(
        [
            "suite",
            "route",
            "items",
            "requests",
            "prompt tokens",
            "needed",
            "shows",
            "items/s",
            "time",
        ],
        [
            [
                plain(one.suite),
                one.route,
                count(one.items),
                count(one.requests),
                count(one.prompt_tokens),
                count(one.items_needed),
                NOTHING if one.margin_reached is None else f"{figure(one.margin_reached)} points",
                figure(one.items_per_s),
                _time(one.seconds),
            ]
            for one in found.suites
        ],
    )
    console = Console(highlight=False, markup=False)
    console.print(
        Text(
            f"needed: items for a margin of {found.margin:g} points at power {found.power:g}, "
            f"where {found.flip_rate:.0%} of the answers change; shows: the margin that the "
            "items at hand reach."
        )
    )
    for one in found.suites:
        if one.smallest is not None:
            console.print(
                Text(
                    f"{plain(one.suite)}: each task must pass, so that is said of "
                    f"{plain(one.smallest)}, which has the fewest items."
                )
            )
        if one.clusters is not None:
            console.print(
                Text(
                    f"{plain(one.suite)}: its items are {count(one.clusters)} clusters; "
                    f"taken to cost a factor of {figure(one.design_effect)}."
                )
            )
    if found.seconds is not None:
        console.print(Text(f"One build takes about {_time(found.seconds)}, the baseline as long."))
    for one in found.suites:
        if one.enough is False:
            short = (one.items_needed or 0) - one.items
            console.print(
                Text(f"{plain(one.suite)}: {count(short)} items more are needed for that margin."),
                style="yellow",
            )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return NOTHING
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
