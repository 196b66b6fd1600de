from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from loadprofiles.arrivals.bursty import Bursty
from loadprofiles.arrivals.closed import Closed
from loadprofiles.arrivals.gamma import Gamma
from loadprofiles.arrivals.trace import Trace
from loadprofiles.errors import ProfileError
from loadprofiles.profile import MAX_STREAMS, Overrides, Profile, builtin_profiles
from loadprofiles.prompts.lengths import longest
from loadprofiles.traffic.schedule import NS, schedule_requests

STEADY: dict[str, Any] = {
    "name": "mine",
    "arrival": {"kind": "poisson"},
    "levels": [10],
    "prompt_tokens": 128,
    "output_tokens": {"kind": "uniform", "low": 16, "high": 96},
    "duration_s": 30,
}
CLOSED = STEADY | {"arrival": {"kind": "closed"}, "levels": [1, 8]}
BURSTS = {"kind": "bursty", "burst_factor": 6, "burst_s": 2, "burst_every_s": 10}
BURSTY = STEADY | {"arrival": BURSTS}
RAMP = {"kind": "ramp", "from_factor": 0.2, "to_factor": 1.8}


def shipped(name: str) -> Profile:
    return Profile.model_validate(tomllib.loads(builtin_profiles()[name].read_text()))


def test_the_shipped_profiles_are_these() -> None:
    assert builtin_profiles().keys() >= {
        *("batch1", "bursty", "chat-sessions", "closed", "closed-think", "constant", "diurnal"),
        *("gamma", "multi-tenant", "ramp", "spike", "steady", "steps"),
    }


@pytest.mark.parametrize("name", builtin_profiles())
def test_a_shipped_profile_is_whole(name: str) -> None:
    profile = shipped(name)
    assert profile.name == name
    assert profile.description
    assert profile.warmup_requests >= 5
    assert longest(profile.prompt_tokens) + longest(profile.output_tokens) <= 2048
    assert not isinstance(profile.output_tokens, int)  # else closed streams march in step
    for level in profile.levels:
        profile.check_level(level)


def test_prompts_are_unique_unless_something_makes_them_begin_alike() -> None:
    assert shipped("steady").prompts_unique
    assert shipped("closed").prompts_unique
    assert not shipped("multi-tenant").prompts_unique  # shared prefixes
    assert not shipped("chat-sessions").prompts_unique  # later turns quote earlier ones


@pytest.mark.parametrize("name", builtin_profiles())
def test_a_shipped_profile_explains_every_field_to_a_newcomer(name: str) -> None:
    text = builtin_profiles()[name].read_text()
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    for before, line in itertools.pairwise(lines):
        starts_a_paragraph = before == "" and line and not line.startswith("#")
        assert not starts_a_paragraph, f"{name}: {line} has no comment"


@pytest.mark.parametrize("name", builtin_profiles())
def test_a_profile_survives_the_manifest(name: str) -> None:
    profile = shipped(name)
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
    assert Profile.model_validate(profile.model_dump()) == profile


def test_levels_of_the_closed_profiles() -> None:
    assert shipped("closed").levels == (1, 8, 32, 64)
    assert shipped("batch1").levels == (1,)
    closed = {name for name in builtin_profiles() if shipped(name).is_closed}
    assert closed == {"closed", "closed-think", "batch1"}


def test_the_shipped_trace_is_replayed_as_recorded_or_at_a_rate() -> None:
    path = builtin_profiles()["replay"]
    profile = shipped("replay").beside(path.parent)
    assert isinstance(profile.arrival, Trace)
    assert Path(profile.arrival.file) == path.parent / "synthetic-trace.csv"
    assert profile.own_levels(as_recorded=False) == profile.levels == (10,)
    recorded = profile.with_overrides(Overrides(time_scale=1))
    (own,) = recorded.own_levels(as_recorded=True)
    assert own == pytest.approx(1.5, rel=0.5)
    other = profile.with_overrides(Overrides(trace="/x.csv", skip_above=2048)).arrival
    assert other == Trace(kind="trace", file="/x.csv", skip_above=2048)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (Overrides(trace="t.csv"), "^file: the profile mine has poisson arrivals"),
        (Overrides(clip_to=9), "replays no trace; use one that does"),
    ],
)
def test_what_goes_with_a_trace_needs_one(overrides: Overrides, message: str) -> None:
    with pytest.raises(ProfileError, match=message):
        Profile.model_validate(STEADY).with_overrides(overrides)
    with pytest.raises(ValidationError, match="takes the lengths of a trace, and there is none"):
        Profile.model_validate(STEADY | {"output_tokens": {"kind": "trace"}})


