"""What is known of an engine: how long a step takes, and how much fits into one."""

from __future__ import annotations

from typing import Final

import msgspec

UNLIMITED: Final = 1 << 60


class StepCost(msgspec.Struct, frozen=True, kw_only=True):
    """How long one iteration of the engine takes, in seconds; linear in what is computed in it."""

    base_s: float
    """Of any step."""
    sequence_s: float
    """Of each sequence that gets a token in it."""
    prefill_token_s: float
    """Of each prompt token taken in."""
    context_token_s: float
    """Of each token that decoding sequences have in the KV cache."""
    admission_s: float = 0.0
    """Of each request whose prompt is finished in it."""

    def of(self, sequences: int, prefill: int, context: int, admitted: int) -> float:
        """Return the length of a step in seconds."""
        return (
            self.base_s
            + self.sequence_s * sequences
            + self.prefill_token_s * prefill
            + self.context_token_s * context
            + self.admission_s * admitted
        )


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine computes and holds at most."""

    max_num_seqs: int = UNLIMITED
    """Requests that run at once; others wait."""
    max_num_batched_tokens: int = UNLIMITED
    """Tokens computed in one step; a longer prompt takes several (chunked prefill)."""
    kv_tokens: int = UNLIMITED
    """Tokens that the KV cache holds."""


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """One simulated server."""

    cost: StepCost
    limits: Limits
    overhead_s: float = 0.0
    """Of each request outside the steps: client, network, API server."""
    overhead_each_s: float = 0.0
    """Further, for each other request that the server has: its API server is one process."""

    def slower(self, factor: float) -> Engine:
        """Return the same engine on a machine that takes so many times as long."""
        cost = {name: factor * getattr(self.cost, name) for name in StepCost.__struct_fields__}
        return msgspec.structs.replace(
            self,
            cost=StepCost(**cost),
            overhead_s=factor * self.overhead_s,
            overhead_each_s=factor * self.overhead_each_s,
        )
