"""A profile: the shape of the traffic, as one TOML file says it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from loadprofiles.arrivals import AnyArrival  # noqa: TC001 - pydantic reads it at run time
from loadprofiles.arrivals.closed import Closed
from loadprofiles.arrivals.trace import Trace
from loadprofiles.errors import ProfileError
from loadprofiles.prompts.conversations import Session  # noqa: TC001 - pydantic reads it at run time
from loadprofiles.prompts.datasets import Dataset
from loadprofiles.prompts.lengths import FromDataset, FromFile, FromTrace, Length, longest
from loadprofiles.prompts.prefixes import SharedPrefix  # noqa: TC001 - as Length
from loadprofiles.traffic.schedule import OpenArrival

MAX_STREAMS = 10_000
"""One client process holds no more: file descriptors and ephemeral ports run out."""
MAX_REQUESTS = 2_000_000
"""Per cell. A window that would need more was hardly meant."""

_RECORDED = {"kind": "dataset"}

Seconds = Annotated[float, Field(allow_inf_nan=False, le=86_400)]
Level = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the command line says instead of the profile; None leaves the profile's value.

    `duration_s` or `requests`, where given, replace both of the profile's: asking for 100
    requests lifts the profile's time limit. Given together, whichever comes first ends the window
    (bursts and ramps take one of them only).
    """

    duration_s: float | None = None
    requests: int | None = None
    warmup: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    timeout_s: float | None = None
    think_s: float | None = None
    burstiness: float | None = None
    trace: str | None = None
    time_scale: float | None = None
    clip_to: int | None = None
    skip_above: int | None = None
    dataset: str | None = None
    skip_longer: bool = False


