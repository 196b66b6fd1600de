"""The command line. Commands are imported when they run, so that `harness --help` is quick."""

from __future__ import annotations

import re
import sys
from functools import partial
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, Parameter

from harness import __version__
from harness.cli.defaults import from_config
from harness.errors import BadInputError, ExitCode, HarnessError, InvalidRunError, ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOGUE = """\
NAME is a build or profile shipped with the package, one of harness.toml
(found upwards from here, or --config FILE), or the path of a TOML file.

Exit codes: 0 done and valid, 1 verdict FAIL, 2 bad input, 3 a server could
not be installed, started or reached, 4 the measurement is invalid,
5 inconclusive, 70 a bug, 130 interrupted.
"""
_TOO_DEEP = re.compile("deserializing an object|decoding a JSON")
"""What msgspec and json say of a document that nests too deep for them."""
DOCTOR = """\
Say what is installed, what is missing, and how to get it.

Answers 0 if the main job, `harness load --server awq`, can work on this machine, and 3 if not.
"""


def build_app(said: dict[str, str] | None = None) -> App:
    """The whole command tree; no command's module is imported by it.

    `said` gets the flags that a harness.toml says, each with the file.
    """
    common = {"help_format": "plaintext", "default_parameter": Parameter(negative=())}
    app = App(
        name="harness",
        help="Which build on which server holds my latency targets at my traffic?",
        help_epilogue=EPILOGUE,
        version=__version__,
        version_flags=["--version"],
        suppress_keyboard_interrupt=False,
        config=partial(from_config, {} if said is None else said),
        **common,  # type: ignore[arg-type]  # one dict for all three apps
    )
    app.command("harness.cli.load:load", help="Drive traffic at servers and measure what they do.")
    app.command(
        "harness.cli.compare:compare", help="Measure builds side by side and say which to ship."
    )
    app.command(
        "harness.cli.capacity:capacity",
        help="Find the highest rate at which the limits hold.",
    )
    app.command(
        "harness.cli.probe:probe", help="Say what an endpoint is, and what it can be trusted to do."
    )
    quality = App(name="eval", help="Grade servers through their endpoints, against a baseline.")
    quality.command("harness.cli.eval_plan:plan", help="What an evaluation can show and costs.")
    quality.command(
        "harness.cli.eval_link:link_copies",
        name="link",
        help="Write lm-eval's task files for your own copies of its data sets.",
    )
    app.command(quality)
    app.command("harness.cli.gate:gate", help="PASS or FAIL: hold a build to rules.")
    app.command("harness.cli.worker:worker", help="Drive a share of another machine's load.")
    app.command("harness.cli.serve:serve", help="Bring a server up and stay until interrupted.")
    app.command(
        "harness.cli.mock:mock", help="Serve made-up answers with known timing, and known faults."
    )
    app.command("harness.cli.report:report", help="Make a run's report again from its samples.")
    app.command(
        "harness.cli.explain:explain",
        help="A run's numbers by another tool's definitions, and why they differ.",
    )
    app.command(
        "harness.cli.simulate:simulation",
        name="simulate",
        help="Predict a fleet's latencies at a load that nobody measured.",
    )
    app.command(
        "harness.cli.quantize:quantize", help="Make a 4-bit checkpoint by GPTQ or AWQ, calibrated."
    )
    app.command("harness.cli.history:history", help="List runs, and show metrics over time.")
    app.command("harness.cli.init:init", help="Write a commented harness.toml.")
    app.command("harness.cli.doctor:doctor", help=DOCTOR)
    app.command(
        "harness.cli.calibrate:calibrate",
        help="Say how exact and how fast the load client is on this machine.",
    )
    listing = App(name="list", help="List servers, profiles, suites, rules or baselines.")
    listing.command("harness.cli.listing:servers", help="The builds that can be served.")
    listing.command("harness.cli.listing:profiles", help="The shapes of traffic.")
    listing.command("harness.cli.listing:suites", help="What can be asked and graded.")
    listing.command("harness.cli.listing:rules", help="What a gate holds a candidate to.")
    listing.command("harness.cli.listing:baselines", help="What was blessed, when and by whom.")
    app.command(listing)
    engines = App(name="engines", help="List or install serving engines.")
    engines.command("harness.cli.engines:list_engines", name="list", help="Engines found here.")
    engines.command(
        "harness.cli.engines:install_engine",
        name="install",
        help="Install an engine that harness manages.",
    )
    app.command(engines)
    return app


def run(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; what the user must know is on stderr."""
    said: dict[str, str] = {}
    try:
        app = build_app(said)
        if list(argv[:1]) == ["eval"]:  # cyclopts can put off commands, but no app's default
            from harness.cli.eval import evaluate

            app["eval"].default(evaluate)
        result = app(
            list(argv), print_error=False, exit_on_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        words = " ".join(error.command_chain or ())
        text = f"harness: {error}\nTry: harness {words} --help".replace("  ", " ")
        print(shown(text), file=sys.stderr)
        return ExitCode.BAD_INPUT
    except Exception as error:
        known = translate(error)
        if known is None:
            raise
        print(f"harness: {shown(str(known))}", file=sys.stderr)
        for flag, path in said.items():
            if re.search(rf"{re.escape(flag)}\b", str(known)):
                print(f"{flag} is said in {path}", file=sys.stderr)
        return known.exit_code
    return int(result) if result is not None else ExitCode.OK


def shown(text: str) -> str:
    """Return an error's text for a terminal: what a file or a server says must not steer one."""
    from harness.reports.figures import plain_lines

    return text if text.isascii() and text.replace("\n", "").isprintable() else plain_lines(text)


def translate(error: Exception) -> HarnessError | None:
    """Turn an exception of a leaf into ours; None for one that nobody expected."""
    if isinstance(error, HarnessError):
        return error
    if isinstance(error, RecursionError) and _TOO_DEEP.search(str(error)):
        return BadInputError("a file that was read nests deeper than any that harness writes")
    import evals.errors as grading
    import launchers.errors as launching
    import loadprofiles.errors as planning

    inputs = (
        *(launching.BuildError, launching.PlanError, launching.UnknownNameError),
        launching.RequirementsError,
        planning.LoadProfilesError,
    )
    if isinstance(error, inputs):
        return BadInputError(str(error))
    if isinstance(error, (launching.LauncherError, grading.ReachError)):
        return ServerError(str(error))
    if isinstance(error, grading.RouteError):
        return InvalidRunError(str(error))
    return BadInputError(str(error)) if isinstance(error, grading.EvalError) else None
