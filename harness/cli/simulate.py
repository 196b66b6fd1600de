"""`harness simulate`."""

import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import Parameter

from harness.cli.tables import json_shown, stdout
from harness.errors import BadInputError, ExitCode
from harness.measuring.slo import parse_slo
from harness.reports.figures import plain_lines
from harness.reports.simulation import lines
from harness.rundir import RunFolder
from harness.simulating.simulate import Scenario, simulate

_CODES: Final = {"FAIL": ExitCode.FAIL, "INCONCLUSIVE": ExitCode.INCONCLUSIVE}


def simulation(  # noqa: PLR0913 - one parameter for each flag
    *runs: Path,
    build: str | None = None,
    rate: float | None = None,
    duration: float | None = None,
    trace: Path | None = None,
    scale: float = 1.0,
    replicas: int | None = None,
    slo: str | None = None,
    fail: int = 0,
    fail_at: float | None = None,
    routing: Literal["round-robin", "least-loaded"] = "round-robin",
    max_num_seqs: int | None = None,
    max_num_batched_tokens: int | None = None,
    kv_tokens: int | None = None,
    seed: int = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Predict a fleet's latencies at a load that nobody measured, from measured cells.

    An engine's continuous batching is simulated, its parameters fitted to half of the levels of
    RUNS; its errors at the other half are printed with the prediction. Answers 0, with --slo also
    1 where a limit does not hold and 5 where one is nearer than those errors.

    Args:
        runs: Folders of load runs of one build on one server, several levels.
        build: Whose cells, where the runs have several.
        rate: Requests per second of the whole fleet (Poisson), as long as the measured ones.
        duration: Seconds of that rate; an hour, where not said.
        trace: CSV or JSONL of the Azure, BurstGPT, Mooncake or generic layout, instead of --rate.
        scale: So many times the requests.
        replicas: How many serve it; without, the fewest that hold --slo.
        slo: Limits, e.g. "ttft_p95_ms<=500,itl_p95_ms<=50".
        fail: So many replicas die; without --replicas there are as many more.
        fail_at: When, in seconds from the start; without, in the middle.
        routing: Who gets the next request: each in turn, or who has the fewest.
        max_num_seqs: The engine's limit, where the runs do not say it.
        max_num_batched_tokens: The same.
        kv_tokens: The same: tokens that its KV cache holds.
        seed: Decides the arrivals of --rate.
        json: Print the result as JSON on stdout, and nothing else there.
    """
    if not runs:
        raise BadInputError(
            "no RUN given", hint="harness load --profile closed --level 1,2,4,8,16,32 makes one."
        )
    told = {
        "max_num_seqs": max_num_seqs,
        "max_num_batched_tokens": max_num_batched_tokens,
        "kv_tokens": kv_tokens,
    }
    for name, value in told.items():
        if value is not None and value < 1:
            raise BadInputError(f"--{name.replace('_', '-')}: {value} is not 1 or more")
    found = simulate(
        [RunFolder.open(run) for run in runs],
        Scenario(
            build=build,
            rate=rate,
            duration_s=duration,
            trace=trace,
            scale=scale,
            replicas=replicas,
            failing=fail,
            failure_s=fail_at,
            routing=routing,
            slo=None if slo is None else parse_slo(slo),
            limits={name: value for name, value in told.items() if value is not None},
            seed=seed,
        ),
    )
    if json:
        text = msgspec.json.format(msgspec.json.encode(found)).decode()
        sys.stdout.write(json_shown(text) + "\n")
    else:
        console = stdout(markup=False)
        for line in lines(found):
            console.print(plain_lines(line))
    return _CODES.get(found.verdict or "", ExitCode.OK)
