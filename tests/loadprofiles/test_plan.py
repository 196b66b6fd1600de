from __future__ import annotations

import dataclasses
import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from loadprofiles import plan as plan_module
from loadprofiles.errors import ProfileError, TokenizerError, UnknownDialectError
from loadprofiles.plan import POOL_LEAST, POOL_MOST, Target, make_plan
from loadprofiles.profile import Overrides, Profile
from loadprofiles.prompts.bodies import answer_mark
from loadprofiles.records import DrivePlan
from loadprofiles.traffic.schedule import NS

TARGET = Target(
    host="127.0.0.1",
    port=8000,
    path="/v1",
    model="demo",
    headers=("X-Team",),
    pin_output=("ignore_eos", "min_tokens"),
    max_model_len=2048,
)
STEADY = Profile.model_validate({
    "name": "steady",
    "arrival": {"kind": "poisson"},
    "levels": [10],
    "prompt_tokens": {"kind": "uniform", "low": 20, "high": 40},
    "output_tokens": {"kind": "uniform", "low": 16, "high": 96},
    "duration_s": 5,
    "warmup_requests": 3,
})  # fmt: skip
CLOSED = Profile.model_validate(
    STEADY.model_dump() | {"name": "closed", "arrival": {"kind": "closed"}, "levels": [1]}
)


def make(folder: Path, **changes: Any) -> DrivePlan:  # noqa: ANN401 - whatever make_plan takes
    arguments: dict[str, Any] = {
        "profile": STEADY,
        "level": 10,
        "repeat": 1,
        "seed": 7,
        "target": TARGET,
        "dialect": "openai-completions",
    }
    folder.mkdir(parents=True, exist_ok=True)
    return make_plan(folder, **(arguments | changes))


def bodies(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "bodies.jsonl").read_bytes().splitlines()]


def prompts(folder: Path) -> list[str]:
    return [body["prompt"] for body in bodies(folder)]


def test_an_open_plan_lies_in_the_folder_as_returned(tmp_path: Path) -> None:
    plan = make(tmp_path, cpus=[1])
    assert msgspec.json.decode((tmp_path / "plan.json").read_bytes(), type=DrivePlan) == plan
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bodies.jsonl", "plan.json"]
    assert (plan.host, plan.port, plan.path) == ("127.0.0.1", 8000, "/v1/completions")
    assert plan.headers == ["X-Team"]
    assert (plan.mode, plan.streams, plan.requests) == ("open", None, None)
    assert plan.duration_ns == 5 * NS
    assert plan.due_ns is not None
    assert plan.due_ns == sorted(plan.due_ns)
    assert 20 < len(plan.due_ns) < 80
    assert plan.cpus == [1]
    assert (plan.warmup, plan.drain_s, plan.timeout_s) == (3, 30, 60)
    assert plan.prompts_exact is False


def test_each_body_asks_for_its_planned_length(tmp_path: Path) -> None:
    plan = make(tmp_path)
    assert plan.due_ns is not None
    written = bodies(tmp_path)
    assert len(written) == plan.warmup + len(plan.due_ns) == len(plan.output_tokens)
    for body, tokens in zip(written, plan.output_tokens, strict=True):
        assert body["model"] == "demo"
        assert body["max_tokens"] == body["min_tokens"] == tokens
        assert body["ignore_eos"] is True
    assert len(set(plan.output_tokens)) > 5
    assert len({body["prompt"] for body in written}) == len(written)


def test_two_builds_get_the_same_prompts_at_the_same_moments(tmp_path: Path) -> None:
    other = dataclasses.replace(TARGET, model="demo-awq", port=9000, pin_output=("ignore_eos",))
    one = make(tmp_path / "fp16")
    two = make(tmp_path / "awq", target=other, dialect="openai-chat")
    assert one.due_ns == two.due_ns
    assert one.output_tokens == two.output_tokens
    asked = [body["messages"][0]["content"] for body in bodies(tmp_path / "awq")]
    assert asked == prompts(tmp_path / "fp16")
    assert two.path == "/v1/chat/completions"


@pytest.mark.parametrize(
    "change",
    [{"level": 11}, {"repeat": 2}, {"seed": 8},
     {"profile": STEADY.model_copy(update={"name": "other"})}],
    ids=["level", "repeat", "seed", "profile"],
)  # fmt: skip
def test_another_cell_has_other_prompts_and_moments(tmp_path: Path, change: dict[str, Any]) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b", **change)
    assert one.due_ns != two.due_ns
    assert not set(prompts(tmp_path / "a")) & set(prompts(tmp_path / "b"))


