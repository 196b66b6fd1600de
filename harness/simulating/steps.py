"""How long an engine's steps take, found from when tokens came at the client.

From a request's first token to its last the engine makes one step for each further token. What
was computed in these steps is known: every token that came meanwhile, and every prompt whose first
token came meanwhile. So each request is one equation

    last - first = base · steps + sequence · tokens + prefill · prompt tokens + context · Σ context

(`tokens`: those of all requests; Σ context: over these tokens, how long their sequence was then).
Single gaps are not used: a server sends a step's tokens one after the other, which smears them.

The coefficients, none below 0, have the least sum of squares of relative errors, relative to what
they predict, not to what was seen, which would favour short ones (iteratively reweighted, as in
McCullagh & Nelder, Generalized Linear Models, 1989); Lawson & Hanson's NNLS (1974) finds them.

A machine that others use, too, is slower in one cell than in the next, by as much as a level
differs from its neighbour. Such an error is common to all rows of a cell, so a share of the cell's
mean is taken off both sides before they are solved: generalized least squares for errors with a
part by group (Swamy & Arora, Econometrica 40, 1972). The share follows from how much the errors
differ between and within cells: none where the machine is steady.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import nnls

from harness.errors import BadInputError
from harness.simulating.engine import StepCost

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from harness.simulating.observed import Observed

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_FEWEST_STEPS: Final = 4
_ROUNDS: Final = 50
_SHARE: Final = 0.5
"""Of a cell's mean that is taken off at first, before any error is known."""


def equations(cell: Observed) -> tuple[Floats, Floats]:
    """Return one row a measured request: (steps, tokens, prompt tokens, Σ context), and seconds."""
    ends = np.cumsum(cell.chunks)
    starts = ends - cell.chunks
    owner = np.repeat(np.arange(cell.chunks.size), cell.chunks)
    first = np.zeros(owner.size, dtype=np.bool_)
    first[starts] = True
    each = (cell.outputs / cell.chunks)[owner]
    said = (np.arange(owner.size) - starts[owner] + 1) * each
    order = np.argsort(cell.chunk_s, kind="stable")
    prompts = cell.prompts[owner]
    came = np.stack(
        [each, np.where(first, prompts, 0), np.where(first, 0, each * (prompts + said))]
    )
    totals = np.cumsum(came[:, order], axis=1)
    stamps = cell.chunk_s[order]
    steps = cell.outputs - cell.outputs / cell.chunks
    use = cell.measured & (steps >= _FEWEST_STEPS) & (cell.last_s > cell.first_s)
    until = np.searchsorted(stamps, cell.last_s[use], side="right") - 1
    since = np.searchsorted(stamps, cell.first_s[use], side="right") - 1
    rows = np.column_stack([steps[use], *(totals[:, until] - totals[:, since])])
    return rows, (cell.last_s - cell.first_s)[use]


def _less_mean(values: Floats, owner: Ints, share: Floats) -> Floats:
    """Return values less a share of their cell's mean."""
    sums = np.zeros((int(owner.max()) + 1, values.shape[1]))
    np.add.at(sums, owner, values)
    means = sums / np.maximum(np.bincount(owner), 1)[:, None]
    return values - share[:, None] * means[owner]


def _shares(errors: Floats, owner: Ints) -> Floats:
    """Return, for each row, which share of its cell's mean tells nothing of the engine.

    None where no error lies within a cell: of one row a cell nothing would be left.
    """
    _, owner, counts = np.unique(owner, return_inverse=True, return_counts=True)
    means = np.bincount(owner, errors) / counts
    within = float(((errors - means[owner]) ** 2).sum()) / max(errors.size - counts.size, 1)
    if within == 0:
        return np.zeros(errors.size)
    between = max(0.0, float((means**2).mean()) - within * float((1 / counts).mean()))
    shares = 1 - np.sqrt(within / (within + counts * between))
    return np.asarray(shares[owner], dtype=np.float64)


def slowness(cell: Observed, cost: StepCost) -> float:
    """Return how many times as long as `cost` says the steps of a cell took; 1 without any."""
    rows, seconds = equations(cell)
    each = (cost.base_s, cost.sequence_s, cost.prefill_token_s, cost.context_token_s)
    expected = float((rows @ np.array(each)).sum())
    return float(seconds.sum()) / expected if expected > 0 else 1.0


def step_cost(cells: Sequence[Observed]) -> StepCost:
    """Find the length of steps from cells of several levels.

    Raises:
        BadInputError: no request had enough tokens.
    """
    found = [equations(cell) for cell in cells]
    rows, seconds = np.vstack([x for x, _ in found]), np.concatenate([y for _, y in found])
    owner = np.repeat(np.arange(len(found)), [len(y) for _, y in found])
    if seconds.size < rows.shape[1]:
        raise BadInputError(
            "the steps of the engine cannot be told: no answers of several tokens",
            hint=f"Measure with --output-tokens of {_FEWEST_STEPS + 1} or more.",
        )
    expected = seconds
    coefficients = np.zeros(rows.shape[1])
    share = np.full(seconds.size, _SHARE)
    for _ in range(_ROUNDS):
        left = _less_mean(rows / expected[:, None], owner, share)
        right = _less_mean((seconds / expected)[:, None], owner, share)[:, 0]
        sizes = np.linalg.norm(left, axis=0)
        sizes[sizes == 0] = 1.0
        solved, _ = nnls(left / sizes, right)
        if np.allclose(solved / sizes, coefficients, rtol=1e-6, atol=0):
            break
        coefficients = solved / sizes
        expected = np.maximum(rows @ coefficients, seconds / 10)
        share = _shares(seconds / expected - 1, owner)
    base, sequence, prefill, context = coefficients.tolist()
    return StepCost(
        base_s=base, sequence_s=sequence, prefill_token_s=prefill, context_token_s=context
    )
