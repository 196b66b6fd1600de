"""The matrix is whole: every row is tested, and every fault of the mock is in a row."""

from __future__ import annotations

import re
from pathlib import Path

from launchers.mock import FAULTS
from tests.faults.table import MATRIX, as_markdown

NOT_OF_ONE_REQUEST = {"black_hole"}


def test_every_row_is_tested() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    whole = set(re.findall(r'rows\("(\w+)"\)', tests))
    named = {
        (family, name)
        for family, names in re.findall(r'rows\(\s*"(\w+)",([^)]*)\)', tests)
        for name in re.findall(r'"(\w+)"', names)
    }
    missing = [
        row for row in MATRIX if row.family not in whole and (row.family, row.name) not in named
    ]
    assert missing == []
    assert len({(row.family, row.name) for row in MATRIX}) == len(MATRIX)


def test_every_fault_of_the_mock_is_in_a_row() -> None:
    names = {row.name for row in MATRIX if row.family == "answers"}
    assert names == FAULTS.keys() - NOT_OF_ONE_REQUEST
    assert {row.name for row in MATRIX if row.family == "connections"} >= NOT_OF_ONE_REQUEST


def test_the_documentation_has_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "faults.md"
    assert page.read_text().endswith(as_markdown()), f"put as_markdown() at the end of {page}"
