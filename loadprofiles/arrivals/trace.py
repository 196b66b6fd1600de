"""Traffic as it really was: a recorded trace, replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from loadprofiles.errors import ProfileError
from loadprofiles.traffic import traces
from loadprofiles.traffic.schedule import NS, Arrival, Finite, IntArray, OpenArrival

_SAME_RATE = 1e-3
"""How far a level may be from the trace's own rate and still mean all of it."""

Tokens = Annotated[int, Field(strict=True, ge=2, le=10_000_000)]


class Replayed(NamedTuple):
    """A part of a trace, laid out over a window."""

    due_ns: IntArray
    duration_ns: int
    prompt_tokens: IntArray
    output_tokens: IntArray
    blocks: list[tuple[int, ...]] | None
    """Hash ids of each prompt's blocks of `traces.BLOCK_TOKENS`."""
    time_scale: float
    """How many seconds of the trace passed in one second."""
    clipped: int
    """Requests that were made shorter (or longer than nothing) to fit."""
    skipped: int
    """Requests of this part that were left out since they do not fit."""
    thinned: int
    """Requests of this part that were left out at random, to come to the level."""
    unsorted: int
    """Rows of the file that stood too late in it."""


class Trace(OpenArrival):
    """The requests of a trace file from `start_s` on, with their lengths if the profile likes.

    Without `time_scale` the time is stretched so that the mean rate over the window is the level:
    all requests are kept, and the shape. With it, the trace runs so many times as fast as it was
    recorded; its rate is what it then is, and a lower level leaves requests out at random.
    """

    whole_window: ClassVar[bool] = True
    rate_known: ClassVar[bool] = False

    kind: Literal["trace"]
    file: Annotated[str, Field(min_length=1)]
    """CSV or JSON lines, also `.gz`; a relative path begins at the profile's folder."""
    format: Literal["auto", "azure", "burstgpt", "mooncake", "generic"] = "auto"
    start_s: Annotated[Finite, Field(ge=0)] = 0.0
    """Where to begin, in seconds from the trace's first request."""
    time_scale: Annotated[Finite, Field(gt=0, le=1e6)] | None = None
    """2: twice as fast as recorded."""
    clip_to: Tokens | None = None
    """Make a longer request (prompt + answer) so long, its prompt first, and an empty one 1 + 1."""
    prefixes: bool = True
    """Whether prompts begin alike where those of the trace did (Mooncake's hash ids say so), if
    the profile takes its lengths and has no `shared_prefix` of its own."""
    skip_above: Tokens | None = None
    """Leave a longer request out, and an empty one."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if None not in (self.clip_to, self.skip_above):
            raise ValueError("clip_to and skip_above exclude each other; leave one out")
        return self

    def own_rate(self, duration_s: float) -> float:
        """Requests/s of a window of that length at `time_scale`, to four digits.

        Raises:
            ProfileError: the trace cannot be read, or is over by then.
        """
        trace, rows, _, _ = self._rows()
        rows = self._within(trace, rows, duration_s)
        return float(f"{len(rows) / duration_s:.4g}")

    def replay(
        self,
        rate: float,
        duration_s: float | None,
        requests: int | None,
        rng: np.random.Generator,
    ) -> Replayed:
        """Lay the trace out over a window of that length, or of so many requests.

        Raises:
            ProfileError: the trace cannot be read, has not so many requests, or not that rate.
        """
        trace, rows, clipped, skipped = self._rows()
        thinned = 0
        if self.time_scale is None:
            count = requests if duration_s is None else max(1, round(rate * duration_s))
            assert count is not None  # noqa: S101 - a window has one of both
            duration_s = count / rate if duration_s is None else duration_s
            if len(rows) < count:
                raise ProfileError(
                    "arrival.file",
                    f"{self.file} has {len(rows)} requests from start_s = {self.start_s:g} on and "
                    f"{count} are needed; lower the rate, the window or start_s",
                )
            end_s = self._end_s(trace, rows, count)
            rows = rows[:count]
            scale = (end_s - self.start_s) / duration_s
        else:
            if duration_s is None:
                raise ProfileError(
                    "requests", "a trace with a time_scale needs a window in seconds: duration_s"
                )
            scale = self.time_scale
            whole = self._within(trace, rows, duration_s)
            rows = self._thin(whole, rate, duration_s, rng)
            thinned = len(whole) - len(rows)
        due = (trace.times_s[rows] - self.start_s) / scale
        duration_ns = round(duration_s * NS)
        # whoever came in one moment with the request after the last still belongs to the window
        due_ns = np.minimum(np.rint(due * NS).astype(np.int64), duration_ns - 1)
        prompts, outputs = self._lengths(trace, rows)
        return Replayed(
            due_ns=due_ns,
            duration_ns=duration_ns,
            prompt_tokens=prompts,
            output_tokens=outputs,
            blocks=[trace.blocks[row] for row in rows.tolist()]
            if trace.blocks is not None and self.prefixes
            else None,
            time_scale=scale,
            clipped=int(clipped[rows].sum()),
            skipped=int(np.count_nonzero(skipped[rows[0] : rows[-1] + 1])) if len(rows) else 0,
            thinned=thinned,
            unsorted=trace.unsorted,
        )

    def _rows(self) -> tuple[traces.Trace, IntArray, np.ndarray, np.ndarray]:
        """The trace; its rows from `start_s` on that are used; which are to be clipped, skipped."""
        trace = traces.read_trace(Path(self.file), None if self.format == "auto" else self.format)
        prompt, output = trace.prompt_tokens, trace.output_tokens
        empty = (prompt < 1) | (output < 1)
        nothing = np.zeros(len(trace), dtype=bool)
        clipped = skipped = nothing
        if self.clip_to is not None:
            clipped = empty | (prompt + output > self.clip_to)
        elif self.skip_above is not None:
            skipped = empty | (prompt + output > self.skip_above)
        later = trace.times_s >= self.start_s
        if not later.any():
            raise ProfileError(
                "arrival.start_s",
                f"{self.start_s:g} lies behind the end of {self.file}, which is "
                f"{trace.times_s[-1]:g} s long",
            )
        if (empty & later).any() and self.clip_to is None and self.skip_above is None:
            raise ProfileError(
                "arrival.file",
                f"{int((empty & later).sum())} requests of {self.file} have no prompt or no "
                "answer (failed ones, mostly); leave them out with skip_above, or make them 1 "
                "token long with clip_to",
            )
        return trace, np.flatnonzero(later & ~skipped), clipped, skipped

    def _end_s(self, trace: traces.Trace, rows: IntArray, count: int) -> float:
        """Where the request after the first `count` came; or would, at their mean gap."""
        times = trace.times_s[rows]
        if len(times) > count:
            end_s = float(times[count])
        else:
            end_s = float(times[-1] + (times[-1] - self.start_s) / max(count - 1, 1))
        if end_s <= self.start_s:
            raise ProfileError(
                "arrival.file",
                f"the first {count} requests of {self.file} from start_s = {self.start_s:g} on "
                "came in one moment, so their time cannot be stretched; ask for more of them",
            )
        return end_s

    def _within(self, trace: traces.Trace, rows: IntArray, duration_s: float) -> IntArray:
        assert self.time_scale is not None  # noqa: S101 - the caller asked
        end_s = self.start_s + duration_s * self.time_scale
        if end_s > trace.times_s[-1] * (1 + 1e-9) + self.time_scale:
            raise ProfileError(
                "duration_s",
                f"{duration_s:g} s at time_scale = {self.time_scale:g} from start_s = "
                f"{self.start_s:g} on end behind {self.file}, which is {trace.times_s[-1]:g} s "
                f"long; at most {(trace.times_s[-1] - self.start_s) / self.time_scale:g} s",
            )
        within: IntArray = rows[trace.times_s[rows] < end_s]
        return within

    def _thin(
        self, rows: IntArray, rate: float, duration_s: float, rng: np.random.Generator
    ) -> IntArray:
        own = len(rows) / duration_s
        if rate > own * (1 + _SAME_RATE):
            raise ProfileError(
                "rate",
                f"{rate:g} is more than {self.file} has: {own:.4g} requests/s at time_scale = "
                f"{self.time_scale:g}; lower it, raise time_scale, or leave time_scale out",
            )
        if rate > own * (1 - _SAME_RATE):
            return rows
        return rows[rng.random(len(rows)) < rate / own]

    def _lengths(self, trace: traces.Trace, rows: IntArray) -> tuple[IntArray, IntArray]:
        prompts, outputs = trace.prompt_tokens[rows], trace.output_tokens[rows]
        if self.clip_to is not None:
            outputs = np.clip(outputs, 1, self.clip_to - 1)
            prompts = np.clip(prompts, 1, self.clip_to - outputs)
        return prompts, outputs


ARRIVAL: type[Arrival] = Trace
