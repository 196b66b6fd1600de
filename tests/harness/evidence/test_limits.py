"""The limits' grammar."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BadInputError
from harness.evidence.limits import Level, metrics_of, parse_limit, parse_limits


def test_a_list_of_all_kinds() -> None:
    limits = parse_limits(
        "ttft_p95_ms@c8<=500, error_rate <= 0.1% ratio(itl_ms@r2.5)<=150%,"
        "memory_peak_gib<=20gib,retained(domain)>=95%, score(domain/velocity) >= 0.9,"
        "perplexity_rise<=5 %,difference(mmlu)>=-2%"
    )
    said = [(one.kind, one.metric, one.suite, one.part, one.value) for one in limits]
    assert said == [
        ("load", "ttft_p95_ms", None, None, 500),
        ("load", "error_rate", None, None, 0.001),
        ("load", "itl_p95_ms", None, None, 1.5),
        ("server", "memory_peak_gib", None, None, 20),
        ("quality", "retained", "domain", None, 0.95),
        ("quality", "score", "domain", "velocity", 0.9),
        ("quality", "perplexity_rise", None, None, 0.05),
        ("quality", "difference", "mmlu", None, -0.02),
    ]
    assert limits[0].level == Level(kind="concurrency", value=8)
    assert limits[2].level == Level(kind="rate", value=2.5)
    assert [one.ratio for one in limits] == [False, False, True, *[False] * 5]
    assert [one.needs_baseline for one in limits] == [
        False, False, True, False, True, False, True, True,
    ]  # fmt: skip
    assert metrics_of(limits) == ["ttft_p95_ms", "error_rate", "itl_p95_ms"]


def test_a_level_after_the_ratio_and_memory_at_a_level() -> None:
    assert str(parse_limit("ratio(e2e_p50_ms)@c64<=1.5").level) == "c64"
    assert parse_limit("memory_peak_gib@c8<=2").kind == "load"
    assert parse_limit("sequence_tps_p50@c1>=9").metric == "sequence_p50_tps"
    assert parse_limit("ratio(memory_peak_gib)<=1.1").ratio


@pytest.mark.parametrize(
    ("text", "complaint", "hint"),
    [
        ("ttft_p95<=500", "names no unit: write ttft_p95_ms", ""),
        ("tftt_p95_ms<=500", 'unknown metric "tftt_p95_ms" (did you mean "ttft_p95_ms"', ""),
        ("memory_gib<=2", 'unknown metric "memory_gib" (did you mean "memory_peak_gib"', ""),
        ("ttft_p95_ms>=500", "has an upper limit, so its operator is <=", "ttft_p95_ms<=500"),
        ("retained(domain)<=95%", "has a lower limit", "retained(domain)>=95%"),
        ("retained(domain)>=95", "needs its percent sign", "write 95% or 0.95"),
        ("retained>=1.5", "needs its percent sign", "write 1.5% or 0.015"),
        ("perplexity_rise<=2", "needs its percent sign", "write 2% or 0.02"),
        ("perplexity_rise<=1", "needs its percent sign", "write 1% or 0.01"),
        ("difference(domain)>=-1", "needs its percent sign", "write -1% or -0.01"),
        ("score(domain)>=1", "needs its percent sign", "write 1% or 0.01"),
        ("score(domain)>=101%", "is a share between 0 and 1", ""),
        ("error_rate<=1", "needs its percent sign", "error_rate<=1% or error_rate<=0.01"),
        ("error_rate@c8<=5", "needs its percent sign", "error_rate<=5%"),
        ("ratio(ttft_p95_ms@c8)<=150", "150 times the baseline's", "write 150% or 1.5"),
        ("ratio(aggregate_tps)>=80", "80 times the baseline's", "write 80% or 0.8"),
        ("ratio(memory_peak_gib)<=10", "10 times the baseline's", "1000% if not"),
        ("retaind(domain)>=95%", 'unknown function "retaind" (did you mean "retained"', ""),
        ("ttft_p95_ms@8<=500", '"@8" is no level', "@c8"),
        ("score(domain)@c8>=0.9", "not graded at a level", "score(domain)"),
        ("ready_s@c8<=9", "is of the server", "ready_s alone"),
        ("perplexity_rise<=5s", "is a share", ""),
        ("memory_peak_gib<=20mb", "is given in gib above 0", ""),
        ("score(/x)>=0.9", "names no suite", "SUITE/CATEGORY"),
        ("ratio(ttft_p95_ms@c1)@c2<=1", "names two levels", ""),
        ("ratio(ttft_p95_ms)<=5ms", "a ratio is a positive number", "1.2 or 120%"),
        ("", "it names no limit", ""),
        ("fast please", 'cannot read "fast please"', ""),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(text: str, complaint: str, hint: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_limits(text, "rules[2]")
    assert caught.value.text.startswith("rules[2]: ")
    assert complaint in caught.value.text
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ratio(ttft_p95_ms)<=1.5", 1.5),
        ("ratio(ttft_p95_ms)<=9.9", 9.9),
        ("ratio(ttft_p95_ms)<=1500%", 15),
        ("retained(domain)>=0.95", 0.95),
        ("score(domain)>=100%", 1),
        ("difference(domain)>=-0.02", -0.02),
        ("perplexity_rise<=0.05", 0.05),
        ("perplexity_rise<=150%", 1.5),
        ("error_rate<=0", 0),
        ("error_rate<=0.5", 0.5),
        ("error_rate<=100%", 1),
    ],
)
def test_a_share_below_1_needs_no_percent_sign(text: str, value: float) -> None:
    assert parse_limit(text).value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("retained(domain)>=100%", "99%"), ("retained(domain)>=1", "99%"),
        ("difference(domain)>=0%", "-1%"), ("difference(domain)>=2%", "-1%"),
        ("perplexity_rise<=0%", "1%"),
    ],
)  # fmt: skip
def test_that_nothing_is_lost_is_refused_since_it_cannot_be_shown(text: str, instead: str) -> None:
    with pytest.raises(BadInputError, match="that nothing is lost cannot be shown") as caught:
        parse_limit(text)
    assert caught.value.hint == f"write e.g. {instead}"
    assert parse_limit(text, recorded=True)


def test_all_mistakes_at_once() -> None:
    with pytest.raises(BadInputError) as caught:
        parse_limits("ttft_p95<=500,score(domain)>=0.9,nonsense,ready_s>=5")
    assert [("ttft" in line, "nonsense" in line) for line in caught.value.text.splitlines()] == [
        (True, False), (False, True), (False, False),
    ]  # fmt: skip


def test_one_limit_is_one() -> None:
    with pytest.raises(BadInputError, match="holds 2 limits"):
        parse_limit("ready_s<=5,ready_s<=6")


def test_every_limit_of_the_page_about_them_can_be_read() -> None:
    page = (Path(__file__).parents[3] / "docs/limits.md").read_text()
    written = [word for word in re.findall(r"`([^`]+)`", page) if "<=" in word or ">=" in word]
    assert len(written) > 15
    for text in written:
        assert parse_limit(text, "docs").text == text


@given(st.text(alphabet="retaindpx_95smc8@()<>=%./,- 0\n", max_size=40))
def test_whatever_is_written_is_read_or_refused_in_words(text: str) -> None:
    limits = ()
    with contextlib.suppress(BadInputError):
        limits = parse_limits(text)
    assert all(parse_limit(one.text) == one for one in limits)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("perplexity_rise<=2", 2.0),
        ("retained(domain)>=1", 1.0),
        ("ratio(e2e_p50_ms)<=150", 150.0),
        ("error_rate<=1", 1.0),
    ],
)
def test_what_an_older_run_keeps_is_read_as_it_was(text: str, value: float) -> None:
    with pytest.raises(BadInputError):
        parse_limits(text)
    [limit] = parse_limits(text, recorded=True)
    assert limit.value == value
    with pytest.raises(BadInputError, match="perplexity_rise"):
        parse_limits("perplexity_rise<=5", recorded=True)  # which it never was


def test_a_ratio_of_error_rates_is_no_error_rate() -> None:
    assert parse_limits("ratio(error_rate)<=1.5")[0].value == 1.5
