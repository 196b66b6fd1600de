"""`harness gate`: all input is checked here and in `harness.gating.plan`; then it runs."""

import sys
from pathlib import Path

from rich.console import Console

from harness.cli.flags import at_least
from harness.cli.tables import json_shown
from harness.config import Config, find_rules, load_config
from harness.errors import BadInputError, ExitCode, did_you_mean
from harness.gating.copied import find_finished
from harness.gating.request import GateRequest, Named, name_of
from harness.gating.rules import Rules
from harness.gating.run import run_gate
from harness.history import baselines as blessed
from harness.live import Live
from harness.named import find_server, is_server
from harness.quality.request import CONCURRENCY
from harness.reports.gate import load_report
from harness.reports.gate.terminal import print_gate
from harness.rundir import RunFolder, write_atomically
from launchers.redact import redact_argv


def gate(  # noqa: PLR0913 - one parameter for each flag
    candidate: str,
    /,
    *,
    baseline: str,
    rules: str = "default",
    stages: str | None = None,
    budget: float | None = None,
    no_fail_fast: bool = False,
    allow_underpowered: bool = False,
    bless: str | None = None,
    baselines: Path = blessed.BASELINES,
    concurrency: int = CONCURRENCY,
    timeout: float = 120.0,
    seed: int = 0,
    junit: Path | None = None,
    markdown: Path | None = None,
    out: Path = Path("runs"),
    config: Path | None = None,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Hold a candidate to rules against a baseline: PASS, FAIL or INCONCLUSIVE.

    The exit code tells: 0 PASS, 1 FAIL, 5 INCONCLUSIVE; 4 a measurement is not valid.

    Args:
        candidate: A build to bring up, a server of harness.toml that runs, or the folder of a
            finished run (RUN or RUN:BUILD).
        baseline: The same, or the name of a blessed baseline.
        rules: Rules of `harness list rules`, or a TOML file.
        stages: Go through these stages only, by comma.
        budget: Seconds that all of it may take, instead of the rules' own.
        no_fail_fast: Go through all stages although a rule is broken.
        allow_underpowered: Go on although a rule cannot be shown to be kept with so few items.
        bless: On PASS, keep the candidate as the blessed baseline of this name.
        baselines: Folder of the blessed baselines.
        concurrency: Requests in flight at most while suites are asked.
        timeout: A request without its end after so many seconds has failed.
        seed: Decides which items a limit takes, and the load's prompts.
        junit: Write the verdict as JUnit XML to this file, too.
        markdown: Write it as Markdown, for a pull request, to this file, too.
        out: Folder that gets the run's folder.
        config: The harness.toml to read; otherwise the first one from here upwards.
        quiet: Nothing on stderr while it runs.
        json: Print gate.json on stdout, and nothing else there.
    """
    given = dict(locals())
    found = load_config(config)
    kept, folder = find_rules(rules, found)
    kept = _chosen(kept, stages, budget)
    command = redact_argv(["harness", *sys.argv[1:]])
    request = GateRequest(
        candidate=who(candidate, found, "CANDIDATE", baselines),
        baseline=who(baseline, found, "--baseline", baselines),
        rules=kept,
        rules_dir=folder,
        rules_file=rules,
        config=found,
        fail_fast=not no_fail_fast,
        allow_underpowered=allow_underpowered,
        seed=at_least("seed", seed, 0),
        concurrency=at_least("concurrency", concurrency, 1),
        timeout_s=_above_zero("timeout", timeout),
        asked={name: value for name, value in given.items() if value is not None},
        command=command,
    )
    with Live(quiet=quiet) as live:
        run, code = run_gate(request, out, live)
    for path, name in ((junit, "junit"), (markdown, "markdown")):
        if path is not None:
            write_atomically(path, load_report(name).render(run).encode())
    if json:
        sys.stdout.write(json_shown(load_report("json").render(run)))
    else:
        print_gate(run, Console(highlight=False, markup=False))
    if bless is not None:
        _bless(run, request, bless, code, baselines, command)
    return code


def who(text: str, config: Config, flag: str, baselines: Path) -> Named:
    """Return whom a name or a path means: a server, a run that is there, or a blessed baseline.

    A baseline that is called as a build goes by its folder: old numbers never stand in for a build.
    """
    finished = None if is_server(text, config) else find_finished(text, flag, baselines)
    return finished or find_server(text, config)


def _chosen(rules: Rules, stages: str | None, budget: float | None) -> Rules:
    """Return the rules with the command line's choice of stages and time."""
    changes: dict[str, object] = {}
    if budget is not None:
        changes["budget_s"] = _above_zero("budget", budget)
    if stages is not None:
        names = [name.strip() for name in stages.split(",")]
        known = [stage.name for stage in rules.stages]
        for name in names:
            if name not in known:
                raise BadInputError(
                    f'--stages: no stage "{name}"{did_you_mean(name, known)}',
                    hint=f"The rules {rules.name} have {', '.join(known)}.",
                )
        changes["stages"] = tuple(stage for stage in rules.stages if stage.name in names)
    return rules.model_copy(update=changes)


def _above_zero(flag: str, value: float) -> float:
    if not value > 0:
        raise BadInputError(f"--{flag}: {value:g} must be above 0")
    return value


def _bless(
    run: RunFolder,
    request: GateRequest,
    name: str,
    code: ExitCode,
    baselines: Path,
    command: list[str],
) -> None:
    if code is not ExitCode.OK:
        print(f"harness: not blessed: the verdict is not PASS (exit code {code})", file=sys.stderr)
        return
    kept = blessed.bless(run, name_of(request.candidate), name, command=command, folder=baselines)
    print(f"Blessed as {name}: {kept.path}", file=sys.stderr)
