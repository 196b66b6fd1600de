"""The Pareto front."""

from harness.comparing.front import Objective, front

Spans = dict[str, tuple[float, float, float]]


def objective(name: str, best: str, **spans: tuple[float, float, float]) -> Objective:
    """Value, and both ends of its interval, by build."""
    return Objective(
        name,
        best,  # type: ignore[arg-type]
        {build: span[0] for build, span in spans.items()},
        {build: (span[1], span[2]) for build, span in spans.items()},
    )


def test_members_are_those_that_none_dominates() -> None:
    found = front(
        ["fp16", "awq", "gptq"],
        [
            objective("tps", "most", fp16=(10, 9, 11), awq=(20, 19, 21), gptq=(15, 14, 16)),
            objective("loss", "least", fp16=(1, 0.9, 1.1), awq=(2, 1.9, 2.1), gptq=(3, 2.9, 3.1)),
        ],
        ["memory"],
    )
    assert found is not None
    assert found.members == ["fp16", "awq"]
    assert found.dominated == {"gptq": "awq"}
    assert found.doubtful == []
    assert found.objectives == {"tps": "most", "loss": "least"}
    assert list(found.left_out) == ["memory"]


def test_a_place_that_rests_on_noise_is_doubtful() -> None:
    found = front(
        ["a", "b", "c"],
        [
            objective("tps", "most", a=(10, 8, 12), b=(11, 9, 13), c=(30, 29, 31)),
            objective("loss", "least", a=(1, 0.8, 1.2), b=(1.1, 0.9, 1.3), c=(5, 4, 6)),
        ],
        [],
    )
    assert found is not None
    assert found.members == ["a", "b", "c"]
    assert found.doubtful == ["a", "b"]


def test_a_dominated_one_that_is_shown_to_be_worse_somewhere_is_settled() -> None:
    found = front(
        ["a", "b"],
        [
            objective("tps", "most", a=(10, 9, 11), b=(20, 19, 21)),
            objective("loss", "least", a=(1.1, 0.9, 1.3), b=(1, 0.8, 1.2)),
        ],
        [],
    )
    assert found is not None
    assert (found.dominated, found.doubtful) == ({"a": "b"}, [])


def test_one_objective_or_one_build_makes_no_front() -> None:
    one = objective("tps", "most", a=(1, 1, 1), b=(2, 2, 2))
    assert front(["a", "b"], [one], []) is None
    assert front(["a"], [one, one], []) is None
