"""Whether a server's memory holds the longest requests, as many as come at once. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.sizing.costs import gpus_of
from harness.sizing.record import Memory
from launchers.telemetry.kv_cache import held_tokens, max_concurrency
from launchers.telemetry.records import GIB

if TYPE_CHECKING:
    from harness.sizing.record import Demand, Supply, Terms


def memory_of(supply: Supply, terms: Terms, demand: Demand | None) -> Memory:
    """Return the budget of one replica.

    Checked are, in this order: the longest request against the engine's longest context; as many
    such requests as were in flight at once at the measured rate, all of that length, against the
    KV cache, in which layers with a sliding window hold no more than it; and weights + KV cache +
    all else against the card. All else (activations, graphs)
    is the peak under load less weights and KV cache. Engines tell sizes per GPU or in all, each
    in its own way, so that a replica of several GPUs is not held against its cards.

    Args:
        supply: what was measured.
        terms: card and longest context; the latter else of the demand's trace, else the engine's.
        demand: what is to be served.
    """
    context = terms.context_tokens or (demand and demand.longest_tokens) or None
    if context is None and supply.max_model_len is not None:
        context = int(supply.max_model_len)
    peak = supply.in_flight_peak
    concurrency = None if peak is None else max(1, math.ceil(peak))
    cache = None if supply.kv_cache_tokens is None else int(supply.kv_cache_tokens)
    held = None if context is None else _held_tokens(context, supply)
    need = _product(concurrency, held, supply.kv_bytes_per_token)
    card = terms.gpu_memory_gib if gpus_of(supply, terms) == 1 else None
    other = _rest(supply)
    room = _room(supply, cache, alone=gpus_of(supply, terms) == 1)
    most = None
    if room is not None and held:
        most = math.floor(max_concurrency(int(room), math.ceil(held), supply.kv_block_tokens))
    fits, text = _verdict(
        context=context,
        concurrency=concurrency,
        most=most,
        window=None if held == context else supply.kv_window_tokens,
        limit=supply.max_model_len,
        card=card,
        need_gib=_sum(supply.weights_gib, supply.kv_cache_gib, other or 0.0),
    )
    return Memory(
        weights_gib=supply.weights_gib,
        kv_cache_gib=supply.kv_cache_gib,
        other_gib=other,
        peak_gib=supply.memory_peak_gib,
        card_gib=card,
        kv_bytes_per_token=supply.kv_bytes_per_token,
        kv_cache_tokens=cache,
        context_tokens=context,
        concurrency=concurrency,
        kv_need_gib=None if need is None else need / GIB,
        most_concurrency=most,
        fits=fits,
        text=text,
    )


def _verdict(
    *,
    context: int | None,
    concurrency: int | None,
    most: int | None,
    window: int | None,
    limit: float | None,
    card: float | None,
    need_gib: float | None,
) -> tuple[bool | None, str]:
    if context is not None and limit is not None and context > limit:
        return False, (
            f"A request of {context:,} tokens is longer than the {int(limit):,} that the engine "
            "takes: serve it with a longer max_model_len, and measure that."
        )
    if card is not None and need_gib is not None and need_gib > card:
        return False, (
            f"Weights, KV cache and all else take {need_gib:.3g} GiB, and the card has {card:.3g} "
            "GiB: a larger card, more GPUs a replica, smaller weights or a smaller KV cache."
        )
    behind = "" if window is None else (
        f" (of layers with a sliding window the last {window:,}, if the engine frees the others)"
    )  # fmt: skip
    if most is not None and most < 1:
        return False, (
            f"The KV cache does not hold one request of {context:,} tokens{behind}: a larger cache "
            "(or fewer bytes a token) is needed."
        )
    if most is None or concurrency is None or context is None:
        return None, (
            "Whether the longest requests fit could not be told: the size of the KV cache, or the "
            "longest request (--context), is not known."
        )
    if concurrency > most:
        return False, (
            f"{concurrency:,} requests were under way at once, and the KV cache holds {most:,} of "
            f"{context:,} tokens{behind}: were all so long, the others would wait or be preempted."
        )
    beside = "" if card is None or need_gib is None else f", on {card:.3g} GiB of card"
    return True, (
        f"{concurrency:,} requests were under way at once, and the KV cache holds {most:,} of "
        f"{context:,} tokens{behind}{beside}."
    )


def _held_tokens(context: int, supply: Supply) -> float:
    beyond = supply.kv_bytes_beyond_window / (supply.kv_bytes_per_token or math.inf)
    return held_tokens(context, supply.kv_window_tokens, beyond)


def _room(supply: Supply, cache_tokens: int | None, *, alone: bool) -> float | None:
    """Tokens that the cache holds in all layers; None where it cannot be told.

    Where some layers have a window and some not, engines share the cache out between them, and
    what they call its tokens is of one group of layers, or of the longest requests: there its
    bytes count, which are known of a replica of one GPU only (`alone`).
    """
    if not (supply.kv_window_tokens and supply.kv_bytes_beyond_window):
        return cache_tokens
    if not alone or supply.kv_cache_gib is None or not supply.kv_bytes_per_token:
        return None
    return supply.kv_cache_gib * GIB / supply.kv_bytes_per_token


def _rest(supply: Supply) -> float | None:
    """Peak less weights and KV cache, of a GPU's memory; None where one of them is not known."""
    known = (supply.memory_peak_gib, supply.weights_gib, supply.kv_cache_gib)
    peak, weights, cache = known
    if supply.memory_kind != "vram" or peak is None or weights is None or cache is None:
        return None
    return max(0.0, peak / supply.servers - weights - cache)


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _product(*factors: float | None) -> float | None:
    known = [factor for factor in factors if factor is not None]
    return math.prod(known) if len(known) == len(factors) else None