def test_clipping_and_skipping_exclude_each_other() -> None:
    profile = shipped("replay")
    with pytest.raises(ProfileError, match="exclude each other"):
        profile.with_overrides(Overrides(clip_to=9, skip_above=9))
    clipped = profile.with_overrides(Overrides(clip_to=9))
    skipped = clipped.with_overrides(Overrides(skip_above=9)).arrival
    assert isinstance(skipped, Trace)
    assert (skipped.clip_to, skipped.skip_above) == (None, 9)


def test_the_command_line_may_make_poisson_arrivals_burstier() -> None:
    steady = Profile.model_validate(STEADY)
    gamma = steady.with_overrides(Overrides(burstiness=0.5))
    assert gamma.arrival == Gamma(kind="gamma", burstiness=0.5)
    assert gamma.with_overrides(Overrides(burstiness=2)).arrival == Gamma(
        kind="gamma", burstiness=2
    )
    with pytest.raises(ProfileError, match=r"0\.01"):
        steady.with_overrides(Overrides(burstiness=0))
    with pytest.raises(ProfileError, match="poisson or gamma arrivals"):
        Profile.model_validate(BURSTY).with_overrides(Overrides(burstiness=2))


SPIKE = {"kind": "spike", "spike_factor": 8, "spike_s": 3, "spike_at_s": 8}


def test_a_window_must_hold_the_spike() -> None:
    with pytest.raises(ValidationError, match="before the spike does; make it at least 11, or"):
        Profile.model_validate(STEADY | {"arrival": SPIKE, "duration_s": 10})
    whole = Profile.model_validate(STEADY | {"arrival": SPIKE, "duration_s": 11})
    by_requests = whole.with_overrides(Overrides(requests=100))
    by_requests.check_level(5)
    with pytest.raises(ProfileError, match="may end before the spike does; ask for at least"):
        by_requests.check_level(50)


@pytest.mark.parametrize(
    "arrival",
    [
        SPIKE,
        {"kind": "steps", "factors": [0.5, 1.5]},
        {"kind": "diurnal", "peak_to_trough": 2},
    ],
)
def test_a_schedule_that_changes_is_not_cut_short(arrival: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"cut the \w+ schedule short"):
        Profile.model_validate(STEADY | {"arrival": arrival, "requests": 10})


