"""Levels for which the drivers' file descriptors do not suffice, and the level that is named."""

from __future__ import annotations

import re

import pytest

from loadprofiles import descriptors
from loadprofiles.errors import ProfileError
from loadprofiles.profile import Profile
from loadprofiles.traffic.crowd import check_descriptors

HARD = 256
ROOM = HARD - descriptors.OWN


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (100, HARD))


def profile(kind: str, **changes: object) -> Profile:
    fields = {
        "name": "x", "arrival": {"kind": kind}, "levels": [1], "prompt_tokens": 8,
        "output_tokens": 8, "duration_s": 3.0,
    }  # fmt: skip
    return Profile.model_validate({**fields, **changes})


def refused(asked: Profile, level: float, processes: int = 1) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        check_descriptors(asked, level, 1, 7, processes)
    return caught.value


@pytest.mark.parametrize("processes", [1, 3])
def test_streams(processes: int) -> None:
    most = ROOM * processes
    check_descriptors(profile("closed"), most, 1, 7, processes)
    error = refused(profile("closed"), most + 3, processes)
    assert error.field == "level"
    assert f"take at most {most}, or allow it more (ulimit -Hn {HARD + 3 // processes};" in str(
        error
    )


@pytest.mark.parametrize("kind", ["constant", "poisson"])
def test_arrivals_of_one_second(kind: str) -> None:
    asked = profile(kind)
    error = refused(asked, 2 * ROOM)
    assert error.field == "rate"
    (named,) = re.findall(r"take at most ([0-9.]+),", str(error))
    assert 0.7 * ROOM < float(named) <= ROOM
    check_descriptors(asked, float(named), 1, 7)
    refused(asked, float(named) * 1.2)


def test_a_burst_counts_and_not_the_mean_rate() -> None:
    spike = {"kind": "spike", "spike_factor": 5.0, "spike_at_s": 5.0, "spike_s": 2.0}
    refused(profile("poisson", arrival=spike, duration_s=20.0), ROOM / 3)
    check_descriptors(profile("poisson", duration_s=20.0), ROOM / 3, 1, 7)


def test_a_limit_that_leaves_nothing_names_no_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (32, 32))
    assert "for itself: allow it more" in str(refused(profile("closed"), 1))


def test_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = descriptors.resource.RLIM_INFINITY
    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (1024, unlimited))
    check_descriptors(profile("closed"), 10_000, 1, 7)
