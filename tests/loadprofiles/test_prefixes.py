from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loadprofiles.prompts.prefixes import SharedPrefix


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    share=st.floats(0.01, 1),
    count=st.integers(1, 50),
    skew=st.floats(0, 5),
    seed=st.integers(0, 2**63),
)
def test_any_draw_names_a_prefix_or_none(share: float, count: int, skew: float, seed: int) -> None:
    shape = SharedPrefix(share=share, tokens=5, count=count, skew=skew)
    drawn = shape.draw(200, rng(seed))
    assert np.all((drawn >= -1) & (drawn < count))
    assert np.array_equal(drawn[:90], shape.draw(90, rng(seed)))
    if share == 1:
        assert np.all(drawn >= 0)


def test_the_share_has_one() -> None:
    drawn = SharedPrefix(share=0.3, tokens=5, count=4).draw(50_000, rng())
    assert (drawn >= 0).mean() == pytest.approx(0.3, abs=0.008)  # four standard deviations


@pytest.mark.parametrize("skew", [0.0, 1.0, 2.0])
def test_they_come_up_by_zipfs_law(skew: float) -> None:
    drawn = SharedPrefix(tokens=5, count=20, skew=skew).draw(100_000, rng())
    weights = np.arange(1, 21) ** -skew
    expected = weights / weights.sum() * 100_000
    chi_square = float(((np.bincount(drawn, minlength=20) - expected) ** 2 / expected).sum())
    assert chi_square < 43.8  # 19 degrees of freedom, 0.1 %


def test_the_texts_differ_from_their_first_word_on() -> None:
    texts = [one.text for one in SharedPrefix(tokens=40, count=200).write(rng(), None)]
    assert len({text.split()[0] for text in texts}) == 200
    assert texts == [one.text for one in SharedPrefix(tokens=40, count=200).write(rng(), None)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share": 0}, "share"),
        ({"count": 0}, "count"),
        ({"skew": -1}, "skew"),
        ({"count": 100_000, "tokens": 1000}, "count = 100000 prefixes of up to 1000 tokens"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SharedPrefix.model_validate({"tokens": 8} | fields)
