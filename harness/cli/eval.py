"""`harness eval`: all input is checked here and in `harness.quality.checks`; then it runs."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from evals.endpoint import Endpoint
from evals.records import ROUTES, Route
from evals.suite import JudgeSettings
from harness.cli.flags import at_least, names_of, servers_named, share, urls_of
from harness.cli.pairs import headers_of
from harness.cli.tables import json_shown
from harness.config import (
    Config,
    find_profile,
    find_suite,
    load_config,
)
from harness.errors import BadInputError
from harness.history.baselines import find_baseline
from harness.live import Live
from harness.named import find_server, is_server
from harness.quality.baseline import find_run, kept_run
from harness.quality.record import read_manifest
from harness.quality.request import (
    CONCURRENCY,
    MARGIN,
    PERPLEXITY_MARGIN,
    EarlierRun,
    EvalRequest,
    UnderLoad,
)
from harness.quality.run import run_eval
from harness.reports.evaluation import load_report
from harness.reports.evaluation.terminal import print_evaluation
from harness.rundir import RunFolder
from harness.serving import Who
from launchers.redact import redact_argv, redact_text

_KEPT = frozenset(
    {
        *("server", "url", "model", "suite", "limit", "tokenizer", "under_load", "baseline"),
        *("margin", "perplexity_margin", "seed", "route", "calibration", "ca_file", "insecure"),
        *("config", "max_fail_ratio", "concurrency", "timeout", "api_key_env"),
        *("judge_url", "judge_model", "judge_key_env"),
    }
)
"""What a run keeps of its command line, so that --resume takes it from there."""
_CHANGEABLE = frozenset({"concurrency", "timeout", "api_key_env"})
"""What decides no answer, and may be another when a run goes on."""


def evaluate(  # noqa: PLR0913 - one parameter for each flag
    *,
    server: str | None = None,
    url: Annotated[str | None, Parameter(name=["--url", "--base-url", "--target"])] = None,
    model: str | None = None,
    ca_file: Path | None = None,
    insecure: Annotated[bool, Parameter(negative="")] = False,
    suite: str | None = None,
    limit: int | None = None,
    tokenizer: Path | None = None,
    under_load: str | None = None,
    baseline: str | None = None,
    margin: float | None = None,
    perplexity_margin: float | None = None,
    route: str | None = None,
    calibration: Path | None = None,
    judge_url: str | None = None,
    judge_model: str | None = None,
    judge_key_env: str | None = None,
    resume: Path | None = None,
    concurrency: int | None = None,
    header: tuple[str, ...] = (),
    api_key_env: str | None = None,
    timeout: float | None = None,
    max_fail_ratio: float = 0.05,
    seed: int = 0,
    out: Path = Path("runs"),
    config: Path | None = None,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Ask suites of questions of servers, grade the answers, compare them with a baseline's.

    Args:
        server: Builds to bring up and examine one after the other, by comma; servers of
            harness.toml that run already are asked as they are.
        url: API base of a server that is up, e.g. http://127.0.0.1:8000/v1, instead of --server.
        model: The model to ask the --url for, where it serves several.
        ca_file: PEM file of the authority that signed the certificate of an https --url.
        insecure: Take any certificate of an https --url.
        suite: Suites of `harness list suites`, or TOML files, by comma.
        limit: Items of each suite: a random subset that --seed decides, spread over categories.
        tokenizer: Folder with the tokenizer.json that the --url uses.
        under_load: PROFILE@LEVEL: grade the same items also while that load runs.
        baseline: A build, asked first; the folder of an earlier evaluation (RUN or RUN:BUILD); or
            the name of a blessed baseline.
        margin: Points of the score that a build may lose, 2 unless said. With this flag or the
            next one the exit code tells the verdict: 0 PASS, 1 FAIL, 5 INCONCLUSIVE.
        perplexity_margin: Per cent by which a perplexity may rise, 5 unless said.
        route: Take this route only: next, echo, native, label or generative.
        calibration: Text or JSON lines that a build was calibrated on: say which items of domain
            suites it shares words with; a run whose items stand in it whole is not valid.
        judge_url: API base of a model that judges answers, for suites whose grader is a judge; or
            a [judge] table of harness.toml.
        judge_model: The model to ask there.
        judge_key_env: Environment variable with the judge's bearer token.
        resume: Go on with the run in this folder; all else is taken from there.
        concurrency: Requests in flight at most, 32 unless said.
        header: K=V, sent with each request; of a secret K=env:NAME, its variable.
        api_key_env: Environment variable with the bearer token.
        timeout: A request without its end after so many seconds has failed, 120 unless said.
        max_fail_ratio: Share of items without an answer above which a suite is invalid.
        seed: Decides which items a --limit takes.
        out: Folder that gets the run's folder.
        config: The harness.toml to read; otherwise the first one from here upwards.
        quiet: Nothing on stderr while it runs.
        json: Print evaluation.json on stdout, and nothing else there.
    """
    given = {name: value for name, value in locals().items() if name in _KEPT}
    command = redact_argv(["harness", *sys.argv[1:]])
    headers = headers_of(header)
    if api_key_env is not None and "authorization" in map(str.lower, headers):
        raise BadInputError("--header Authorization and --api-key-env say the same; leave one out")
    run = None
    if resume is not None:
        run = RunFolder.open(resume)
        given = _resumed(run, given)
    request = request_of(given, headers, command, run)
    with Live(quiet=quiet) as live:
        folder, code = run_eval(request, out, live)
    if json:
        sys.stdout.write(json_shown(load_report("json").render(folder)))
    else:
        print_evaluation(folder, Console(highlight=False, markup=False))
    return code


