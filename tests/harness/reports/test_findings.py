from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.measuring.compared_stats import OutputsCompared
from harness.reports import findings, load_report
from tests.harness.cells import S, answer, measured

if TYPE_CHECKING:
    from harness.measuring.measurement import CellMeasurement
    from harness.rundir import RunFolder


def with_everything() -> CellMeasurement:
    """Bursts, two prompt lengths, a freeze, answers that repeat."""
    samples = []
    for n in range(400):
        at = 0.05 * n
        inside = 8 <= at < 12
        gaps = [10.0] * 10
        if n == 250:
            gaps[5] = 900.0
        samples.append(
            answer(
                n, at, 200 if inside else 50 + n % 3, gaps,
                prompt_tokens=800 if n % 4 == 0 else 30 + n % 7,
                compression=9.0 if n % 3 == 0 else 1.2,
                finish_reason="stop" if n % 2 else "length",
            )
        )  # fmt: skip
    return measured(samples, 20, bursts_ns=[(8 * S, 12 * S)])


def test_what_is_worth_a_line_gets_one() -> None:
    cell = with_everything()
    lines = list(findings.sentences(cell))
    assert len(lines) == 4 - (not findings._sure(cell.mixture.ttft_ms))  # type: ignore[union-attr]
    bursts, stalls, answers = lines[0], lines[-2], lines[-1]
    assert bursts.startswith("bursts: TTFT p95 52.0 ms between, ~200 ms inside, backlog up to ")
    assert bursts.endswith("; nothing was seen to stay slow.")
    assert stalls.startswith("stalls: 1 gaps above 200 ms in 1 of 400 answers, 2.2")
    assert "the longest 900 ms" in stalls
    assert answers.startswith("answers: ended by length 200 · stop 200, 134 repeat themselves")


def test_nothing_is_said_where_all_is_as_it_should_be() -> None:
    cell = measured([answer(n, 0.05 * n) for n in range(400)], 20)
    assert list(findings.sentences(cell)) == []
    [row] = findings.rows_of_steady(cell)
    assert row[:2] == ["0.500–20.0 s", "2.50 %"]  # it began empty
    assert findings.rows_of_bursts(cell) == findings.rows_of_lengths(cell) == []


def test_rows_have_as_many_texts_as_their_headers() -> None:
    cell = with_everything()
    for header, rows in (
        (findings.BURST_HEADER, findings.rows_of_bursts),
        (findings.BURSTS_HEADER, findings.rows_of_all_bursts),
        (findings.LENGTH_HEADER, findings.rows_of_lengths),
        (findings.NEIGHBOUR_HEADER, findings.rows_of_neighbours),
        (findings.STALL_HEADER, findings.rows_of_stalls),
        (findings.STEADY_HEADER, findings.rows_of_steady),
        (findings.OUTPUT_HEADER, findings.rows_of_outputs),
    ):
        found = rows(cell)
        assert found
        assert {len(row) for row in found} == {len(header)}
        empty = measured([], 20)
        assert {len(row) for row in rows(empty)} <= {len(header)}


def test_what_the_baseline_said_is_told() -> None:
    cell = with_everything()
    assert cell.outputs is not None
    compared = OutputsCompared(
        baseline="fp16", pairs=400, length_ratio=0.8, shorter=300, longer=10, p_shorter=1e-9,
        compared_texts=400, identical=7,
    )  # fmt: skip
    outputs = msgspec.structs.replace(cell.outputs, compared=compared)
    assert "80.0 % of fp16's length and 7 of 400 the same text" in findings.outputs(outputs)
    [row] = findings.rows_of_outputs(msgspec.structs.replace(cell, outputs=outputs))
    assert row[-2:] == ["80.0 %", "7 of 400"]


@pytest.mark.parametrize("name", ["html", "markdown", "terminal"])
def test_every_report_has_them(runs: dict[str, RunFolder], name: str) -> None:
    text = load_report(name).render(runs["bursty"])
    wanted = {
        "html": ("What bursts do", "Stalls and steady state", "Output audit"),
        "markdown": ("### Output audit", "Beyond the percentiles"),
        "terminal": ("Bursts: TTFT p95",),
    }
    for part in wanted[name]:
        assert part in text


def test_a_prefill_curve_is_told_with_its_line() -> None:
    tokens = [n for _ in range(5) for n in (16, 128, 1000)]
    samples = [answer(seq, 0.2 * seq, 10 + n / 25, prompt_tokens=n) for seq, n in enumerate(tokens)]
    known = {"prompts_unique": True}
    cell = measured(samples, 3, streams=1, prompt_tokens=tokens, facts=known)
    assert findings.prefill(cell).startswith(
        "TTFT p50 in ms by prompt tokens: 10.6 at 16.0, 15.1 at 128, 50.0 at 1,000; the line "
        "through them: 10.0 ms (10.0–10.0) + 40.0 ms (40.0–40.0) per 1,000 tokens, off by "
    )
    several = measured(samples, 3, streams=2, prompt_tokens=tokens, facts=known)
    assert findings.prefill(several) == ""