def test_the_command_line_may_say_how_long_users_think() -> None:
    closed = Profile.model_validate(CLOSED)
    assert closed.with_overrides(Overrides(think_s=2)).arrival == Closed(kind="closed", think_s=2)
    thoughtful = shipped("closed-think")
    assert thoughtful.with_overrides(Overrides(think_s=0)).arrival == Closed(kind="closed")
    with pytest.raises(ProfileError, match="greater than 0"):
        closed.with_overrides(Overrides(think_s=-1))
    with pytest.raises(ProfileError, match="mine sends at a rate"):
        Profile.model_validate(STEADY).with_overrides(Overrides(think_s=2))


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (STEADY | {"warmups": 3}, "warmups\n  Extra inputs are not permitted"),
        (STEADY | {"arrival": {"kind": "posson"}}, "'posson' found using 'kind'"),
        (STEADY | {"levels": []}, "levels\n  Tuple should have at least 1 item"),
        (STEADY | {"levels": [0]}, "levels.0\n  Input should be greater than 0"),
        (STEADY | {"levels": [5, 5]}, "5 is there twice; leave one out"),
        (STEADY | {"duration_s": 0}, "duration_s\n  Input should be greater than 0"),
        (STEADY | {"duration_s": 1e6}, "duration_s\n  Input should be less than or equal to 86400"),
        (
            STEADY | {"duration_s": None},
            "duration_s or requests must say how long the window is; set one",
        ),
        (STEADY | {"requests": 0}, "requests\n  Input should be greater than 0"),
        (STEADY | {"warmup_requests": -1}, "warmup_requests\n  Input should be greater than"),
        (STEADY | {"timeout_s": 0}, "timeout_s\n  Input should be greater than 0"),
        (STEADY | {"drain_s": -1}, "drain_s\n  Input should be greater than or equal to 0"),
        (STEADY | {"prompt_tokens": "x"}, "whole number of tokens, or a table"),
        (STEADY | {"name": "a/b"}, "name\n  String should match pattern"),
        (CLOSED | {"levels": [2.5]}, "levels: 2.5 is no whole number of streams; write 2"),
        (CLOSED | {"levels": [1e6]}, f"more than one client holds; at most {MAX_STREAMS}"),
        (
            BURSTY | {"duration_s": 5},
            "duration_s: 5 s end before the first burst does; make it at least 6",
        ),
        (
            STEADY | {"arrival": RAMP, "requests": 99},
            "requests: duration_s = 30 and requests = 99 together would cut the ramp schedule",
        ),
        (BURSTY | {"requests": 9999}, "would cut the bursty schedule short"),
    ],
)
def test_an_impossible_profile_is_refused_by_field(profile: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Profile.model_validate(profile)
    assert message in str(caught.value)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        Profile.model_validate(
            STEADY | {"duration_s": -1, "levels": [-1], "prompt_tokens": 0, "what": 1}
        )
    fields = {error["loc"][0] for error in caught.value.errors()}
    assert fields == {"duration_s", "levels", "prompt_tokens", "what"}


@pytest.mark.parametrize(
    ("profile", "level", "message"),
    [
        (STEADY, 0, "rate: 0 must be a number above 0"),
        (STEADY, -3, "rate: -3 must be a number above 0"),
        (STEADY, float("nan"), "rate: nan must be a number above 0"),
        (STEADY, float("inf"), "rate: inf must be a number above 0"),
        (STEADY, 1e6, r"rate: 1e\+06 requests/s for 30 s are 3e\+07 requests; lower it"),
        (CLOSED, 0, "level: 0 must be a number above 0"),
        (CLOSED, 0.4, "level: 0.4 is no whole number of streams; write 1"),
        (CLOSED, 20_000, "level: 20000 streams are more than one client holds"),
        (
            BURSTY | {"duration_s": None, "requests": 20},
            10,
            "requests = 20 may end before the first burst does; ask for at least 84",
        ),
        (
            BURSTY | {"duration_s": None, "requests": 60},  # as likely as not
            10,
            "requests = 60 may end before the first burst does; ask for at least 84",
        ),
    ],
)
def test_an_impossible_level_is_refused(
    profile: dict[str, Any], level: float, message: str
) -> None:
    with pytest.raises(ProfileError, match=message):
        Profile.model_validate(profile).check_level(level)


def test_overrides_replace_what_they_name() -> None:
    profile = Profile.model_validate(STEADY)
    assert profile.with_overrides(Overrides()) == profile
    changed = profile.with_overrides(
        Overrides(warmup=0, prompt_tokens=32, output_tokens=8, timeout_s=5)
    )
    assert changed.warmup_requests == 0
    assert (changed.prompt_tokens, changed.output_tokens) == (32, 8)
    assert changed.timeout_s == 5
    assert changed.duration_s == 30
    assert profile.prompt_tokens == 128


def test_requests_lift_the_time_limit_unless_both_are_given() -> None:
    profile = Profile.model_validate(STEADY)
    assert profile.with_overrides(Overrides(requests=100)).duration_s is None
    by_time = profile.with_overrides(Overrides(requests=100)).with_overrides(
        Overrides(duration_s=7)
    )
    assert (by_time.duration_s, by_time.requests) == (7, None)
    both = profile.with_overrides(Overrides(duration_s=7, requests=100))
    assert (both.duration_s, both.requests) == (7, 100)


@pytest.mark.parametrize(
    ("overrides", "field", "message"),
    [
        (Overrides(duration_s=-1), "duration_s", "duration_s: should be greater than 0, not -1"),
        (Overrides(duration_s=3), "duration_s", "duration_s: 3 s end before the first burst"),
        (Overrides(requests=0), "requests", "requests: should be greater than 0, not 0"),
        (Overrides(duration_s=30, requests=200), "requests", "set one of the two"),
        (Overrides(warmup=-1), "warmup_requests", "should be greater than or equal to 0, not -1"),
        (Overrides(prompt_tokens=0), "prompt_tokens", "should be greater than or equal to 1"),
        (
            Overrides(timeout_s=0, output_tokens=0),
            "output_tokens",
            "; timeout_s: should be greater than 0, not 0",
        ),
    ],
)
def test_impossible_overrides_name_their_field(
    overrides: Overrides, field: str, message: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        Profile.model_validate(BURSTY).with_overrides(overrides)
    assert caught.value.field == field
    assert message in str(caught.value)


def test_the_profile_s_own_levels_do_not_stand_in_the_way_of_overrides() -> None:
    few = Profile.model_validate(BURSTY).with_overrides(Overrides(requests=23))
    few.check_level(2)
    with pytest.raises(ProfileError):
        few.check_level(10)


def test_so_many_requests_reach_the_end_of_a_burst() -> None:
    profile = Profile.model_validate(BURSTY | {"duration_s": None, "requests": 84})
    profile.check_level(10)
    assert isinstance(profile.arrival, Bursty)
    windows = [schedule_requests(profile.arrival, 10, 84, seed)[1] / NS for seed in range(500)]
    held = sum(window >= profile.arrival.least_window_s for window in windows)
    assert held > 490
