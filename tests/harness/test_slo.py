from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import msgspec
import pytest

from harness.errors import BadInputError
from harness.measuring.measurement import Requests, Stat
from harness.measuring.request import RequestValues
from harness.measuring.slo import LATENCIES, SPEEDS, Limit, Slo, observed, parse_slo
from loadprofiles.records import Sample

MS = 1_000_000


def answer(**changes: object) -> Sample:
    """Due at 0, sent at 10 ms, chunks at 110, 120, 130, 160 ms, four tokens."""
    return msgspec.structs.replace(
        Sample(
            seq=0, body=0, request_id="r", phase="measured", due_ns=0, sent_ns=10 * MS,
            first_ns=110 * MS, first_answer_ns=120 * MS, last_ns=160 * MS, done_ns=161 * MS,
            status=200, output_tokens=4, chunk_ns=[10 * MS, 10 * MS, 30 * MS],
        ),
        **changes,
    )  # fmt: skip


def test_the_contracts_spelling() -> None:
    slo = parse_slo("ttft_p95_ms<=500,itl_p95_ms<=50,error_rate<=0.1%")
    assert [(x.metric, x.statistic, x.operator, x.value) for x in slo.limits] == [
        ("ttft_ms", "p95", "<=", 500.0),
        ("itl_ms", "p95", "<=", 50.0),
        ("error_rate", None, "<=", pytest.approx(0.001)),
    ]
    assert str(slo) == "ttft_p95_ms<=500,itl_p95_ms<=50,error_rate<=0.1%"


def test_vllms_spelling_is_in_ms() -> None:
    slo = parse_slo("ttft:500 tpot:50 e2el:5000")
    assert [(x.metric, x.statistic, x.value) for x in slo.limits] == [
        ("ttft_ms", None, 500.0),
        ("tpot_ms", None, 50.0),
        ("e2e_ms", None, 5000.0),
    ]


@pytest.mark.parametrize(
    ("text", "metric", "statistic", "operator", "value"),
    [
        ("ttft_due_p99_9_ms<=1e3", "ttft_due_ms", "p99_9", "<=", 1000.0),
        (" ttft_ms <= 500 ", "ttft_ms", None, "<=", 500.0),
        ("stall_max_ms<=500ms", "stall_ms", "max", "<=", 500.0),
        ("e2e_ms_p95<=500", "e2e_ms", "p95", "<=", 500.0),
        ("decode_p95_tps>=20", "decode_tps", "p95", ">=", 20.0),
        ("sequence_mean_tps>=20tps", "sequence_tps", "mean", ">=", 20.0),
        ("aggregate_tps>=1000", "aggregate_tps", None, ">=", 1000.0),
        ("goodput>=9.5", "goodput", None, ">=", 9.5),
        ("error_rate<=0.05", "error_rate", None, "<=", 0.05),
        ("error_rate<=0", "error_rate", None, "<=", 0.0),
    ],
)
def test_spellings(
    text: str, metric: str, statistic: str | None, operator: str, value: float
) -> None:
    (limit,) = parse_slo(text).limits
    assert (limit.metric, limit.statistic, limit.operator, limit.value) == (
        metric, statistic, operator, pytest.approx(value),
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["a<=1, b<=2", "ttft_p95_ms <= 500   itl_p95_ms<=50", "ttft:1,tpot:2"]
)
def test_commas_and_spaces_both_separate(text: str) -> None:
    if text.startswith("a"):
        with pytest.raises(BadInputError, match='"a"'):
            parse_slo(text)
    else:
        assert len(parse_slo(text).limits) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no limit"]),
        ("   ", ["no limit"]),
        ("fast please", ["fast please"]),
        ("ttft_p95_ms", ['cannot read "ttft_p95_ms"']),
        ("ttft_p95_ms<=500,bogus", ['cannot read "bogus"']),
        ("tftt_p95_ms<=500", ['unknown metric "tftt_ms"', 'did you mean "ttft_p95_ms"']),
        ("latency_p95_ms<=500", ["unknown metric"]),
        ("eror_rate<=1%", ['did you mean "error_rate"']),
        ("ttft_p95_s<=0.5", ["ttft is measured in ms, not in s", "ttft_p95_ms"]),
        ("ttft_p95<=500", ["names no unit", "ttft_p95_ms"]),
        ("decode_p95>=5", ["names no unit", "decode_p95_tps"]),
        ("ttft_p95_ms<=0.5s", ["in ms", 'not in "s"']),
        ("ttft_p95_ms<=5%", ['not in "%"']),
        ("goodput>=5ms", ["without a unit", '"ms"']),
        ("error_rate<=5ms", ["percentage", '"ms"']),
        ("error_rate<=5", ["between 0 and 1"]),
        ("error_rate<=1", ["needs its percent sign"]),
        ("error_rate<=101%", ["between 0 and 1"]),
        ("ttft_p95_ms>=500", ["upper limit", "<=", "not >="]),
        ("ttft_p95_ms<500", ["operator is <=", "not <"]),
        ("ttft_p95_ms=500", ["operator is <=", "not ="]),
        ("decode_p95_tps<=5", ["lower limit", ">=", "not <="]),
        ("ttft_p97_ms<=500", ["p97 is not measured"]),
        ("error_rate_p95<=1%", ["one value a cell", "p95"]),
        ("ttft_p95_ms<=fast", ['"fast" is no number']),
        ("ttft_p95_ms<=-5", ["positive"]),
        ("ttft_p95_ms<=0", ["positive"]),
        ("ttft_p95_ms<=1e999", ["positive"]),
        ("ttfx:500", ['unknown name "ttfx"', "ttft"]),
        ("ttft:fast", ['"fast" is no number']),
        ("ttft:0.5s", ['not in "s"']),
    ],
)
def test_a_bad_slo_is_named(text: str, words: list[str]) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_slo(text)
    for word in words:
        assert word in str(caught.value)


