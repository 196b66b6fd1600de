"""Plans whose prompts are a user's own."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from loadprofiles import plan as plan_module
from loadprofiles.errors import ProfileError
from loadprofiles.profile import Overrides, Profile
from loadprofiles.prompts.bodies import answer_mark
from tests.loadprofiles.test_plan import STEADY, TARGET, bodies, make, prompts

if TYPE_CHECKING:
    from pathlib import Path

    from loadprofiles.records import DrivePlan


def talk(number: int, turns: int, *, words: int = 6) -> dict[str, Any]:
    """A conversation of that many turns; its answers have 3, 6, 9 … words."""
    said: list[dict[str, str]] = []
    for turn in range(turns):
        text = f"question {number}.{turn} " + "word " * (words - 2)
        said += [
            {"from": "human", "value": text.strip()},
            {"from": "gpt", "value": "answer " * 3 * (turn + 1)},
        ]
    return {"id": str(number), "conversations": said}


def write(folder: Path, entries: list[dict[str, Any]]) -> Path:
    path = folder / "talks.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def shape(path: Path, **fields: object) -> Profile:
    base = STEADY.model_dump(exclude={"prompt_tokens", "output_tokens"})
    return Profile.model_validate(base | {"dataset": {"file": str(path)}} | fields)


def measured(folder: Path, plan: DrivePlan) -> list[str]:
    return prompts(folder)[plan.warmup :]


def test_first_turns_in_a_drawn_order_with_their_recorded_lengths(tmp_path: Path) -> None:
    path = write(tmp_path, [talk(number, 1 + number % 3) for number in range(200)])
    plan = make(tmp_path / "a", profile=shape(path), level=10)
    texts = measured(tmp_path / "a", plan)
    assert len(set(texts)) == len(texts) > 20
    assert all(text.startswith("question ") and ".0 " in text for text in texts)
    numbers = [int(text.split()[1].split(".")[0]) for text in texts]
    assert numbers != sorted(numbers)
    assert set(plan.output_tokens) == {4}  # three words
    assert set(plan.prompt_tokens) == {8}  # six words
    assert plan.dataset is not None
    assert (plan.dataset.entries, plan.dataset.used) == (200, len(texts))
    assert (plan.dataset.again, plan.dataset.longer, plan.dataset.silent) == (0, 0, 0)
    assert not set(prompts(tmp_path / "a")[: plan.warmup]) & set(texts)
    again = make(tmp_path / "b", profile=shape(path), level=10)
    assert measured(tmp_path / "b", again) == texts
    other = make(tmp_path / "c", profile=shape(path), level=10, seed=8)
    assert measured(tmp_path / "c", other)[:20] != texts[:20]


def test_what_is_left_is_sent_again_only_at_the_end(tmp_path: Path) -> None:
    path = write(tmp_path, [talk(number, 1) for number in range(20)])
    plan = make(tmp_path / "a", profile=shape(path), level=10)
    texts = measured(tmp_path / "a", plan)
    assert len(set(texts[:20])) == 20
    assert texts[20:40] == texts[: len(texts) - 20][:20]
    assert plan.dataset is not None
    assert plan.dataset.again == len(texts) - 20


def test_a_closed_loop_has_no_more_bodies_than_there_are_prompts(tmp_path: Path) -> None:
    path = write(tmp_path, [talk(number, 2) for number in range(20)])
    closed = shape(path, arrival={"kind": "closed"}, levels=[2])
    plan = make(tmp_path / "a", profile=closed, level=2)
    assert len(set(measured(tmp_path / "a", plan))) == 20
    assert plan.dataset is not None
    assert plan.dataset.again == 0


def test_all_turns_with_the_servers_own_answers(tmp_path: Path) -> None:
    path = write(tmp_path, [talk(number, 1 + number % 3) for number in range(200)])
    profile = shape(path, session={"think_s": 2})
    plan = make(tmp_path / "a", profile=profile, dialect="openai-chat")
    assert plan.due_ns is not None
    assert plan.after is not None
    assert plan.think_ns is not None
    sessions = len(plan.due_ns)
    assert plan.after[:sessions] == [-1] * sessions
    lines = [body["messages"] for body in bodies(tmp_path / "a")[plan.warmup :]]
    turn = [0] * len(lines)
    for position, before in enumerate(plan.after[sessions:], sessions):
        turn[position] = turn[before] + 1
        assert lines[position][:-2] == lines[before]
        assert lines[position][-2]["content"] == answer_mark(turn[before])
        number = lines[position][0]["content"].split()[1].split(".")[0]
        assert lines[position][-1]["content"].startswith(f"question {number}.{turn[position]} ")
        assert plan.think_ns[position] == 2_000_000_000
    output = plan.output_tokens[plan.warmup :]
    assert [output[position] for position in range(len(lines))] == [4 * (n + 1) for n in turn]
    assert set(turn) == {0, 1, 2}
    two = shape(path, session={"turns": 2})
    plan = make(tmp_path / "b", profile=two, dialect="openai-chat")
    assert max(len(body["messages"]) for body in bodies(tmp_path / "b")) == 3


def test_closed_sessions_are_enough_for_all_requests(tmp_path: Path) -> None:
    path = write(tmp_path, [talk(number, 1 + number % 3) for number in range(200)])
    profile = shape(
        path, arrival={"kind": "closed"}, levels=[3], session={}, requests=50, duration_s=None
    )
    plan = make(tmp_path / "a", profile=profile, level=3)
    assert plan.after is not None
    assert 50 <= len(plan.after) <= 50 + 4 * 3
    assert plan.dataset is not None
    assert plan.dataset.used == plan.after.count(-1)


def test_lengths_of_answers_may_be_others(tmp_path: Path) -> None:
    entries = [{"prompt": f"say {number}", "output_tokens": 5 + number % 2} for number in range(99)]
    path = write(tmp_path, entries)
    assert set(make(tmp_path / "a", profile=shape(path)).output_tokens) == {5, 6}
    fixed = shape(path, output_tokens=33)
    assert set(make(tmp_path / "b", profile=fixed).output_tokens) == {33}
    path = write(tmp_path, [{"prompt": f"say {number}"} for number in range(99)])
    with pytest.raises(ProfileError, match=r'how long the answer to "say \d+" is to be; set'):
        make(tmp_path / "c", profile=shape(path))
    assert not list((tmp_path / "c").iterdir())
    make(tmp_path / "c", profile=fixed)


def test_what_is_too_long_for_the_model_is_an_error_or_left_out(tmp_path: Path) -> None:
    entries = [talk(number, 1, words=600 if number % 4 == 0 else 6) for number in range(400)]
    path = write(tmp_path, entries)
    small = dataclasses.replace(TARGET, max_model_len=500)
    with pytest.raises(
        ProfileError,
        match=r"\d+ of \d+ conversations .* 500 tokens .* the longest 804: .*--skip-longer",
    ) as caught:
        make(tmp_path / "a", profile=shape(path), target=small)
    assert caught.value.field == "dataset"
    assert not list((tmp_path / "a").iterdir())
    skipping = shape(path).with_overrides(Overrides(skip_longer=True))
    plan = make(tmp_path / "b", profile=skipping, target=small)
    assert max(plan.prompt_tokens) == 8
    assert plan.dataset is not None
    assert plan.dataset.longer > 3
    assert plan.dataset.again == 0
    limited = shape(path).with_overrides(Overrides(skip_above=500))
    assert make(tmp_path / "d", profile=limited, target=small).prompt_tokens == plan.prompt_tokens
    assert make(tmp_path / "e", profile=limited).prompt_tokens == plan.prompt_tokens
    with pytest.raises(ProfileError, match="longer than the model's 500 tokens"):
        make(
            tmp_path / "f",
            profile=shape(path).with_overrides(Overrides(skip_above=804)),
            target=small,
        )
    with pytest.raises(
        ProfileError, match=r"not one conversation of .* fits skip_above = 5; raise"
    ):
        make(tmp_path / "g", profile=shape(path).with_overrides(Overrides(skip_above=5)))
    tiny = dataclasses.replace(TARGET, max_model_len=5)
    with pytest.raises(ProfileError, match=r"not one conversation of .* fits the model's 5"):
        make(tmp_path / "c", profile=skipping, target=tiny)


def test_a_systems_message_goes_along(tmp_path: Path) -> None:
    entries = [
        {
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": f"say {number}"},
                {"role": "assistant", "content": "no"},
            ]
        }
        for number in range(99)
    ]
    path = write(tmp_path, entries)
    plan = make(tmp_path / "a", profile=shape(path), dialect="openai-chat")
    for body, tokens in zip(bodies(tmp_path / "a"), plan.prompt_tokens, strict=True):
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        assert tokens == 3 + 3


def test_the_command_line_puts_a_dataset_in_place_of_made_up_prompts(tmp_path: Path) -> None:
    path = write(tmp_path, [talk(number, 2) for number in range(50)])
    profile = STEADY.with_overrides(Overrides(dataset=str(path), skip_longer=True))
    assert profile.dataset is not None
    assert profile.dataset.skip_longer
    assert make(tmp_path / "a", profile=profile).dataset is not None
    assert STEADY.with_overrides(Overrides(dataset=str(path), output_tokens=5)).output_tokens == 5
    session = {"session": {"turns": 2, "user_tokens": 5}}
    talking = Profile.model_validate(STEADY.model_dump() | session)
    other = talking.with_overrides(Overrides(dataset=str(path))).session
    assert other is not None
    assert (other.turns, other.user_tokens) == (2, None)
    with pytest.raises(ProfileError, match="prompt_tokens: the dataset's prompts have"):
        STEADY.with_overrides(Overrides(dataset=str(path), prompt_tokens=5))
    with pytest.raises(ProfileError, match=r"skip_longer: there is nothing .* with --dataset$"):
        STEADY.with_overrides(Overrides(skip_longer=True))
    with pytest.raises(ProfileError, match=r"skip_above: there is nothing .* replays a trace"):
        STEADY.with_overrides(Overrides(skip_above=9))
    limited = STEADY.with_overrides(Overrides(dataset=str(path), skip_above=9))
    assert limited.dataset is not None
    assert (limited.dataset.skip_above, limited.dataset.skip_longer) == (9, False)


def test_relative_files_begin_at_the_profile(tmp_path: Path) -> None:
    assert shape(tmp_path / "x").beside(tmp_path / "y").dataset == shape(tmp_path / "x").dataset
    found = shape("talks.jsonl").beside(tmp_path).dataset  # type: ignore[arg-type]
    assert found is not None
    assert found.file == str(tmp_path / "talks.jsonl")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt_tokens": 5}, "prompt_tokens: the dataset's prompts"),
        ({"shared_prefix": {"tokens": 5}}, "shared_prefix: a dataset has system messages"),
        ({"session": {"user_tokens": 5}}, "session.user_tokens: the dataset says it"),
        ({"dataset": None, "prompt_tokens": {"kind": "dataset"}, "output_tokens": 5}, "there is"),
        ({"dataset": None, "prompt_tokens": 5, "output_tokens": 5, "session": {}}, "must both be"),
        ({"dataset": {"file": "x", "layout": "csv"}}, "layout"),
        ({"dataset": {"file": ""}}, "file"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        shape(tmp_path / "x", **fields)


def test_the_pool_of_sessions_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "POOL_LEAST", 9)
    monkeypatch.setattr(plan_module, "POOL_MOST", 9)
    path = write(tmp_path, [talk(number, 3) for number in range(99)])
    profile = shape(path, arrival={"kind": "closed"}, levels=[2], session={})
    plan = make(tmp_path / "a", profile=profile, level=2)
    assert plan.after is not None
    assert len(plan.after) == 9 + 2 * 3