def _resumed(run: RunFolder, given: dict[str, object]) -> dict[str, object]:
    """Return what a run was asked, with the little that may be another now."""
    defaults = {"insecure": False, "max_fail_ratio": 0.05, "seed": 0}
    said = {name: value for name, value in given.items() if value != defaults.get(name)}
    for name in sorted(said.keys() - _CHANGEABLE):
        raise BadInputError(
            f"--{name.replace('_', '-')} and --resume do not go together: a run goes on as it began"
        )
    kept = read_manifest(run).request
    return {name: kept.get(name) for name in _KEPT} | said


def request_of(
    given: dict[str, object], headers: dict[str, str], command: list[str], run: RunFolder | None
) -> EvalRequest:
    """Make a request of the flags' values.

    Raises:
        BadInputError: with the flag and the fix.
    """
    flags = _Flags(given)
    path = flags.path("config")
    found = load_config(path)
    if flags.text("suite") is None:
        raise BadInputError(
            "--suite is missing: name what is to be asked, e.g. --suite domain",
            hint="`harness list suites` has them.",
        )
    suites = names_of("suite", flags.text("suite") or "", "one of them is enough")
    limit = flags.number("limit")
    timeout_s = float(flags.number("timeout") or 120.0)
    if not timeout_s > 0:
        raise BadInputError(f"--timeout: {timeout_s:g} must be above 0")
    margins = {name: flags.number(name) for name in ("margin", "perplexity_margin")}
    for name, value in margins.items():
        if value is not None and not 0 < value < 100:  # noqa: PLR2004 - points or per cent
            flag = name.replace("_", "-")
            raise BadInputError(f"--{flag}: {value:g} must lie between 0 and 100, e.g. 2")
    kept = None if run is None else kept_run(run)
    baseline = kept or baseline_of(flags.text("baseline"), found)
    where = {key: value for key, value in given.items() if value is not None}
    where |= _absolute(given)
    return EvalRequest(
        servers=servers_of(flags, found),
        suites=[find_suite(name, found) for name in suites],
        baseline=baseline,
        under_load=_under_load(flags.text("under_load"), found),
        route=_route(flags.text("route")),
        limit=None if limit is None else at_least("limit", int(limit), 1),
        seed=at_least("seed", int(flags.number("seed") or 0), 0),
        margin=margins["margin"] or MARGIN,
        perplexity_margin=margins["perplexity_margin"] or PERPLEXITY_MARGIN,
        gated=any(value is not None for value in margins.values()),
        concurrency=at_least("concurrency", int(flags.number("concurrency") or CONCURRENCY), 1),
        tokenizer=flags.path("tokenizer"),
        calibration=flags.path("calibration"),
        judge=_judge(flags, found),
        headers=headers,
        api_key_env=flags.text("api_key_env"),
        timeout_s=timeout_s,
        max_fail_ratio=share("max-fail-ratio", float(flags.number("max_fail_ratio") or 0.0)),
        resume=run,
        asked={**where, "headers": sorted(headers)},
        command=command,
    )