REPLAY = STEADY.model_dump() | {
    "prompt_tokens": {"kind": "trace"},
    "output_tokens": {"kind": "trace"},
    "duration_s": None,
    "requests": 40,
}


def replaying(folder: Path, **fields: object) -> Profile:
    folder.mkdir(exist_ok=True)
    rows = "".join(f"{n * n},{20 + n},{5 + n % 7}\n" for n in range(50))
    (folder / "t.csv").write_text("timestamp,prompt_tokens,output_tokens\n" + rows)
    arrival = {"kind": "trace", "file": "t.csv"} | fields
    return Profile.model_validate(REPLAY | {"arrival": arrival}).beside(folder)


def test_a_traces_requests_come_in_its_order_with_its_lengths(tmp_path: Path) -> None:
    profile = replaying(tmp_path / "p")
    plan = make(tmp_path / "a", profile=profile)
    assert plan.output_tokens[plan.warmup :] == [5 + n % 7 for n in range(40)]
    assert plan.prompt_tokens[plan.warmup :] == [20 + n for n in range(40)]
    assert set(plan.prompt_tokens[: plan.warmup]) <= {20 + n for n in range(40)}
    assert plan.due_ns is not None
    assert plan.due_ns == pytest.approx([n * n / 1600 * 4 * NS for n in range(40)], abs=1)
    assert plan.replay is not None
    assert plan.replay.time_scale == pytest.approx(1600 / 4)
    other = dataclasses.replace(TARGET, model="awq", max_model_len=4096)
    assert make(tmp_path / "b", profile=profile, target=other).due_ns == plan.due_ns
    short = profile.with_overrides(Overrides(output_tokens=9))
    assert set(make(tmp_path / "c", profile=short).output_tokens) == {9}


def test_a_traces_requests_that_do_not_fit_are_told_at_once(tmp_path: Path) -> None:
    profile = replaying(tmp_path / "p")
    small = dataclasses.replace(TARGET, max_model_len=60)
    with pytest.raises(ProfileError) as caught:
        make(tmp_path / "a", profile=profile, target=small)
    over = sum(20 + n + 5 + n % 7 > 60 for n in range(40))
    assert f"{over} of 40 requests of the trace" in str(caught.value)
    assert "clip_to = 60" in str(caught.value)
    assert not list((tmp_path / "a").iterdir())
    clipped = profile.with_overrides(Overrides(clip_to=60))
    plan = make(tmp_path / "b", profile=clipped, target=small)
    assert plan.replay is not None
    assert plan.replay.clipped == over
    skipped = profile.with_overrides(Overrides(skip_above=60, requests=20))
    plan = make(tmp_path / "c", profile=skipped, target=small)
    assert max(map(sum, zip(plan.prompt_tokens, plan.output_tokens, strict=True))) <= 60


