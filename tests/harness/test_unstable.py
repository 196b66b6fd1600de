"""A load that the server cannot do is called unstable; nothing that waits gets a number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.reports import findings
from loadprofiles.records import Endpoint
from tests.harness.cells import S, answer, measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.measurement import CellMeasurement

WAITS = ("ttft", "ttfa", "e2e", "sequence_tps", "fairness")
COUNTS = {"n", "n_infinite", "n_reference"}


def cell(capacity: float) -> CellMeasurement:
    """Twenty requests/s for 60 s in two lengths, bursts, sessions and on two replicas."""
    samples, free = [], 0.0
    for n in range(1200):
        at = n / 20
        free = max(at, free) + 1 / capacity
        samples.append(
            answer(
                n, at, 1000 * (free - at) + 20,
                prompt_tokens=30 + n % 9 if n % 3 else 900 + n % 50, endpoint=n % 2,
            )
        )  # fmt: skip
    return measured(
        samples, 60, bursts_ns=[(20 * S, 22 * S), (40 * S, 42 * S)],
        after=[n - 1 if n % 2 else -1 for n in range(1200)],
        replicas=[Endpoint(host="b", port=2, path="/")],
    )  # fmt: skip


def waiting(value: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of all numbers but counts below a key that names a time with waiting in it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from waiting(inner, (*path, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from waiting(inner, (*path, str(position)))
    elif (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and any(name in key for key in path for name in WAITS)
        and path[-1] not in COUNTS
    ):
        yield ".".join(path)


def test_no_number_of_what_waits_stands_anywhere_in_an_unstable_cell() -> None:
    found = cell(capacity=8)
    assert not found.stable
    assert list(waiting(msgspec.to_builtins(found))) == []
    steady = cell(capacity=40)
    assert steady.stable
    told = {path.split(".")[0] for path in waiting(msgspec.to_builtins(steady))}
    parts = {"metrics", "metrics_with_failures", "bursts", "mixture", "sessions", "endpoints"}
    assert told == parts, "the same walk finds them where the load was held"


def test_a_steady_part_of_a_queue_that_grows_is_none() -> None:
    samples = [answer(n, n / 20, 1000 * n * (1 / 8 - 1 / 20)) for n in range(1200)]
    found = measured(samples, 60).steady
    assert found is not None
    assert (found.state, found.part) == ("none", None)
    assert "backlog grew" in found.reason


def test_reports_have_the_word_where_the_number_would_be() -> None:
    found = cell(capacity=8)
    [neighbours] = findings.rows_of_neighbours(found)
    assert neighbours[1:4] == ["unstable"] * 3
    assert neighbours[-1] == "unstable"
    [bursts] = findings.rows_of_all_bursts(found)
    assert bursts[:5] == ["unstable"] * 5
    assert "what stayed slow cannot be told" in " ".join(findings.sentences(found))