class _Flags:
    """Flags' values by name, each of its type."""

    def __init__(self, given: dict[str, object]) -> None:
        self._given = given

    def text(self, name: str) -> str | None:
        value = self._given.get(name)
        return None if value is None else str(value)

    def path(self, name: str) -> Path | None:
        value = self.text(name)
        return None if value is None else Path(value)

    def number(self, name: str) -> float | None:
        value = self._given.get(name)
        return value if isinstance(value, int | float) else None

    def is_set(self, name: str) -> bool:
        return bool(self._given.get(name))


def _absolute(given: dict[str, object]) -> dict[str, object]:
    """Paths as they are found from any folder, for a run that goes on elsewhere."""
    found: dict[str, object] = {}
    for name in ("tokenizer", "calibration", "ca_file", "config"):
        if given.get(name) is not None:
            found[name] = str(Path(str(given[name])).absolute())
    for name in ("server", "suite", "baseline", "under_load"):
        text = given.get(name)
        if text is not None:
            found[name] = ",".join(_absolute_name(part) for part in str(text).split(","))
    if given.get("url") is not None:
        found["url"] = redact_text(str(given["url"]))
    return found


def _absolute_name(name: str) -> str:
    looks_so = name.partition("@")[0].endswith(".toml") or "/" in name
    return str(Path(name.strip()).absolute()) if looks_so else name.strip()


def _judge(flags: _Flags, config: Config) -> Endpoint | None:
    """Return the model that judges answers: the flags', else harness.toml's; None is the rule."""
    url, model = flags.text("judge_url"), flags.text("judge_model")
    key = flags.text("judge_key_env")
    if url is None and model is None and key is None:
        return None if config.judge is None else config.judge.endpoint()
    if url is None or model is None:
        raise BadInputError("--judge-url and --judge-model go together; give both")
    if not url.startswith(("http://", "https://")):
        raise BadInputError(
            f"--judge-url: {redact_text(url)} should begin with https:// or http://"
        )
    if any(mark in url for mark in "@?#"):
        raise BadInputError(
            "--judge-url: holds a user name or a query, which would be written into the run's "
            "folder; give the API's base alone, and the key's variable as --judge-key-env"
        )
    return JudgeSettings(url=url, model=model, api_key_env=key).endpoint()


def servers_of(flags: _Flags, config: Config) -> list[Who]:
    """Return who is to be asked."""
    url = flags.text("url")
    urls = () if url is None else (url,)
    at = urls_of(
        urls, flags.text("model"), flags.path("ca_file"), verify=not flags.is_set("insecure")
    )
    return servers_named(flags.text("server"), at, config, "one of them is enough")


def baseline_of(text: str | None, config: Config) -> "Who | EarlierRun | None":
    """Return whom the others are compared with."""
    if text is None:
        return None
    blessed = None
    if not is_server(text, config):
        blessed = find_baseline(text)
    return find_run(text if blessed is None else str(blessed.path)) or find_server(text, config)


def _under_load(text: str | None, config: Config) -> UnderLoad | None:
    if text is None:
        return None
    name, sign, level = text.rpartition("@")
    try:
        value = float(level)
    except ValueError:
        sign = ""
        value = 0.0
    if not sign or not name:
        raise BadInputError(
            f'--under-load: "{text}" is no PROFILE@LEVEL', hint="For example bursty@8."
        )
    return UnderLoad(profile=find_profile(name, config), level=value)


def _route(text: str | None) -> Route | None:
    if text is None:
        return None
    for route in ROUTES:
        if text == route:
            return route
    raise BadInputError(f'--route: no route "{text}"; there are {", ".join(ROUTES)}')
