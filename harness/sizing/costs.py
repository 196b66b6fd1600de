"""From machines to money and energy. Pure.

usd an hour ÷ what is served in it. A price for prompt and output tokens apart is a convention:
with r the ratio of the two, usd = p · (prompt tokens + r · output tokens), and an output token
costs r · p.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from harness.sizing.record import Amount, Cost, Energy, PerMillion
from harness.sizing.replicas import HOUR_S

if TYPE_CHECKING:
    from harness.sizing.record import Range, Supply, Terms

MILLION: Final = 1_000_000
HOURS_PER_MONTH: Final = 730.0
"""As clouds count: 365 · 24 ÷ 12."""
_J_PER_KWH: Final = 3.6e6


def usd_per_million(usd_per_hour: float, per_second: float) -> float:
    """Return what a million costs where so many are made a second."""
    return usd_per_hour / (per_second * HOUR_S) * MILLION


def usd_per_month(replicas: int, gpus: int, price_per_gpu_hour: float) -> float:
    """Return what a fleet costs a month, of 730 hours."""
    return replicas * gpus * price_per_gpu_hour * HOURS_PER_MONTH


def cost_of(
    at: Literal["demand", "capacity"],
    supply: Supply,
    usd_per_hour: float,
    rate: float,
    *,
    ratio: float,
    spread: Range | None = None,
) -> Cost:
    """Share money out over what is served.

    Args:
        at: what the money and the rate are of.
        supply: has the tokens of a request.
        usd_per_hour: of all machines.
        rate: answers/s, above 0.
        ratio: price of an output token ÷ price of a prompt token.
        spread: every cost may be so many times as high, (least, most).
    """

    def amount(value: float) -> Amount:
        return Amount(value=value, range=_scaled(spread, value))

    shared = usd_per_hour / (rate * HOUR_S)
    prompt, output = supply.prompt_tokens, supply.output_tokens
    cost = {"at": at, "rate": rate, "usd_per_hour": usd_per_hour, "per_request": amount(shared)}
    million = shared * MILLION
    if output:
        cost["per_million_output_tokens_alone"] = amount(million / output)
    if output and prompt is not None:
        base = million / (prompt + ratio * output)
        cost["per_million_tokens"] = amount(million / (prompt + output))
        cost["per_million_input_tokens"] = amount(base)
        cost["per_million_output_tokens"] = amount(ratio * base)
    return Cost(**cost)  # type: ignore[arg-type]  # its fields by their names


def short(cost: Cost | None) -> PerMillion | None:
    """Return the three prices of a token; None where the tokens of a prompt are not known."""
    if cost is None:
        return None
    one = cost.per_million_input_tokens
    other, both = cost.per_million_output_tokens, cost.per_million_tokens
    if one is None or other is None or both is None:
        return None
    return PerMillion(input=one.value, output=other.value, blended=both.value, at=cost.at)


def energy_of(supply: Supply) -> Energy | None:
    """Return the energy of a token; None where the power was not measured."""
    joules, power, output = supply.joules_per_output_token, supply.power_w, supply.output_tokens
    if not joules or not power or not output:
        return None
    kwh: float | None = None
    if supply.prompt_tokens is not None:
        kwh = joules * output / (supply.prompt_tokens + output) * MILLION / _J_PER_KWH
    return Energy(
        power_w=power / supply.servers, joules_per_output_token=joules, kwh_per_million_tokens=kwh
    )


def gpus_of(supply: Supply, terms: Terms) -> int:
    """Return the GPUs of a replica: as was said, else as many as were seen, else 1."""
    return terms.gpus(supply.build) or supply.gpus or 1


def _scaled(spread: Range | None, value: float) -> Range | None:
    if spread is None:
        return None
    low, high = (None if end is None else end * value for end in spread)
    return low, high