def conversation_trace(folder: Path) -> Profile:
    """Three requests of one conversation, one alone, and one that has a last block in common."""
    rows = (
        (0, 1300, [0, 1, 2]), (1, 1800, [0, 1, 3, 4]), (2, 700, [9, 10]), (3, 1400, [0, 1, 3]),
        (4, 600, [9, 10]), (9, 100, [11]),
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    text = "".join(
        json.dumps(
            {"timestamp": 1000 * at, "input_length": tokens, "output_length": 4, "hash_ids": ids}
        )
        + "\n"
        for at, tokens, ids in rows
    )
    (folder / "t.jsonl").write_text(text)
    arrival = {"kind": "trace", "file": "t.jsonl"}
    fields = REPLAY | {"arrival": arrival, "requests": 5, "warmup_requests": 2}
    return Profile.model_validate(fields).beside(folder)


@pytest.mark.parametrize("exact", [False, True])
def test_prompts_begin_alike_where_those_of_the_trace_did(tmp_path: Path, *, exact: bool) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["a payment of ten dollars was made to the bakery"], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    profile = conversation_trace(tmp_path / "p")
    plan = make(tmp_path / "a", profile=profile, tokenizer=tmp_path if exact else None)
    assert plan.prompt_tokens[plan.warmup :] == [1300, 1800, 700, 1400, 600]
    first, second, third, fourth, fifth = prompts(tmp_path / "a")[plan.warmup :]

    def in_common(one: str, other: str) -> int:
        text = one[: next(n for n, pair in enumerate(zip(one, other, strict=False))
                          if pair[0] != pair[1])]  # fmt: skip
        return len(tokenizer.encode(text).ids) if exact else round(len(text.split()) / 0.75)

    assert in_common(first, second) == pytest.approx(1024, abs=6)  # two whole blocks
    assert in_common(second, fourth) == pytest.approx(1024, abs=6)  # 3 is the last of the fourth
    assert in_common(third, fifth) == pytest.approx(512, abs=6)
    assert in_common(first, third) < 6
    if exact:
        assert plan.prompts_exact
        lengths = [len(tokenizer.encode(text).ids) for text in (first, second, third)]
        assert lengths == [1300, 1800, 700]
    alone = profile.model_copy(
        update={"arrival": profile.arrival.model_copy(update={"prefixes": False})}
    )
    make(tmp_path / "b", profile=alone)
    apart = prompts(tmp_path / "b")[plan.warmup :]
    assert in_common(apart[0], apart[1]) < 6


def test_a_plan_says_when_it_bursts(tmp_path: Path) -> None:
    arrival = {"kind": "bursty", "burst_factor": 6, "burst_s": 0.5, "burst_every_s": 2}
    profile = Profile.model_validate(STEADY.model_dump() | {"arrival": arrival})
    plan = make(tmp_path / "a", profile=profile)
    assert plan.bursts_ns == [
        (750_000_000, 1_250_000_000),
        (2_750_000_000, 3_250_000_000),
        (4_750_000_000, 5_000_000_000),
    ]
    by_requests = make(tmp_path / "b", profile=profile.with_overrides(Overrides(requests=60)))
    assert by_requests.bursts_ns[0] == (750_000_000, 1_250_000_000)
    assert by_requests.bursts_ns[-1][1] <= (by_requests.duration_ns or 0)
    assert make(tmp_path / "c").bursts_ns == []


def test_a_closed_plan_holds_its_users_think_times(tmp_path: Path) -> None:
    think = {"kind": "exponential", "mean": 2}
    profile = Profile.model_validate(
        CLOSED.model_dump() | {"arrival": {"kind": "closed", "think_s": think}}
    )
    one, two = (make(tmp_path / name, profile=profile, level=4) for name in ("a", "b"))
    assert one.think_ns is not None
    assert len(one.think_ns) == len(one.output_tokens) - one.warmup
    assert np.mean(one.think_ns) / NS == pytest.approx(2, rel=0.2)
    assert one.think_ns == two.think_ns
    assert make(tmp_path / "c", profile=profile, level=4, repeat=2).think_ns != one.think_ns
    assert make(tmp_path / "d", profile=CLOSED, level=4).think_ns is None


def test_no_two_cells_gaps_are_the_same_ones_faster_or_slower(tmp_path: Path) -> None:
    """As they would be if a seed did not depend on the level, the repeat and the profile."""
    cells: list[dict[str, Any]] = [
        {}, {"level": 20}, {"repeat": 2}, {"seed": 8},
        {"profile": STEADY.model_copy(update={"name": "other"})},
    ]  # fmt: skip
    relative = []
    for number, cell in enumerate(cells):
        due = make(tmp_path / str(number), **cell).due_ns
        assert due is not None
        gaps = np.diff(due)[:40] * cell.get("level", 10)
        relative.append(gaps / gaps.mean())
    for one in range(len(cells)):
        for other in range(one):
            assert abs(np.corrcoef(relative[one][:25], relative[other][:25])[0, 1]) < 0.8


def test_ten_and_ten_point_nought_are_one_level(tmp_path: Path) -> None:
    assert make(tmp_path / "a", level=10) == make(tmp_path / "b", level=10.0)


def test_the_warm_up_does_not_change_what_is_measured(tmp_path: Path) -> None:
    one = make(tmp_path / "a")
    two = make(tmp_path / "b", profile=STEADY.with_overrides(Overrides(warmup=0)))
    assert two.warmup == 0
    assert one.due_ns == two.due_ns
    assert one.output_tokens[3:] == two.output_tokens
    assert prompts(tmp_path / "a")[3:] == prompts(tmp_path / "b")


def test_a_cell_is_the_same_for_ever(tmp_path: Path) -> None:
    """A change here makes old runs incomparable with new ones: say so in the change log."""
    plan = make(tmp_path)
    assert plan.due_ns is not None
    assert [due // 1000 for due in plan.due_ns[:3]] == [160768, 257676, 348714]
    assert plan.output_tokens[:5] == [50, 69, 69, 75, 51]
    assert [prompt.split(":")[0] for prompt in prompts(tmp_path)[3:5]] == [
        "6779927366",
        "5042846185",
    ]


def test_a_closed_plan_has_more_bodies_than_the_window_needs(tmp_path: Path) -> None:
    plan = make(tmp_path / "few", profile=CLOSED, level=8)
    assert (plan.mode, plan.streams, plan.due_ns) == ("closed", 8, None)
    assert (plan.duration_ns, plan.requests) == (5 * NS, None)
    assert plan.warmup == 8  # each stream finishes one request before the window opens
    assert len(prompts(tmp_path / "few")) == 8 + POOL_LEAST
    assert len(set(prompts(tmp_path / "few"))) == 8 + POOL_LEAST
    many = make(tmp_path / "many", profile=CLOSED, level=64)
    assert len(many.output_tokens) == 64 + 8 * 64 * 5


def test_the_pool_of_a_closed_loop_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "POOL_MOST", 1500)
    plan = make(tmp_path, profile=CLOSED, level=1000)
    assert len(plan.output_tokens) == 1000 + 1500
    assert POOL_MOST < 100_000


def test_closed_by_requests_has_exactly_those_bodies(tmp_path: Path) -> None:
    profile = CLOSED.with_overrides(Overrides(requests=20, warmup=0))
    plan = make(tmp_path, profile=profile, level=4)
    assert (plan.requests, plan.duration_ns, plan.warmup) == (20, None, 0)
    assert len(prompts(tmp_path)) == 20


def test_open_by_requests_ends_where_the_next_would_have_been(tmp_path: Path) -> None:
    plan = make(tmp_path, profile=STEADY.with_overrides(Overrides(requests=40)))
    assert plan.due_ns is not None
    assert plan.duration_ns is not None
    assert len(plan.due_ns) == 40
    assert plan.due_ns[-1] < plan.duration_ns


def test_of_duration_and_requests_the_first_ends_an_open_window(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    few = STEADY.with_overrides(Overrides(duration_s=5, requests=10))
    first = make(tmp_path / "few", profile=few)
    assert whole.due_ns is not None
    assert first.due_ns == whole.due_ns[:10]
    assert first.duration_ns == whole.due_ns[10]
    many = STEADY.with_overrides(Overrides(duration_s=5, requests=1000))
    assert make(tmp_path / "many", profile=many) == whole


def test_a_tokenizer_makes_the_plan_exact(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["a payment of ten dollars was made to the bakery"], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    profile = STEADY.with_overrides(Overrides(prompt_tokens=77))
    plan = make(tmp_path / "cell", profile=profile, tokenizer=tmp_path)
    assert plan.prompts_exact is True
    assert {len(tokenizer.encode(prompt).ids) for prompt in prompts(tmp_path / "cell")} == {77}


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (Overrides(prompt_tokens=2000, output_tokens=49), "prompt_tokens"),
        (Overrides(prompt_tokens=49, output_tokens=2000), "output_tokens"),
    ],
)
def test_what_the_model_cannot_take_is_refused_before_anything_is_written(
    tmp_path: Path, overrides: Overrides, field: str
) -> None:
    with pytest.raises(ProfileError, match=r"= 2049 do not fit the model's 2048") as caught:
        make(tmp_path, profile=STEADY.with_overrides(overrides))
    assert caught.value.field == field
    assert not list(tmp_path.iterdir())
    unknown = dataclasses.replace(TARGET, max_model_len=None)
    make(tmp_path, profile=STEADY.with_overrides(overrides), target=unknown)


def test_a_chat_template_needs_room_too(tmp_path: Path) -> None:
    profile = STEADY.with_overrides(Overrides(prompt_tokens=2000, output_tokens=48))
    make(tmp_path, profile=profile)
    with pytest.raises(
        ProfileError, match=r"2000 prompt_tokens \+ 48 .* \+ 64 .* lower them by 64"
    ):
        make(tmp_path, profile=profile, dialect="openai-chat")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"level": 0}, ProfileError, "rate: 0 must be"),
        ({"level": 1e-9}, ProfileError, "rate: 1e-09 requests/s for 5 s happen to give no request"),
        ({"profile": CLOSED, "level": 1.5}, ProfileError, "level: 1.5 is no whole number"),
        ({"seed": -1}, ProfileError, "seed: -1 must be 0 or more"),
        ({"dialect": "openai-completion"}, UnknownDialectError, "did you mean openai-completions"),
        ({"tokenizer": Path("/nowhere")}, TokenizerError, "no tokenizer.json in /nowhere"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(tmp_path, **change)
    assert not list(tmp_path.iterdir())


def test_a_plan_that_breaks_off_leaves_the_old_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def break_off(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plan_module, "write_conversations", break_off)
    with pytest.raises(OSError, match="No space"):
        make(tmp_path, seed=8)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_body_costs_a_few_numbers_of_memory(tmp_path: Path) -> None:
    """A million of them have to fit into 1 GiB, texts left out."""
    peaks = []
    for count in (5_000, 25_000):
        few = Overrides(requests=count, prompt_tokens=8, output_tokens=500, warmup=0)
        profile = STEADY.with_overrides(few)
        tracemalloc.start()
        make(tmp_path / str(count), profile=profile, level=1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 20_000 < 400  # bytes; a body has 700, and was held with its text


def test_no_secret_is_in_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hunter2")
    plan = make(tmp_path, target=dataclasses.replace(TARGET, api_key_env="MY_KEY"))
    assert plan.api_key_env == "MY_KEY"
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.iterdir())


def test_long_schedules_cost_in_proportion(tmp_path: Path) -> None:
    """20,000 requests, each with a body; quadratic work would take minutes."""
    profile = STEADY.with_overrides(Overrides(duration_s=20, prompt_tokens=8, warmup=0))
    plan = make(tmp_path, profile=profile, level=1000)
    assert plan.due_ns is not None
    assert len(plan.due_ns) == len(plan.output_tokens) == pytest.approx(20_000, rel=0.05)
    assert np.all(np.diff(plan.due_ns) >= 0)


PREFIXED = Profile.model_validate(
    STEADY.model_dump()
    | {"warmup_requests": 30, "shared_prefix": {"share": 0.8, "tokens": 24, "count": 5}}
)


def system_prompts(folder: Path) -> list[str | None]:
    """Of each chat body, None where there is none."""
    messages = [body["messages"] for body in bodies(folder)]
    assert all(len(m) <= 2 and m[-1]["role"] == "user" for m in messages)
    return [m[0]["content"] if m[0]["role"] == "system" else None for m in messages]


def test_a_shared_prefix_is_the_system_message(tmp_path: Path) -> None:
    plan = make(tmp_path, profile=PREFIXED, dialect="openai-chat", level=40)
    systems = system_prompts(tmp_path)
    measured = systems[plan.warmup :]
    assert len(set(measured) - {None}) == 5
    assert 0.7 < sum(text is not None for text in measured) / len(measured) < 0.9
    assert not set(measured) & set(systems[: plan.warmup]) - {None}, "the warm-up has its own"
    users = [body["messages"][-1]["content"] for body in bodies(tmp_path)]
    assert len({text.split()[0] for text in users}) == len(users)
    for system, user, tokens in zip(systems, users, plan.prompt_tokens, strict=True):
        assert tokens == pytest.approx(len(user.split()) / 0.75 + (24 if system else 0), abs=1)


def test_a_shared_prefix_is_the_beginning_of_a_text(tmp_path: Path) -> None:
    make(tmp_path / "text", profile=PREFIXED)
    make(tmp_path / "chat", profile=PREFIXED, dialect="openai-chat")
    for text, chat in zip(prompts(tmp_path / "text"), bodies(tmp_path / "chat"), strict=True):
        assert text == "\n".join(message["content"] for message in chat["messages"])


def test_a_warm_up_can_make_prefixes_known(tmp_path: Path) -> None:
    shape = {"share": 0.01, "tokens": 24, "count": 40, "warm": True}
    profile = Profile.model_validate(PREFIXED.model_dump() | {"shared_prefix": shape})
    plan = make(tmp_path, profile=profile, dialect="openai-chat", level=200)
    assert plan.warmup == 40, "one for each prefix"
    systems = system_prompts(tmp_path)
    assert None not in systems[:40]
    assert len(set(systems[:40])) == 40
    measured = set(systems[40:]) - {None}
    assert measured
    assert measured <= set(systems[:40])


def test_prefixes_differ_from_cell_to_cell(tmp_path: Path) -> None:
    for number in (1, 2):
        make(tmp_path / str(number), profile=PREFIXED, dialect="openai-chat", repeat=number)
    one, two = (set(system_prompts(tmp_path / number)) - {None} for number in "12")
    assert one
    assert not one & two


def test_a_prefix_needs_room_too(tmp_path: Path) -> None:
    with pytest.raises(
        ProfileError, match=r"40 prompt_tokens \+ 96 .* \+ 24 shared_prefix\.tokens"
    ):
        make(tmp_path, profile=PREFIXED, target=dataclasses.replace(TARGET, max_model_len=159))
    make(tmp_path, profile=PREFIXED, target=dataclasses.replace(TARGET, max_model_len=160))


TALKING = Profile.model_validate(
    STEADY.model_dump()
    | {
        "shared_prefix": {"share": 0.5, "tokens": 10},
        "session": {
            "turns": {"kind": "uniform", "low": 1, "high": 4},
            "user_tokens": {"kind": "uniform", "low": 4, "high": 9},
            "think_s": {"kind": "exponential", "mean": 2.0},
        },
    }
)


def test_the_turns_of_a_session_hold_each_other(tmp_path: Path) -> None:
    plan = make(tmp_path, profile=TALKING, dialect="openai-chat")
    lines = bodies(tmp_path)
    measured = [[(m["role"], m["content"]) for m in b["messages"]] for b in lines[plan.warmup :]]
    assert plan.due_ns is not None
    assert plan.after is not None
    assert plan.think_ns is not None
    sessions = len(plan.due_ns)
    assert plan.after[:sessions] == [-1] * sessions
    assert plan.think_ns[:sessions] == [0] * sessions
    assert len(plan.after) == len(plan.think_ns) == len(measured) > 1.5 * sessions
    turn = [0] * len(measured)
    for position, before in enumerate(plan.after[sessions:], sessions):
        assert 0 <= before < position
        turn[position] = turn[before] + 1
        assert measured[position][:-2] == measured[before]
        assert measured[position][-2] == ("assistant", answer_mark(turn[before]))
        assert measured[position][-1][0] == "user"
        said = len(measured[position][-1][1].split())
        grown = (
            plan.prompt_tokens[plan.warmup + position] - plan.prompt_tokens[plan.warmup + before]
        )
        assert said == max(1, round(grown * 0.75))
        assert plan.think_ns[position] > 0
    assert len(set(plan.after[sessions:])) == len(measured) - sessions, "one follower at most"
    assert set(turn) == {0, 1, 2, 3}
    first = [body["messages"] for body in lines[: plan.warmup]]
    assert all(message["role"] != "assistant" for messages in first for message in messages)


def test_sessions_of_one_turn_are_plain_requests(tmp_path: Path) -> None:
    one = {"session": {"turns": 1, "user_tokens": 5}}
    profile = Profile.model_validate(STEADY.model_dump() | one)
    plan, plain = make(tmp_path / "one", profile=profile), make(tmp_path / "plain")
    assert plan.due_ns == plain.due_ns
    assert plan.think_ns is None
    assert prompts(tmp_path / "one") == prompts(tmp_path / "plain")


def test_a_closed_loop_has_sessions_for_all_its_requests(tmp_path: Path) -> None:
    profile = Profile.model_validate(
        TALKING.model_dump() | {"arrival": {"kind": "closed", "think_s": 1.0}}
    ).with_overrides(Overrides(requests=50))
    plan = make(tmp_path, profile=profile, level=5)
    assert plan.after is not None
    assert plan.think_ns is not None
    sessions = plan.after.count(-1)
    assert plan.after[:sessions] == [-1] * sessions
    assert plan.think_ns[:sessions] == [NS] * sessions
    # were five streams in the midst of the longest sessions, there would be enough
    assert 50 <= len(plan.after) <= 50 + 6 * 4
    assert plan.requests == 50


def test_whole_sessions_have_to_fit_the_model(tmp_path: Path) -> None:
    limit = 10 + 40 + 96 + 3 * (9 + 96)
    with pytest.raises(
        ProfileError, match=r"3 further turns × \(9 session\.user_tokens \+ 96\) = 461 do not fit"
    ) as caught:
        make(tmp_path, profile=TALKING, target=dataclasses.replace(TARGET, max_model_len=limit - 1))
    assert caught.value.field == "session.turns"
    make(tmp_path, profile=TALKING, target=dataclasses.replace(TARGET, max_model_len=limit))
