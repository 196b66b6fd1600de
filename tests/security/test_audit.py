"""What the audit of the dependencies makes of pip-audit's answers."""

from __future__ import annotations

from tests.security.audit import told


def test_a_package_that_was_not_looked_up_is_not_audited() -> None:
    skipped: dict[str, object] = {"name": "a", "skip_reason": "not found on PyPI"}
    clean: dict[str, object] = {"name": "b", "version": "1", "vulns": []}
    assert told({"dependencies": [clean]}) == (0, ["audited: 1 of 1 packages"])
    status, lines = told({"dependencies": [clean, skipped]})
    assert (status, lines[0]) == (0, "audited: 1 of 2 packages")
    assert lines[1].startswith("NOT AUDITED")
    assert told({})[1][1].startswith("NOT AUDITED")


def test_a_hole_fails() -> None:
    hole = {"id": "PYSEC-1", "fix_versions": ["2"]}
    status, lines = told({"dependencies": [{"name": "a", "version": "1", "vulns": [hole]}]})
    assert status == 1
    assert "a 1: PYSEC-1, mended in ['2']" in lines
