"""Levels beyond the limit of open files: refused at once, and the one that is named works."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from loadprofiles.descriptors import OWN
from loadprofiles.records import read_samples

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

OPEN_FILES = 128
TWO = ("--workers", "2")
SHORT = ("--output-tokens", "2", "--prompt-tokens", "8")


@pytest.mark.parametrize(
    ("flag", "argv"),
    [
        ("--level", ("--profile", "closed", "--level", "8,500")),
        ("--rate", ("--profile", "constant", "--rate", "500", "--duration", "2")),
    ],
)
def test_refused_before_the_start(flag: str, argv: tuple[str, ...], workplace: Workplace) -> None:
    most = refused(workplace, flag, *argv)
    assert most == OPEN_FILES - OWN


def test_the_level_that_is_named_works(workplace: Workplace, mock: StartMock) -> None:
    """Of two workers, which have more open beside their connections than a driver alone."""
    most = refused(workplace, "--level", "--profile", "closed", "--level", "500", *TWO)
    assert most == 2 * (OPEN_FILES - OWN)
    url = mock("--ttft-ms=300", "--itl-ms=1")
    fits = ("--profile", "closed", "--level", str(most), "--requests", str(most), *TWO)
    process = workplace.start("load", "--url", url, "--json", *SHORT, *fits, open_files=OPEN_FILES)
    done = workplace.finish(process)
    assert done.went_well, done.err
    (cell,) = (done.run / "cells").iterdir()
    assert {one.error for one in read_samples(cell) if one.phase != "cooldown"} == {None}


def refused(workplace: Workplace, flag: str, *argv: str) -> int:
    """Ask for too much where nothing listens; return the level that is said to work."""
    nowhere = ("--url", "http://127.0.0.1:9/v1")
    done = workplace.finish(workplace.start("load", *nowhere, *argv, open_files=OPEN_FILES))
    assert (done.code, workplace.runs) == (2, [])
    assert done.err.startswith(f"harness: {flag}: ")
    assert f"may have {OPEN_FILES}" in done.err
    (most,) = re.findall(r"take at most (\d+),", done.err)
    return int(most)
