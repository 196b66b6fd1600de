from __future__ import annotations

import pytest

from harness.evidence.weights import kernel_of, weights_of


@pytest.mark.parametrize(
    ("provenance", "told"),
    [
        ({"scheme": "4-bit", "reported": {"linear_kernel": "K"}}, "4-bit, K"),
        ({"scheme": "float16", "reported": {"linear_kernel": None}}, "float16"),
        ({"scheme": None, "reported": {"linear_kernel": "K"}}, "K"),
        ({"reported": {"linear_kernel": "K"}}, "K"),  # as older harnesses kept it
        ({"scheme": None, "reported": None}, None),
        ({}, None),
    ],
)
def test_scheme_and_kernel(provenance: dict[str, object], told: str | None) -> None:
    assert weights_of(provenance) == told


def test_no_kernel() -> None:
    assert kernel_of({"reported": "x"}) is None
    assert kernel_of({"reported": {"linear_kernel": 3}}) is None
