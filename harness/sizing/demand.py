"""What is to be served: a rate, or a trace's busiest window."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.errors import BadInputError
from harness.sizing.record import Demand
from loadprofiles.errors import ProfileError
from loadprofiles.traffic.traces import read_trace

if TYPE_CHECKING:
    from loadprofiles.traffic.traces import Trace

WINDOW_S: Final = 60.0
"""About as long as a probe of the search: what bursts within it do, the measured rate has in it."""
_MOST_WINDOWS: Final = 200_000
_RATE: Final = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(?:(?:/|per )\s*(\w+))?")
_SECONDS: Final = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_EXAMPLES: Final = (
    "Give a peak rate (--demand 12, --demand 500/min) or a trace's file (.csv, .jsonl)"
)


def read_demand(
    text: str, *, base: Path | None = None, window_s: float | None = None, mean: str | None = None
) -> Demand:
    """Read `--demand`.

    Args:
        text: arrivals/s at the peak, `500/min`, or the path of a trace.
        base: what a relative path counts from; None: the current folder.
        window_s: the peak is the most within any window so long; None: `WINDOW_S`.
        mean: arrivals/s on average, beside a peak; a trace has its own.

    Raises:
        BadInputError: neither a rate nor a trace; the text says what to write instead.
    """
    found = _RATE.fullmatch(text.strip())
    if found is None:
        if mean is not None:
            raise BadInputError("--mean-demand: a trace has its own mean; leave it out")
        path = Path(text) if base is None else base / text
        return _read_trace(text, path, WINDOW_S if window_s is None else window_s)
    if window_s is not None:
        raise BadInputError(
            "--peak-window goes with a trace; a rate is the peak itself", hint=_EXAMPLES
        )
    peak = _rate("--demand", text)
    average = None if mean is None else _rate("--mean-demand", mean)
    if average is not None and average > peak:
        raise BadInputError(f"--mean-demand: {mean} is more than the peak, {text}")
    return Demand(source=text.strip(), peak_rate=peak, mean_rate=average)


def demand_of(trace: Trace, source: str, window_s: float) -> Demand:
    """Return the demand of a trace.

    The peak is the most arrivals in [t, t + window) over all t, divided by the window. Whoever
    pays by the month pays for the trace's quiet hours, too: its mean is over all of its span.

    Args:
        trace: with its times sorted.
        source: what it is called.
        window_s: length of the windows.

    Raises:
        BadInputError: the trace is shorter than a window, or has too many of them.
    """
    times = trace.times_s
    span_s = float(times[-1])
    if not 0 < window_s <= span_s:
        raise BadInputError(
            f"--peak-window: {window_s:g} s must lie above 0 and within the trace, which lasts "
            f"{span_s:g} s",
            hint="Take a shorter window, or a trace of the hours that matter.",
        )
    whole = math.floor(span_s / window_s)
    if whole > _MOST_WINDOWS:
        raise BadInputError(
            f"--peak-window: the trace has {whole:,} windows of {window_s:g} s; take longer ones"
        )
    first_after = np.searchsorted(times, times + window_s, side="left")
    peak = int((first_after - np.arange(len(times))).max())
    edges = np.arange(whole + 1) * window_s
    counts = np.diff(np.searchsorted(times, edges, side="left"))
    lengths = trace.prompt_tokens + trace.output_tokens
    return Demand(
        source=source,
        peak_rate=peak / window_s,
        mean_rate=len(trace) / span_s,
        window_s=window_s,
        span_s=span_s,
        requests=len(trace),
        rates=[float(count) / window_s for count in counts],
        prompt_tokens=float(trace.prompt_tokens.mean()),
        output_tokens=float(trace.output_tokens.mean()),
        longest_tokens=int(lengths.max()),
    )


def _read_trace(source: str, path: Path, window_s: float) -> Demand:
    if not path.is_file():
        raise BadInputError(
            f"--demand: {source!r} is neither a rate nor a file that is there", hint=_EXAMPLES
        )
    try:
        trace = read_trace(path)
    except ProfileError as error:
        text = str(error).removeprefix(f"{error.field}: ")
        raise BadInputError(f"--demand: {text}") from error
    return demand_of(trace, source, window_s)


def _rate(flag: str, text: str) -> float:
    """Read `12`, `12/s` or `500/min` as arrivals/s."""
    found = _RATE.fullmatch(text.strip())
    try:
        number = float(found[1]) if found else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise BadInputError(f"{flag}: {text!r} is no rate above 0", hint=_EXAMPLES)
    per = (found[2] if found else None) or "s"
    if per.startswith(("d", "month", "mo", "w", "y")):
        raise BadInputError(
            f"{flag}: so many a {per} says nothing of the peak, and the peak decides",
            hint=_EXAMPLES,
        )
    if per not in _SECONDS:
        raise BadInputError(f'{flag}: unknown unit "{per}" in {text!r}; write /s, /min or /h')
    return number / _SECONDS[per]
