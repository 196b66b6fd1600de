from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import ValidationError

from loadprofiles.errors import ProfileError
from loadprofiles.profile import Profile
from loadprofiles.prompts.pairs import draw_lengths, longest_of
from tests.loadprofiles.test_plan import STEADY, TARGET, make

if TYPE_CHECKING:
    from pathlib import Path

PAIRS = [(10, 500), (20, 400), (30, 300), (40, 200), (5000, 1)]
"""The longer the prompt, the shorter the answer."""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    rows = [f"{second},{prompt},{output}" for second, (prompt, output) in enumerate(PAIRS)]
    path.write_text("\n".join(["timestamp,prompt_tokens,output_tokens", *rows]) + "\n")
    return path


def shape(**fields: object) -> Profile:
    return Profile.model_validate(STEADY.model_dump() | fields)


def from_file(path: Path, **bounds: int) -> dict[str, Any]:
    return {"kind": "empirical", "file": str(path), **bounds}


def test_prompts_and_answers_of_one_file_come_in_pairs(trace: Path) -> None:
    profile = shape(prompt_tokens=from_file(trace), output_tokens=from_file(trace))
    drawn = draw_lengths(profile, 5000, np.random.default_rng(1))
    assert drawn.prompt_tokens is not None
    assert drawn.output_tokens is not None
    pairs = list(zip(drawn.prompt_tokens.tolist(), drawn.output_tokens.tolist(), strict=True))
    assert set(pairs) == set(PAIRS)
    counts = np.array([pairs.count(pair) for pair in PAIRS])
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 18.5  # chi-square, 4 df, 0.1 %
    again = draw_lengths(profile, 5000, np.random.default_rng(1))
    assert again.prompt_tokens is not None
    assert np.array_equal(drawn.prompt_tokens, again.prompt_tokens)


def test_bounds_leave_whole_requests_out(trace: Path) -> None:
    profile = shape(
        prompt_tokens=from_file(trace, high=4000), output_tokens=from_file(trace, low=250)
    )
    drawn = draw_lengths(profile, 500, np.random.default_rng(1))
    assert drawn.prompt_tokens is not None
    assert set(drawn.prompt_tokens.tolist()) == {10, 20, 30}
    assert longest_of(profile, "prompt_tokens") == 40
    nothing = shape(prompt_tokens=from_file(trace, low=50, high=60))
    with pytest.raises(ProfileError, match=r"no request within low = 50 … high = 60"):
        draw_lengths(nothing, 5, np.random.default_rng(1))


def test_one_column_goes_with_any_other_length(trace: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("timestamp,prompt_tokens,output_tokens\n0,7,8\n1,9,10\n")
    one = draw_lengths(shape(output_tokens=from_file(trace)), 9, np.random.default_rng(1))
    assert one.prompt_tokens is None
    assert one.output_tokens is not None
    both = shape(prompt_tokens=from_file(trace), output_tokens=from_file(other))
    drawn = draw_lengths(both, 400, np.random.default_rng(1))
    assert drawn.prompt_tokens is not None
    assert drawn.output_tokens is not None
    pairs = set(zip(drawn.prompt_tokens.tolist(), drawn.output_tokens.tolist(), strict=True))
    assert len(pairs) == 10, "all combinations"


def test_a_plan_has_the_files_lengths(trace: Path, tmp_path: Path) -> None:
    bounds = {"high": 100}
    profile = shape(
        prompt_tokens=from_file(trace, **bounds), output_tokens=from_file(trace)
    ).beside(tmp_path)
    plan = make(tmp_path / "cell", profile=profile)
    planned = set(zip(plan.prompt_tokens, plan.output_tokens, strict=True))
    assert planned <= set(PAIRS[:-1])
    assert len(planned) == 4
    with pytest.raises(ProfileError, match=r"40 prompt_tokens \+ 500 output_tokens = 540"):
        make(
            tmp_path / "small",
            profile=profile,
            target=dataclasses.replace(TARGET, max_model_len=539),
        )


def test_relative_files_begin_at_the_profile(trace: Path) -> None:
    profile = shape(prompt_tokens={"kind": "empirical", "file": trace.name}).beside(trace.parent)
    assert draw_lengths(profile, 3, np.random.default_rng(1)).prompt_tokens is not None
    assert Profile.model_validate_json(profile.model_dump_json()) == profile


def test_a_file_that_is_not_there_is_told_with_its_field(tmp_path: Path) -> None:
    profile = shape(output_tokens=from_file(tmp_path / "none.csv"))
    with pytest.raises(ProfileError, match=r"output_tokens: .*none\.csv: no such file") as caught:
        longest_of(profile, "output_tokens")
    assert caught.value.field == "output_tokens"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt_tokens": {"kind": "empirical", "file": ""}}, "prompt_tokens.empirical file.file"),
        ({"session": {"turns": 2, "user_tokens": {"kind": "trace"}}}, "drawn on the spot"),
        ({"session": {"turns": {"kind": "dataset"}, "user_tokens": 5}}, "drawn on the spot"),
        ({"shared_prefix": {"tokens": from_file("x")}}, "drawn on the spot"),  # type: ignore[arg-type]
        (
            {
                "dataset": {"file": "x"},
                "prompt_tokens": {"kind": "dataset"},
                "output_tokens": {"kind": "empirical", "file": "x"},
            },
            "answers to a dataset's prompts",
        ),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        shape(**fields)


def test_sessions_are_as_many_requests_as_they_have_turns() -> None:
    talking = shape(duration_s=100, session={"turns": 200, "user_tokens": 5})
    talking.check_level(100)
    with pytest.raises(ProfileError, match=r"101 sessions/s for 100 s are 2\.02e\+06 requests"):
        talking.check_level(101)
