from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evals.perplexity.windows import Window, windows

CONVENTIONS = st.integers(1, 40).flatmap(
    lambda capacity: st.tuples(st.just(capacity), st.integers(1, capacity))
)


@given(n=st.integers(0, 300), convention=CONVENTIONS, bos=st.booleans())
def test_every_token_is_scored_once_with_the_context_promised(
    n: int, convention: tuple[int, int], *, bos: bool
) -> None:
    capacity, stride = convention
    found = list(windows(n, capacity, stride, bos=bos))
    scored = [place for w in found for place in range(w.scored, w.end)]
    assert scored == sorted(set(scored)), "in order, none twice"
    heads = set(range(0, n, stride)) if stride == capacity else {0}
    unscored = set() if bos else heads & set(range(n))
    assert set(range(n)) - set(scored) == unscored
    for w in found:
        assert 0 <= w.begin <= w.scored < w.end <= min(n, w.begin + capacity)
        assert w.begin == 0 or w.scored - w.begin >= capacity - stride
        assert bos or w.scored > w.begin, "what nothing precedes has no probability"


def test_the_usual_recipe() -> None:
    # W 8, S 3, no BOS: huggingface.co/docs/transformers/perplexity, but for its first label
    assert list(windows(15, 8, 3, bos=False)) == [
        Window(0, 1, 8),
        Window(3, 8, 11),
        Window(6, 11, 14),
        Window(9, 14, 15),
    ]


def test_a_paper_s_disjoint_windows() -> None:
    assert list(windows(10, 4, 4, bos=False)) == [
        Window(0, 1, 4),
        Window(4, 5, 8),
        Window(8, 9, 10),
    ]
    assert list(windows(10, 4, 4, bos=True)) == [Window(0, 0, 4), Window(4, 4, 8), Window(8, 8, 10)]


def test_a_text_of_one_token_needs_bos() -> None:
    assert list(windows(1, 4, 2, bos=False)) == []
    assert list(windows(1, 4, 2, bos=True)) == [Window(0, 0, 1)]
