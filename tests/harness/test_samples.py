from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.measuring.remeasure import measure_folder
from harness.measuring.request import RequestValues, columns_of
from harness.measuring.samples import Samples
from harness.measuring.slo import parse_slo
from loadprofiles.records import SAMPLES_FILE, Sample

GOLDEN = Path(__file__).parent / "golden"
S = 1_000_000_000


def some(count: int, seed: int = 1) -> list[Sample]:
    """Samples with everything that a field can be, in no order."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    found = []
    for number in range(count):
        gaps = [draw.choice([0, 7, 3 * S, draw.randrange(S)]) for _ in range(draw.randrange(4))]
        first = draw.choice([None, draw.randrange(S)])
        found.append(
            Sample(
                seq=number if draw.random() < 0.9 else 5,
                body=number,
                request_id=f"é{number}\ud800",
                phase=draw.choice(["warmup", "measured", "cooldown"]),
                due_ns=draw.randrange(10**15),
                sent_ns=draw.choice([None, 5]),
                first_ns=first,
                last_ns=None if first is None else first + sum(gaps),
                end_ns=None if first is None else first + sum(gaps) + 9,
                silent_chunks=draw.randrange(3),
                error=draw.choice([None, None, "timeout"]),
                detail=draw.choice([None, "", "said"]),
                output_tokens=draw.choice([None, 0, 1, 2, 5, 9]),
                chunk_ns=gaps,
                lag_us=[draw.randrange(100) for _ in range(draw.randrange(3))],
                compression=draw.choice([None, 2.5]),
                output_hash=draw.choice(["", "00ff00ff00ff00ff"]),
                retried=draw.random() < 0.1,
            )
        )
    return found


def in_order(samples: list[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda one: (one.phase, one.seq, one.request_id))


def test_what_goes_into_columns_comes_out_again_in_order() -> None:
    given = some(9000)
    expected = in_order(given)
    found = Samples.of(iter(given))
    assert list(found) == expected
    assert list(Samples.of(reversed(given))) == expected
    assert Samples.of(found) is found
    assert (found[17], found[-1], list(found[5:9])) == (expected[17], expected[-1], expected[5:9])
    assert list(Samples.of([])) == []


def test_a_selection_has_the_columns_of_its_samples() -> None:
    given = some(9000, seed=2)
    expected = [one for one in in_order(given) if one.phase == "measured" and one.error is None]
    chosen = Samples.of(given).measured.answered
    assert list(chosen) == expected
    for part, rows in ((chosen, expected), (chosen[10:20], expected[10:20])):
        assert part.values("chunk_ns").tolist() == [gap for one in rows for gap in one.chunk_ns]
        assert part.lengths("lag_us").tolist() == [len(one.lag_us) for one in rows]
        assert list(part.texts("detail")) == [one.detail for one in rows]
        assert part.has("first_ns").tolist() == [one.first_ns is not None for one in rows]
        assert part.retried.tolist() == [one.retried for one in rows]
    assert chosen.counts("error") == {None: len(expected)}
    backwards = chosen.take(np.arange(len(chosen))[::-1])
    assert list(backwards) == expected[::-1]
    assert backwards.values("chunk_ns").size == chosen.values("chunk_ns").size


def test_the_values_of_many_are_those_of_each() -> None:
    given = in_order(some(3000, seed=3))
    columns = columns_of(Samples.of(given))
    for at, one in enumerate(given):
        values = RequestValues.of(one)
        for name, column in columns.items():
            found = None if np.isnan(column[at]) else column[at]
            assert found == getattr(values, name), (name, one)


def test_a_number_of_more_than_64_bits_is_no_sample() -> None:
    [sample] = some(1)
    for changes in ({"output_tokens": 1 << 70}, {"chunk_ns": [1 << 70]}):
        with pytest.raises(msgspec.ValidationError, match="64 bits"):
            Samples.of([msgspec.structs.replace(sample, **changes)])


def only(found: object, wanted: object) -> object:
    """What `found` has of the keys of `wanted`, in its order: new ones may have come since."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return {key: only(found[key], value) for key, value in wanted.items()}
    return found


def test_an_old_run_gives_the_bytes_it_gave_before_there_were_columns() -> None:
    """`cell.measured.json` was written by the code that kept a list of objects.

    Without `late_merges`: the rules of who is to blame have changed since.
    """
    slo = parse_slo("ttft_p95_ms<=80,itl_p95_ms<=15,e2e_ms<=300")
    found = msgspec.to_builtins(measure_folder(GOLDEN / "cell", slo))
    expected = msgspec.json.decode((GOLDEN / "cell.measured.json").read_bytes())
    kept = only(found, expected)
    assert msgspec.json.encode(kept) == msgspec.json.encode(expected)


MEASURE = """
import pathlib, resource, sys
from harness.measuring.remeasure import measure_folder
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
measure_folder(pathlib.Path(sys.argv[2]), None)
before = peak()
measure_folder(pathlib.Path(sys.argv[1]), None)
print(peak() - before)
"""


def test_memory_per_request_is_bounded(tmp_path: Path) -> None:
    """30,000 requests of 16 tokens; as objects they would take 1.9 KB each before any number."""
    count = 30_000
    for file in (GOLDEN / "cell").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    draw = random.Random(4)  # noqa: S311 - no secret
    encode = msgspec.json.Encoder().encode
    with (tmp_path / SAMPLES_FILE).open("wb") as file:
        for seq in range(count):
            due = 50 * S + seq * 300_000
            gaps = [draw.randrange(S // 50) for _ in range(15)]
            first = due + S // 20
            sample = Sample(
                seq=seq, body=seq, request_id=f"0123456789ab-m{seq}", phase="measured",
                due_ns=due, submitted_ns=due, sent_ns=due + 1, first_ns=first,
                first_answer_ns=first, last_ns=first + sum(gaps), done_ns=first + sum(gaps),
                status=200, finish_reason="length", prompt_tokens=9, output_tokens=16,
                chunk_ns=gaps, lag_us=[draw.randrange(99) for _ in range(16)],
            )  # fmt: skip
            file.write(encode(sample) + b"\n")
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(GOLDEN / "cell")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 / count < 1100