def test_metrics_named_here_are_those_of_a_request() -> None:
    fields = {field.name for field in dataclasses.fields(RequestValues)}
    assert fields == {*LATENCIES, *SPEEDS} - {"itl_ms"}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("ttft_ms<=100", True),
        ("ttft_ms<=99", False),
        ("ttft_p95_ms<=100", True),  # a request's own value, whatever percentile is named
        ("ttft_due_ms<=110", True),
        ("ttft_due_ms<=109", False),
        ("ttfa_ms<=110", True),
        ("ttfa_ms<=109", False),
        ("e2e_ms<=160", True),
        ("e2e_ms<=159", False),
        ("itl_ms<=17", True),  # mean of 10, 10, 30 is 16.7
        ("itl_ms<=16", False),
        ("itl_p50_ms<=10", True),
        ("itl_p95_ms<=28", True),  # its own percentile: rank 1.9 of 10, 10, 30
        ("itl_p95_ms<=27.9", False),
        ("itl_max_ms<=30", True),
        ("itl_max_ms<=29", False),
        ("stall_ms<=29", False),
        ("tpot_ms<=16.67", True),
        ("tpot_ms<=16.66", False),
        ("decode_tps>=59", True),
        ("decode_tps>=61", False),
        ("sequence_tps>=26", True),  # 4 / 0.150 s
        ("sequence_tps>=27", False),
        ("ttft:100 tpot:17 e2el:160", True),
        ("ttft:100 tpot:17 e2el:159", False),
        ("error_rate<=0", True),  # not a matter of single requests
    ],
)
def test_what_a_request_meets(text: str, *, met: bool) -> None:
    assert parse_slo(text).met_by(answer()) is met


def test_a_limit_on_tpot_is_not_one_on_itl() -> None:
    """Sixteen tokens in four chunks: gaps of 17 ms on average, 4 ms a token."""
    several = msgspec.structs.replace(answer(), output_tokens=16)
    assert parse_slo("tpot:5").met_by(several)
    assert not parse_slo("itl_ms<=5").met_by(several)
    metrics = SimpleNamespace(tpot_ms=Stat(p95=4.2, n=30), itl_ms=Stat(p95=17.0, n=30))
    cell = SimpleNamespace(metrics=metrics)
    for text in ("tpot:5", "tpot_p95_ms<=5"):
        assert observed(parse_slo(text).limits[0], cell) == 4.2  # type: ignore[arg-type]


def test_a_failed_request_meets_nothing() -> None:
    assert not parse_slo("ttft_ms<=1000").met_by(answer(error="truncated"))
    assert not parse_slo("error_rate<=100%").met_by(answer(error="timeout"))


def test_a_one_token_answer_cannot_break_limits_on_decoding() -> None:
    one = answer(last_ns=110 * MS, first_answer_ns=110 * MS, chunk_ns=[], output_tokens=1)
    assert parse_slo("itl_ms<=1,stall_ms<=1,tpot_ms<=1,decode_tps>=1e9").met_by(one)
    assert not parse_slo("ttft_ms<=1").met_by(one)


def test_an_answer_of_reasoning_alone_breaks_a_limit_on_the_answer() -> None:
    assert not parse_slo("ttfa_ms<=1000").met_by(answer(first_answer_ns=None))


def test_a_limit_holds_at_its_value() -> None:
    upper = Limit(metric="ttft_ms", statistic="p95", operator="<=", value=5.0, text="")
    lower = Limit(metric="goodput", statistic=None, operator=">=", value=5.0, text="")
    assert upper.holds(5.0)
    assert not upper.holds(5.1)
    assert lower.holds(5.0)
    assert not lower.holds(4.9)
    assert upper.per_request
    assert not lower.per_request


def test_the_value_of_a_cell() -> None:
    cell = SimpleNamespace(
        requests=Requests(
            planned=12, sent=10, ok=9, failed=1, dropped=2, errors={}, truncated=0, empty=0
        ),
        metrics=SimpleNamespace(
            ttft_ms=Stat(p50=1.0, p95=2.0, n=30),
            e2e_ms=Stat(n=30, unstable=True),
            sequence_tps=Stat(n=30, unstable=True),
            goodput=None,
            aggregate_tps=7.0,
        ),
    )

    def value(text: str) -> float | None:
        return observed(parse_slo(text).limits[0], cell)  # type: ignore[arg-type]

    assert value("ttft_p50_ms<=1") == 1.0
    assert value("ttft_ms<=1") == 2.0
    assert value("ttft_p99_ms<=1") is None
    assert value("e2e_ms<=1e9") == math.inf
    assert value("sequence_tps>=1") == 0.0
    assert value("goodput>=1") is None
    assert value("aggregate_tps>=1") == 7.0
    assert value("error_rate<=100%") == pytest.approx(3 / 12)


def test_an_slo_prints_as_it_was_written() -> None:
    text = "ttft_p95_ms<=500,tpot:50"
    assert str(parse_slo(" ttft_p95_ms <= 500 , tpot:50")) == text
    assert parse_slo(str(parse_slo(text))) == parse_slo(text)
    assert isinstance(parse_slo(text), Slo)