class Profile(BaseModel):
    """One TOML file of `loadprofiles/profiles/`, or a `[profiles.NAME]` table of `harness.toml`.

    The level is the number of open streams of a closed loop; else the mean rate in requests/s
    over the window, whatever the arrivals' shape.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    arrival: AnyArrival
    levels: Annotated[tuple[Level, ...], Field(min_length=1)]
    """Levels that are driven when the command line names none."""
    prompt_tokens: Length
    output_tokens: Length
    shared_prefix: SharedPrefix | None = None
    """Prefixes that requests have in common; None: no two share a word of their beginning."""
    dataset: Dataset | None = None
    """A file with prompts of one's own; None: they are made up. Then `prompt_tokens` and, where it
    is not given, `output_tokens` are the file's."""
    session: Session | None = None
    """Conversations of several turns, each of which `arrival` begins; None: single requests."""
    duration_s: Annotated[Seconds, Field(gt=0)] | None = None
    """Length of the measured window; None: it lasts until `requests` are sent."""
    requests: Annotated[int, Field(gt=0, le=MAX_REQUESTS, strict=True)] | None = None
    """Ends the window after this many measured requests."""
    warmup_requests: Annotated[int, Field(ge=0, le=100_000, strict=True)] = 10
    """Sent and discarded before the window opens."""
    drain_s: Annotated[Seconds, Field(ge=0)] = 30
    """How long to wait for answers after the window (a closed loop of `requests`: after the last
    of them was sent)."""
    timeout_s: Annotated[Seconds, Field(gt=0)] = 60
    """A request without its end after this long has failed."""

    @field_validator("levels")
    @classmethod
    def _levels_differ(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        for level in levels:
            if levels.count(level) > 1:
                raise ValueError(f"{level:g} is there twice; leave one out")
        return levels

    @model_validator(mode="before")
    @classmethod
    def _lengths_of_dataset(cls, fields: object) -> object:
        if isinstance(fields, dict) and fields.get("dataset") is not None:
            return {"prompt_tokens": _RECORDED, "output_tokens": _RECORDED} | fields
        return fields

    @model_validator(mode="after")
    def _prompts_from_one_source(self) -> Self:
        session, made_up = self.session, self.dataset is None
        for field in ("prompt_tokens", "output_tokens"):
            if made_up and isinstance(getattr(self, field), FromDataset):
                raise ValueError(
                    f'{field}: kind = "dataset" takes the lengths of a dataset, and there is '
                    "none; write a length, or name a file in [dataset]"
                )
        if not made_up and not isinstance(self.prompt_tokens, FromDataset):
            raise ValueError(
                "prompt_tokens: the dataset's prompts have the lengths that they have; leave "
                "prompt_tokens out (--prompt-tokens)"
            )
        if not made_up and isinstance(self.output_tokens, FromTrace | FromFile):
            raise ValueError(
                "output_tokens: answers to a dataset's prompts are as long as recorded there, or "
                "as drawn on the spot; leave output_tokens out, or write such a length"
            )
        if not made_up and self.shared_prefix is not None:
            raise ValueError(
                "shared_prefix: a dataset has system messages of its own; leave one of both out"
            )
        if session is not None and made_up and None in (session.turns, session.user_tokens):
            raise ValueError("session: turns and user_tokens must both be given without a dataset")
        if session is not None and not made_up and session.user_tokens is not None:
            raise ValueError("session.user_tokens: the dataset says it; leave user_tokens out")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.duration_s is None and self.requests is None:
            raise ValueError("duration_s or requests must say how long the window is; set one")
        arrival = self.arrival
        both = None not in (self.duration_s, self.requests)
        if isinstance(arrival, OpenArrival) and arrival.whole_window and both:
            raise ValueError(
                f"requests: duration_s = {self.duration_s:g} and requests = {self.requests} "
                f"together would cut the {arrival.kind} schedule short, so that its mean rate "
                "were not the level; set one of the two"
            )
        if isinstance(arrival, OpenArrival) and self.duration_s is not None:
            needed, field = arrival.least_window_s, arrival.point_field
            if self.duration_s < needed:
                raise ValueError(
                    f"duration_s: {self.duration_s:g} s end before {arrival.point} does; make it "
                    f"at least {needed:g}, or lower {field} = {getattr(arrival, field):g}"
                )
        for field in ("prompt_tokens", "output_tokens"):
            from_trace = isinstance(getattr(self, field), FromTrace)
            if from_trace and arrival.kind != "trace":
                raise ValueError(
                    f'{field}: kind = "trace" takes the lengths of a trace, and there is none: '
                    f'arrival.kind is "{arrival.kind}"; write a length'
                )
        for level in self.levels:
            problem = self._stream_problem(level)
            if problem:
                raise ValueError(f"levels: {problem}")
        return self

    @property
    def is_closed(self) -> bool:
        """Whether the level is a number of streams, and not a rate."""
        return isinstance(self.arrival, Closed)

    @property
    def prompts_unique(self) -> bool:
        """Whether no two prompts begin alike; those of a trace may, as they did in it."""
        recorded = self.dataset is not None or isinstance(self.prompt_tokens, FromTrace)
        return not recorded and self.session is None and self.shared_prefix is None

    def check_level(self, level: float) -> None:
        """Refuse a level that this profile, with its window, cannot be driven at.

        Raises:
            ProfileError: with the reason and the fix.
        """
        if math.isfinite(level) and level > 0:
            problem = (
                self._stream_problem(level)
                or self._rate_problem(level)
                or self._point_problem(level)
            )
        else:
            problem = f"{level:g} must be a number above 0"
        if problem:
            raise ProfileError("level" if self.is_closed else "rate", problem)

    def with_overrides(self, overrides: Overrides) -> Profile:
        """Return this profile with the command line's values, validated again.

        Raises:
            ProfileError: with all that is wrong.
        """
        changes: dict[str, object] = {
            "warmup_requests": overrides.warmup,
            "prompt_tokens": overrides.prompt_tokens,
            "output_tokens": overrides.output_tokens,
            "timeout_s": overrides.timeout_s,
        }
        changes = {field: value for field, value in changes.items() if value is not None}
        changes |= self._other_arrival(overrides) | self._other_prompts(overrides)
        if overrides.duration_s is not None or overrides.requests is not None:
            changes |= {"duration_s": overrides.duration_s, "requests": overrides.requests}
        try:
            return Profile.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            raise _profile_error(error) from error

    def _other_arrival(self, overrides: Overrides) -> dict[str, object]:
        """The arrival that the command line changes, where it does."""
        kind = self.arrival.kind
        if overrides.think_s is not None:
            if not self.is_closed:
                raise ProfileError(
                    "think",
                    f"the profile {self.name} sends at a rate, and its users never wait "
                    "for an answer; use a closed one",
                )
            return {"arrival": {"kind": "closed", "think_s": overrides.think_s or None}}
        if overrides.burstiness is not None:
            if kind not in ("poisson", "gamma"):
                raise ProfileError(
                    "burstiness",
                    f"the profile {self.name} has {kind} arrivals, which it does not go with; use "
                    "one with poisson or gamma arrivals",
                )
            return {"arrival": {"kind": "gamma", "burstiness": overrides.burstiness}}
        changes = {
            "file": overrides.trace,
            "time_scale": overrides.time_scale,
            "clip_to": overrides.clip_to,
            "skip_above": overrides.skip_above if isinstance(self.arrival, Trace) else None,
        }
        changes = {field: value for field, value in changes.items() if value is not None}
        if not changes:
            return {}
        if not isinstance(self.arrival, Trace):
            raise ProfileError(
                next(iter(changes)),
                f"the profile {self.name} has {kind} arrivals and replays no trace; use one that "
                "does, such as replay",
            )
        before = self.arrival.model_dump()
        if overrides.trace is not None:
            before |= {"format": "auto"}
        if {"clip_to", "skip_above"} & changes.keys():
            before |= {"clip_to": None, "skip_above": None}
        return {"arrival": before | changes}

    def _other_prompts(self, overrides: Overrides) -> dict[str, object]:
        """The dataset that the command line names, and what it takes the place of."""
        skips = {"skip_longer": overrides.skip_longer or None, "skip_above": overrides.skip_above}
        skips = {field: value for field, value in skips.items() if value is not None}
        if overrides.dataset is None and self.dataset is None:
            if skips.keys() - ({"skip_above"} if isinstance(self.arrival, Trace) else set()):
                raise ProfileError(
                    next(iter(skips)),
                    "there is nothing that could be too long; name a dataset with --dataset"
                    + ("" if "skip_longer" in skips else ", or a profile that replays a trace"),
                )
            return {}
        if overrides.dataset is None:
            assert self.dataset is not None  # noqa: S101 - just seen
            return {"dataset": self.dataset.model_dump() | skips} if skips else {}
        changes: dict[str, object] = {"dataset": {"file": overrides.dataset, **skips}}
        for field in ("prompt_tokens", "output_tokens"):
            if getattr(overrides, field) is None:
                changes[field] = _RECORDED
        if self.session is not None:
            changes["session"] = self.session.model_dump() | {"user_tokens": None}
        return changes

    def beside(self, folder: Path) -> Profile:
        """Return this profile, the files that it names looked for in `folder`."""
        named = {
            field: getattr(self, field)
            for field in ("arrival", "dataset", "prompt_tokens", "output_tokens")
        }
        return self.model_copy(
            update={
                field: table.model_copy(update={"file": str(folder / table.file)})
                for field, table in named.items()
                if isinstance(table, Trace | Dataset | FromFile)
            }
        )

    def own_levels(self, *, as_recorded: bool) -> tuple[float, ...]:
        """The levels that are driven when nobody names any.

        A trace `as_recorded`, at its `time_scale`, has the one rate that it has.

        Raises:
            ProfileError: the trace cannot be read.
        """
        if as_recorded and isinstance(self.arrival, Trace):
            if self.duration_s is None:
                raise ProfileError("requests", "a time_scale needs a window in seconds; give one")
            return (self.arrival.own_rate(self.duration_s),)
        return self.levels

    def _stream_problem(self, level: float) -> str | None:
        if not self.is_closed:
            return None
        if level != int(level):
            return f"{level:g} is no whole number of streams; write {max(1, round(level))}"
        if level > MAX_STREAMS:
            return f"{level:g} streams are more than one client holds; at most {MAX_STREAMS}"
        return None

    def _rate_problem(self, level: float) -> str | None:
        if self.is_closed or self.duration_s is None:
            return None
        turns, unit = 1, "requests/s"
        if self.session is not None and self.session.turns is not None:
            turns, unit = longest(self.session.turns), "sessions/s"
        expected = level * self.duration_s * turns
        if expected <= MAX_REQUESTS:
            return None
        return (
            f"{level:g} {unit} for {self.duration_s:g} s are {expected:.3g} requests; "
            f"lower it or duration_s (at most {MAX_REQUESTS} requests a cell)"
        )

    def _point_problem(self, level: float) -> str | None:
        """By number of requests: are there enough of them to hold a whole burst?

        A window that ends with its first burst expects level × length of them, like any; how long
        a window so many make is random, hence the margin of three standard deviations.
        """
        if not isinstance(self.arrival, OpenArrival) or self.requests is None:
            return None
        expected = level * self.arrival.least_window_s
        needed = math.ceil(expected + 3 * math.sqrt(expected))
        if self.requests >= needed:
            return None
        return (
            f"at {level:g} requests/s, requests = {self.requests} may end before "
            f"{self.arrival.point} does; ask for at least {needed}"
        )


def builtin_profiles() -> dict[str, Path]:
    """The profiles shipped with the package: name → TOML file, sorted by name."""
    folder = Path(__file__).parent / "profiles"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def _profile_error(error: ValidationError) -> ProfileError:
    problems = []
    for item in error.errors(include_url=False):
        text = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if text.startswith("should"):
            text += f", not {item['input']!r}"
        # a validator of the whole profile names the field itself
        problems.append(f"{_place(item['loc'])}: {text}" if item["loc"] else text)
    field, _, text = problems[0].partition(": ")
    return ProfileError(field, "; ".join([text, *problems[1:]]))


def _place(location: tuple[int | str, ...]) -> str:
    """The field: of a table that has kinds (`arrival`, its kind, the field) the one within."""
    kinds = len(location) > 2 and location[0] == "arrival"  # noqa: PLR2004
    return f"{location[0]}.{location[2]}" if kinds else str(location[0])
