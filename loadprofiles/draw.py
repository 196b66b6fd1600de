"""Random numbers of a cell: for each purpose a generator of its own, and the same ever after."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Draw:
    """Hands out one independent generator for each purpose within a cell."""

    seed: int
    profile: str
    level: float
    repeat: int

    def rng(self, purpose: str) -> np.random.Generator:
        """Return the generator for one purpose."""
        text = f"{self.profile}\0{self.level!r}\0{self.repeat}\0{purpose}"
        digest = hashlib.sha256(text.encode()).digest()
        words = np.frombuffer(digest, dtype="<u4").tolist()
        return np.random.default_rng(np.random.SeedSequence([self.seed, *words]))
