from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadprofiles.errors import ProfileError
from loadprofiles.prompts import datasets as datasets_module
from loadprofiles.prompts.datasets import Entries, Entry, Said

if TYPE_CHECKING:
    from pathlib import Path

SHAREGPT: list[dict[str, Any]] = [
    {
        "id": "a",
        "conversations": [
            {"from": "human", "value": "one?"},
            {"from": "gpt", "value": "yes, one"},
            {"from": "human", "value": "two?"},
            {"from": "gpt", "value": "no"},
        ],
    },
    {"id": "b", "conversations": []},
    {
        "id": "c",
        "conversations": [
            {"from": "system", "value": "be brief"},
            {"from": "gpt", "value": "how can I help?"},
            {"from": "human", "value": "hm"},
            {"from": "human", "value": "three"},
        ],
    },
]
TALKS = [
    Entry(None, [Said("one?", "yes, one", None), Said("two?", "no", None)]),
    Entry("be brief", [Said("hm\nthree", None, None)]),
]
NAMES = {"human": "user", "gpt": "assistant", "system": "system"}


def openai() -> list[dict[str, Any]]:
    """The same conversations in the other layout, one text in parts."""
    entries = [
        {
            "messages": [
                {"role": NAMES[w["from"]], "content": w["value"]} for w in e["conversations"]
            ]
        }
        for e in SHAREGPT
    ]
    parts = [{"type": "text", "text": "yes, "}, {"type": "text", "text": "one"}]
    entries[0]["messages"][1]["content"] = parts
    return entries


def write(path: Path, entries: list[dict[str, Any]], form: str) -> Path:
    if form == "lines":
        text = "\n\n".join(json.dumps(entry) for entry in entries)
    elif form == "array":
        text = json.dumps(entries)
    else:
        text = "\ufeff" + json.dumps(entries, indent=2, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, layout: Any = "auto") -> list[Entry]:  # noqa: ANN401 - a Layout
    entries = Entries(path, layout)
    try:
        return [entries[position] for position in range(len(entries))]
    finally:
        entries.close()


@pytest.mark.parametrize("form", ["lines", "array", "pretty"])
def test_sharegpts_layout(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "talks.json", SHAREGPT, form)
    assert read(path) == TALKS
    entries = Entries(path)
    assert entries.silent == 1
    entries.close()


@pytest.mark.parametrize("form", ["lines", "array", "pretty"])
def test_openais_layout(tmp_path: Path, form: str) -> None:
    first = TALKS[0]
    turns = [first.turns[0]._replace(answer="yes, \none"), first.turns[1]]
    path = write(tmp_path / "talks.jsonl", openai(), form)
    assert read(path) == [first._replace(turns=turns), TALKS[1]]


def test_plain_prompts(tmp_path: Path) -> None:
    entries = [
        {"prompt": "a", "output_tokens": 7},
        {"prompt": "b \ufdd00\ufdd1", "completion": "c", "anything": {"else": 1}},
        {"prompt": " "},
    ]
    assert read(write(tmp_path / "p.jsonl", entries, "lines")) == [
        Entry(None, [Said("a", None, 7)]),
        Entry(None, [Said("b \ufffd0\ufffd", "c", None)]),  # what would pass for a mark
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no conversation"),
        ("[]", "holds no conversation"),
        ('{"conversations": []}', "holds no conversation"),
        ('{"prompt": "a"}\n{"prompt": 1}', r"line 2: Expected `str \| null`, got `int`"),
        ('{"prompt": "a"}\n\n{oops', "line 3: JSON is malformed"),
        ('{"prompt": "a"}\n"b"', "line 2: Expected `object`"),
        ('{"prompt": "a", "output_tokens": 0}', "line 1: .*output_tokens"),
        (
            '{"text": "a"}',
            "line 1: has none of the fields of a layout; write .* messages .a list of role",
        ),
        ('{"prompt": "a"}\n{"messages": []}', "line 2: has no prompt"),
        ('{"messages": []}\n{"prompt": "a"}', "line 2: has no messages, unlike the layout openai"),
        ('{"messages": [{"role": "dog", "content": "wow"}]}', "message 1 is of 'dog'"),
        ('{"conversations": [{"value": "wow"}]}', "message 1 is of None"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
            "message 1 has content that is no text",
        ),
        ('[\n{"prompt": "a"},\n\n{"prompt": 5}]', "line 4: Expected"),
        ('[{"prompt": "a"},', "is no JSON array"),
        ('{"prompt": "\\ud83d"}', "line 1: "),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(ProfileError, match=message) as caught:
        Entries(path)
    assert caught.value.field == "dataset.file"
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none\.json cannot be read: no such file"):
        Entries(tmp_path / "none.json")


def test_entries_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets_module, "MAX_ENTRY_BYTES", 1 << 20)
    long = {"prompt": "a" * (1 << 20)}
    for form in ("lines", "array"):
        path = write(tmp_path / form, [{"prompt": "b"}, long], form)
        with pytest.raises(ProfileError, match="has more than 1 MiB"):
            Entries(path)
    monkeypatch.setattr(datasets_module, "MAX_ARRAY_BYTES", 1 << 10)
    with pytest.raises(ProfileError, match="write one entry a line instead"):
        Entries(tmp_path / "array")


@given(
    st.binary(max_size=200) | st.text(alphabet='{}[]":,promtuse \n1', max_size=80).map(str.encode)
)
def test_any_bytes_are_entries_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("dataset") / "any"
    path.write_bytes(content)
    try:
        assert read(path)
    except ProfileError as error:
        assert error.field == "dataset.file"  # noqa: PT017 - either is right


@given(
    st.lists(
        st.fixed_dictionaries({"prompt": st.text(st.characters(exclude_categories=["Cs"]))}),
        max_size=6,
    ),
    st.sampled_from(["lines", "array", "pretty"]),
)
def test_any_prompts_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, str]], form: str
) -> None:
    path = write(tmp_path_factory.mktemp("dataset") / "any", entries, form)
    wanted = [e["prompt"] for e in entries if e["prompt"].strip()]
    wanted = [text.replace("\ufdd0", "\ufffd").replace("\ufdd1", "\ufffd") for text in wanted]
    if wanted:
        assert [entry.turns[0].user for entry in read(path)] == wanted
    else:
        with pytest.raises(ProfileError):
            read(path)
