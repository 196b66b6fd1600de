"""`harness calibrate`."""

import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

from harness.calibration import Calibration, Step, save, sentence, summarize
from harness.cli.tables import print_json, print_table
from harness.errors import BadInputError, ExitCode
from harness.ladder import QUICK_STREAMS, QUICK_WINDOW_S, STREAMS, WINDOW_S, Load, climb
from harness.measuring.truth import Spread

_HEADER = (
    "load", "tokens/s", "TTFT kernel", "TTFT user", "ITL kernel", "lag", "late", "CPU/token",
    "core", "server", "",
)  # fmt: skip
_MOST = 20_000


def calibrate(
    *,
    streams: Annotated[str | None, Parameter(name=["--streams", "--level"])] = None,
    duration: float | None = None,
    quick: bool = False,
    json: bool = False,
) -> int:
    """Say how exact and how fast the load client is on this machine, and keep it for reports.

    Runs the same driver that measures against a server of our own on other CPUs, which writes
    down when it really sent each token, with more and more streams until the client is no longer
    exact. About a minute and a half; a busy machine makes the client look worse than it is.

    Args:
        streams: Steps of the ladder, e.g. 32,256,1024.
        duration: Measured seconds of each step; 4 unless given.
        quick: Three steps of 2 s.
        json: Print the calibration as JSON on stdout.
    """
    ladder = _streams(streams) if streams else QUICK_STREAMS if quick else STREAMS
    window_s = duration if duration is not None else QUICK_WINDOW_S if quick else WINDOW_S
    if not 0 < window_s <= 600:  # noqa: PLR2004
        raise BadInputError(f"--duration: {window_s:g} must be above 0, and at most 600 seconds")
    found = climb(ladder, window_s, _say)
    path = save(found)
    if json:
        print_json(msgspec.to_builtins(found))
    else:
        print_table(_HEADER, map(_row, found.steps))
        print("Errors, lag and lateness in µs: p50/p99. Kernel: by the kernel's receive stamps,")
        print("which the reports use; user: by the client's own clock.")
        for line in _verdict(found):
            print(line)
    if path is None:
        kept = "No step of the ladder was valid: reports keep to the calibration of before."
    else:
        kept = f"Kept for the reports of this machine: {path}"
    print(kept, file=sys.stderr)
    return ExitCode.OK if found.ceiling else ExitCode.INVALID


def _streams(text: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise BadInputError(f"--streams: {text!r} is no list like 32,256,1024") from None
    if found[0] < 1 or found[-1] > _MOST:
        raise BadInputError(f"--streams: each must lie between 1 and {_MOST}")
    return found


def _say(load: Load, step: Step) -> None:
    result = "exact" if step.exact else "; ".join(step.problems)
    again = ", once more" if not step.exact and step.tries == 1 else ""
    line = f"{_name(load.pattern, load.level)}: {step.tokens_per_s:,.0f} tokens/s, {result}{again}"
    print(line, file=sys.stderr, flush=True)


def _name(pattern: str, level: float) -> str:
    if pattern == "poisson":
        return f"{level:g} requests/s"
    return f"{level:g} streams" + (" at once" if pattern == "at once" else "")


def _row(step: Step) -> list[str]:
    each = step.cpu_us_per_token
    return [
        _name(step.pattern, step.level),
        f"{step.tokens_per_s:,.0f}",
        _spread(step.ttft_kernel_us),
        _spread(step.ttft_user_us),
        _spread(step.itl_kernel_us),
        _spread(step.lag_us),
        _spread(step.late_us),
        "–" if each is None else f"{each:g}",
        f"{step.cpu:.0%}",
        f"{step.server_cpu:.0%}",
        "exact" if step.exact else "not exact",
    ]


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{spread.p50:g}/" + ("–" if spread.p99 is None else f"{spread.p99:g}")


def _verdict(found: Calibration) -> list[str]:
    lines = [sentence(summarize(found))]
    lines += [
        f"{_name(step.pattern, step.level)}: {problem}"
        for step in found.steps
        for problem in step.problems
    ]
    if not found.kernel_stamps:
        lines.append("The kernel gives no receive stamps here: times include the client's delay.")
    if found.server_cpus == found.client_cpus:
        lines.append("There is one CPU: server and client shared it, which real load may not.")
    if found.ended == "server":
        lines.append("The server reached its own limit first: the client may go further.")
    if found.ended == "ladder" and found.ceiling:
        lines.append("The client was exact to the last step: --streams names higher ones.")
    return lines
