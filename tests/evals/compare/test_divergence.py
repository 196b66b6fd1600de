from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evals.compare import divergence
from evals.errors import PairError
from evals.perplexity.tokens import NO_TOKEN, TokenValues

VOCABULARY, TOKENS, WINDOWS = 200, 1200, 12


def full(noise: float, seed: int = 1) -> np.ndarray:
    """(tokens, vocabulary) ln p; the same text, each token's logits moved by `noise`."""
    logits = np.random.default_rng(7).normal(0, 2.5, (TOKENS, VOCABULARY))
    logits += np.random.default_rng(seed).normal(0, noise, logits.shape)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def told(logprobs: np.ndarray, k: int) -> TokenValues:
    ids = np.random.default_rng(11).integers(0, VOCABULARY, TOKENS)
    top = np.argsort(-logprobs, axis=1)[:, :k]
    return TokenValues(
        window=np.arange(TOKENS) // (TOKENS // WINDOWS),
        position=np.arange(TOKENS),
        id=ids,
        logprob=logprobs[np.arange(TOKENS), ids],
        greedy=top[:, 0] == ids if k else np.zeros(TOKENS, dtype=bool),
        top_ids=top,
        top_logprobs=np.take_along_axis(logprobs, top, axis=1),
    )


def true_kl(baseline: np.ndarray, ours: np.ndarray) -> float:
    return float((np.exp(baseline) * (baseline - ours)).sum(axis=1).mean())


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_bound_is_below_the_truth_and_rises_with_k(noise: float, k: int) -> None:
    baseline, ours = full(0), full(noise)
    truth = true_kl(baseline, ours)
    found = divergence(told(ours, k), told(baseline, k), seed=0).kl_mean
    more = divergence(told(ours, 2 * k), told(baseline, 2 * k), seed=0).kl_mean
    assert found is not None
    assert more is not None
    assert 0 < found < truth
    assert found < more * 1.02


def test_with_the_whole_vocabulary_the_bound_is_the_truth() -> None:
    baseline, ours = full(0), full(0.3)
    found = divergence(told(ours, VOCABULARY), told(baseline, VOCABULARY), seed=0)
    assert found.kl_mean == pytest.approx(true_kl(baseline, ours), rel=1e-3)
    assert found.mass == pytest.approx(1)


def test_the_bound_is_that_of_a_loop() -> None:
    baseline, ours = told(full(0), 5), told(full(0.5), 5)
    sums = []
    for i in range(TOKENS):
        p = dict(zip(baseline.top_ids[i], np.exp(baseline.top_logprobs[i]), strict=True))
        q = dict(zip(ours.top_ids[i], np.exp(ours.top_logprobs[i]), strict=True))
        p[baseline.id[i]], q[ours.id[i]] = np.exp(baseline.logprob[i]), np.exp(ours.logprob[i])
        both = p.keys() & q.keys()
        rest = 1 - sum(p[t] for t in both), 1 - sum(q[t] for t in both)
        sums.append(
            sum(p[t] * np.log(p[t] / q[t]) for t in both) + rest[0] * np.log(rest[0] / rest[1])
        )
    found = divergence(ours, baseline, seed=0)
    assert found.kl_mean == pytest.approx(np.mean(sums), rel=1e-9)
    assert found.kl_p99 == pytest.approx(np.quantile(sums, 0.99, method="inverted_cdf"), rel=1e-9)


def test_the_likeliest_tokens_are_compared_exactly() -> None:
    baseline, ours = full(0), full(1.0)
    found = divergence(told(ours, 1), told(baseline, 1), seed=0)
    same = (baseline.argmax(axis=1) == ours.argmax(axis=1)).mean()
    assert found.top1 == pytest.approx(same)
    assert found.top1_ci95 is not None
    assert found.top1_ci95[0] < same < found.top1_ci95[1]


def test_equal_builds_have_no_divergence() -> None:
    values = told(full(0), 10)
    found = divergence(values, values, seed=0)
    assert found.kl_mean == pytest.approx(0, abs=1e-12)
    assert found.top1 == 1
    assert found.kl_p99_ci95 == (0, 0)


def test_only_places_that_both_have_are_compared() -> None:
    ours, baseline = told(full(0.3), 5), told(full(0), 5)
    keep = ours.window != 3
    fewer = TokenValues(**{name: getattr(ours, name)[keep] for name in vars(ours)})
    found = divergence(fewer, baseline, seed=0)
    assert (found.tokens, found.windows) == (TOKENS - TOKENS // WINDOWS, WINDOWS - 1)


def test_missing_tokens_are_no_tokens_in_common() -> None:
    ours, baseline = told(full(0.3), 5), told(full(0), 5)
    ids, logprobs = baseline.top_ids.copy(), baseline.top_logprobs.copy()
    ids[:, 3:], logprobs[:, 3:] = NO_TOKEN, np.nan
    mine, mine_logprobs = ours.top_ids.copy(), ours.top_logprobs.copy()
    mine[:, 3:], mine_logprobs[:, 3:] = NO_TOKEN, np.nan
    cut = replace(ours, top_ids=mine, top_logprobs=mine_logprobs)
    short = divergence(cut, replace(baseline, top_ids=ids, top_logprobs=logprobs), seed=0)
    assert short.kl_mean == pytest.approx(
        divergence(told(full(0.3), 3), told(full(0), 3), seed=0).kl_mean
    )


def test_without_the_likeliest_tokens_nothing_is_said() -> None:
    found = divergence(told(full(0.3), 0), told(full(0), 0), seed=0)
    assert (found.tokens, found.kl_mean, found.top1) == (TOKENS, None, None)


def test_a_server_that_tells_no_ids_agrees_with_nobody() -> None:
    values = told(full(0), 5)
    silent = replace(values, top_ids=np.full_like(values.top_ids, NO_TOKEN))
    for ours, baseline in ((silent, silent), (silent, values), (values, silent)):
        found = divergence(ours, baseline, seed=0)
        assert (found.top_k, found.kl_mean, found.top1) == (0, None, None)
    half = values.top_ids.copy()
    half[::2] = NO_TOKEN
    partly = divergence(replace(values, top_ids=half), values, seed=0)
    assert (partly.tokens, partly.top1) == (TOKENS // 2, 1.0)


def test_another_text_is_refused() -> None:
    values = told(full(0), 2)
    other = replace(values, id=values.id + 1)
    with pytest.raises(PairError, match="1200 of 1200 tokens differ"):
        divergence(other, values, seed=0)
    with pytest.raises(PairError, match="no token was scored by both"):
        divergence(replace(values, position=values.position + 10**6), values, seed=0)
