"""Axes that hold what they are given, and charts that say what they are."""

from __future__ import annotations

import itertools
import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reports.page.axes import Scale, fitting, linear, log_between, logarithmic
from harness.reports.page.svg import FULL, Chart, Pen, Strip, dots, path, steps

POSITIVE = st.floats(1e-6, 1e9)


@given(values=st.lists(st.floats(-1e9, 1e9), max_size=20), zero=st.booleans())
def test_a_linear_axis_holds_all_values_between_round_labels(
    *, values: list[float], zero: bool
) -> None:
    scale = linear(values, zero=zero)
    slack = 1e-6 * (scale.high - scale.low)
    assert scale.low <= min(values, default=0.0) + slack
    assert scale.high >= max(values, default=1.0) - slack
    assert 2 <= len(scale.ticks) <= 12
    assert all(0 <= tick.at <= 1 for tick in scale.ticks)
    assert len({tick.text for tick in scale.ticks}) == len(scale.ticks)


@given(st.lists(POSITIVE, min_size=1, max_size=20))
def test_a_log_axis_holds_all_values_in_order(values: list[float]) -> None:
    scale = logarithmic(values)
    assert scale.low <= min(values) * 1.002
    assert scale.high >= max(values) * 0.998
    places = [scale.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert len(scale.ticks) >= 2
    assert all(a.at < b.at for a, b in itertools.pairwise(scale.ticks))


@pytest.mark.parametrize(
    ("scale", "labels"),
    [
        (linear([3, 97]), ["0", "25", "50", "75", "100"]),
        (linear([0, 0.013]), ["0.000", "0.005", "0.010", "0.015"]),
        (linear([-3, 4]), ["−4", "−2", "0", "2", "4"]),
        (linear([12_000]), ["0", "5,000", "10k", "15k"]),
        (logarithmic([1.2, 900]), ["1", "2", "5", "10", "20", "50", "100", "200", "500", "1,000"]),
        (logarithmic([7, 40_000]), ["10", "100", "1,000", "10k"]),
        (log_between(10, 16), ["10", "12", "14", "16"]),
    ],
)
def test_labels_are_round(scale: Scale, labels: list[str]) -> None:
    assert [tick.text for tick in scale.ticks] == labels


def test_only_what_is_wide_gets_a_log_axis() -> None:
    assert fitting([1, 100]).log
    assert not fitting([1, 10]).log
    assert not fitting([0, 100]).log
    assert not fitting([]).log


def test_places_are_where_the_values_are() -> None:
    x, y = linear([0, 10]), linear([0, 100])
    line = path([(0, 0), (5, 50), None, (10, 100)], x, y, "line")
    assert re.findall(r'd="([^"]*)"', line) == ["M0 1000 500 500 M1000 0"]
    stair = steps([0, 5, 10], [100, 0], x, y, "line", filled=True)
    assert re.findall(r'd="([^"]*)"', stair) == ["M0 1000V0H500V1000H1000V1000Z"]
    assert dots([(5, 50), (5.0001, 50)], x, y, "").count("h0") == 1  # one on the other


def test_values_beyond_the_axis_stand_at_its_end() -> None:
    scale = linear([0, 10])
    assert scale.at(-5) == 0
    assert scale.at(99) == 1
    assert log_between(1, 10).at(0) == 0


def test_a_chart_tells_what_it_is_and_escapes_it() -> None:
    x = linear([0, 1])
    chart = Chart(title="<b>", x=x, y=x, described='"&', marks=[path([(0, 0)], x, x, "line")])
    chart.names.append(((0.5, 0.5), "<script>"))
    pen = Pen()
    first, second = pen.draw(chart), pen.draw(chart)
    assert '<title id="t1">&lt;b&gt;</title><desc id="d1">&#34;&amp;</desc>' in first
    assert "&lt;script&gt;" in first
    assert 'id="t2"' in second
    assert f'viewBox="0 0 {FULL} {FULL}"' in first


def test_names_of_close_points_do_not_stand_on_each_other() -> None:
    x = linear([0, 1])
    chart = Chart(title="t", x=x, y=x, marks=[path([(0, 0)], x, x, "line")])
    chart.names += [((0.1, 0.5), "a"), ((0.1, 0.505), "b"), ((0.1, 0.51), "c")]
    drawn = Pen().draw(chart)
    spots = re.findall(r'<text x="([-\d.]+)%" dx="-?2" y="([\d.]+)%" dy="4" class=', drawn)
    assert len(spots) == 3
    for (ax, ay), (bx, by) in itertools.combinations(spots, 2):
        assert abs(float(ay) - float(by)) >= 7.5 or abs(float(ax) - float(bx)) >= 4
    assert 1 <= drawn.count('class="lead"') <= 3


def test_no_build_has_the_colour_of_a_shaded_part_of_a_chart() -> None:
    """Shades are grey; builds' colours, the sixth one's too, are less so."""
    css = (resources.files("harness.reports.page") / "page.css").read_text()
    schemes = re.findall(r"--b0:.*", css)
    assert len(schemes) == 3, "light, dark, paper"
    for scheme in schemes:
        shade = [
            int(part) for part in re.search(r"--shade: rgb\((\d+) (\d+) (\d+)", scheme).groups()
        ]
        builds = [bytes.fromhex(code) for code in re.findall(r"--b\d: #(\w{6})", scheme)]
        assert len(builds) == 6
        assert max(shade) - min(shade) < 10 < min(max(build) - min(build) for build in builds)


def test_labels_of_a_narrow_axis_do_not_touch() -> None:
    axis = str(Strip(scale=logarithmic([70, 1500])).axis())
    places = [float(at) / 100 for at in re.findall(r'x="([\d.]+)%"', axis)]
    names = re.findall(r">([\d,]+)</text>", axis)
    assert 3 <= len(names) == len(places) < len(logarithmic([70, 1500]).ticks)
    widths = [0.06 * len(name) / 2 for name in names]
    for (a, b), (half_a, half_b) in zip(
        itertools.pairwise(places), itertools.pairwise(widths), strict=True
    ):
        assert a + half_a < b - half_b
