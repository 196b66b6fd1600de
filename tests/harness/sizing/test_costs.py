from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sizing.costs import cost_of, energy_of, short, usd_per_million, usd_per_month
from tests.harness.sizing.made import supply


def test_costs_by_hand() -> None:
    # USD 3.6 an hour at 10 requests/s of 100 + 50 tokens: USD 0.0001 a request
    found = cost_of("capacity", supply(), 3.6, 10.0, ratio=4.0)
    assert found.per_request.value == pytest.approx(1e-4)
    assert found.per_million_tokens is not None
    assert found.per_million_tokens.value == pytest.approx(1e-4 / 150 * 1e6)
    assert found.per_million_output_tokens_alone is not None
    assert found.per_million_output_tokens_alone.value == pytest.approx(2.0)
    assert found.per_million_input_tokens is not None
    assert found.per_million_input_tokens.value == pytest.approx(1e-4 / (100 + 4 * 50) * 1e6)
    assert usd_per_million(3.6, 500) == pytest.approx(2.0)
    assert usd_per_month(3, 2, 1.5) == pytest.approx(3 * 2 * 1.5 * 730)


@given(
    st.floats(0.01, 1e4), st.floats(0.01, 1e4), st.floats(0.1, 100),
    st.floats(1, 1e5), st.floats(1, 1e5),
)  # fmt: skip
def test_prices_apart_add_up_to_the_bill(
    usd: float, rate: float, ratio: float, prompt: float, output: float
) -> None:
    of = supply(prompt_tokens=prompt, output_tokens=output)
    found = short(cost_of("demand", of, usd, rate, ratio=ratio))
    assert found is not None
    hour = rate * 3600 / 1e6
    assert hour * (prompt * found.input + output * found.output) == pytest.approx(usd)
    assert hour * (prompt + output) * found.blended == pytest.approx(usd)
    assert found.output == pytest.approx(ratio * found.input)


def test_ranges_go_along() -> None:
    found = cost_of("capacity", supply(), 3.6, 10.0, ratio=4.0, spread=(0.5, None))
    assert found.per_request.range == (pytest.approx(5e-5), None)


def test_without_prompt_tokens_there_is_no_split() -> None:
    found = cost_of("capacity", supply(prompt_tokens=None), 3.6, 10.0, ratio=4.0)
    assert found.per_million_tokens is None
    assert short(found) is None
    assert found.per_million_output_tokens_alone is not None


def test_energy_by_hand() -> None:
    # 1 J an output token, of which there are 50 in a request of 150: 1/3 J for each of all
    found = energy_of(supply(power_w=1000.0, joules_per_output_token=1.0, servers=2))
    assert found is not None
    assert (found.power_w, found.joules_per_output_token) == (500.0, 1.0)
    assert found.kwh_per_million_tokens == pytest.approx(1 / 3 * 1e6 / 3.6e6)
    assert energy_of(supply()) is None
