"""Marks of tests that start a real engine: where it is not installed they are skipped, loudly."""

from __future__ import annotations

import pytest

from launchers.environments import installed


def needs(environment: str) -> pytest.MarkDecorator:
    """Skip where `harness engines install` has not made this environment."""
    return pytest.mark.skipif(
        installed(environment) is None,
        reason=f"{environment} is missing: run `harness engines install {environment}`",
    )
