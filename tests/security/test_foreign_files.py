"""Traces, data sets, items and texts from a stranger: refused by their name, and soon."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import pytest

from evals.contamination import calibration_texts
from evals.domain.items import load_items
from evals.errors import SuiteError
from evals.perplexity.texts import load_documents
from evals.suite import DomainSettings
from harness.errors import BadInputError
from harness.quantizing.sources import documents_of
from loadprofiles.errors import ProfileError
from loadprofiles.prompts.datasets import Entries
from loadprofiles.traffic import traces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = b"timestamp,prompt_tokens,output_tokens\n"
GIB = 1 << 30


def items(path: Path) -> object:
    settings = DomainSettings.model_validate(
        {"items": path.name, "template": "{input}", "grader": {"kind": "exact"}}
    )
    found, mistakes = load_items(settings, path.parent)
    mistakes.tell()
    return found


def no_python() -> Path:
    raise AssertionError


READERS: dict[str, Callable[[Path], object]] = {
    "trace.csv": traces.read_trace,
    "trace.jsonl": traces.read_trace,
    "trace.csv.gz": traces.read_trace,
    "dataset.jsonl": Entries,
    "items.jsonl": items,
    "calibration.jsonl": lambda path: list(calibration_texts(path)),
    "calibration.txt": lambda path: list(calibration_texts(path)),
    "text.jsonl": lambda path: load_documents(path.name, path.parent, None),
    "text.txt": lambda path: load_documents(path.name, path.parent, None),
    "source.jsonl": lambda path: documents_of("general", str(path), no_python),
}
REFUSED = (ProfileError, SuiteError, BadInputError)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("what", ["pipe", "/dev/zero", "/dev/tty", "."])
def test_what_is_no_file_is_not_read(tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / name
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(what)
    with pytest.raises(REFUSED, match=name):
        READERS[name](path)


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"trace.csv.gz"}))
def test_a_line_without_an_end_is_not_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(2 * GIB)
    with pytest.raises(REFUSED, match=name):
        READERS[name](path)


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith("l")])
def test_what_nests_too_deep_names_its_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for deep in (b"[" * 100_000, b'{"input": ' + b"[" * 100_000 + b"\n"):
        path.write_bytes(deep)
        with pytest.raises(REFUSED, match=name):
            READERS[name](path)


def test_a_trace_that_unpacks_to_a_hundred_times_its_size_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_ANY_BYTES", 1 << 16)
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(HEAD + b"1,2,3\n" * 200_000))
    with pytest.raises(ProfileError, match=r"trace.csv.gz, line .* 100 times its size"):
        traces.read_trace(path)
    path.write_bytes(gzip.compress(HEAD + b"".join(b"%d,2,3\n" % n for n in range(20_000))))
    assert len(traces.read_trace(path)) == 20_000


def test_a_packed_line_without_an_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(HEAD + b"1" * (1 << 26)))
    with pytest.raises(ProfileError, match=r"line 2: it has more than 1 Mi"):
        traces.read_trace(path)
