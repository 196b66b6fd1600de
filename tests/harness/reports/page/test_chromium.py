"""The page in a browser: drawn, silent, quick to filter, reachable by keyboard, and inert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.chromium import CHROMIUM, Browser
from benchmarks.made.comparison import comparison_run
from harness.reports import load_report
from harness.rundir import RunFolder
from tests.harness.reports.page.composites import HOSTILE, gate_run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: the page was not opened in a browser"
)

KEPT = Path(__file__).parents[3] / "fixtures" / "runs"
NOT_DRAWN = """[...document.querySelectorAll('svg.chart')].filter(chart => {
  const box = chart.getBoundingClientRect();
  const drawn = [...chart.querySelectorAll('path')].some(path => path.getTotalLength() > 0 ||
    path.classList.contains('dots'));
  return !chart.closest('details:not([open])') && (!drawn || box.width < 100 || box.height < 50);
}).length"""
SHOWN = """[...document.querySelectorAll('#list .flip')].map(flip => [
  flip.querySelector('b').textContent, flip.querySelector('.hint').textContent,
  flip.querySelector('.tag')?.textContent, flip.querySelector('p').textContent])"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, runs: dict[str, RunFolder],
          hostile: RunFolder) -> dict[str, Path]:  # fmt: skip
    """The pages of a run of each kind, as files."""
    place = tmp_path_factory.mktemp("pages")
    everything = {
        **{
            name: runs[name]
            for name in ("bursty", "closed-4x4", "all-failed", "no-cells", "zeros", "watched")
        },
        "hostile": hostile,
        "compare": comparison_run(
            place, builds=("fp16", "awq", "nf4"), levels=(1, 8), window_s=1, items=1000
        ),
        "gate": gate_run(place / "gate"),
        "evil": gate_run(place / "evil", evil=HOSTILE),
        "capacity": RunFolder(KEPT / "schema-1-capacity"),
    }
    found = {}
    for name, run in everything.items():
        found[name] = place / f"{name}.html"
        found[name].write_text(load_report("html").render(run), encoding="utf-8")
    return found


@pytest.mark.parametrize(
    ("kind", "charts"),
    [
        ("bursty", 2 + 4), ("closed-4x4", 3 + 4 + 8 + 16 * 4), ("all-failed", 4), ("no-cells", 0),
        ("zeros", 6), ("watched", 6 + 4),
        ("hostile", 6), ("compare", 4 + 3 + 4 + 4 + 12 * 4), ("gate", 0), ("evil", 0),
        ("capacity", 2 + 1 + 48),
    ],
)  # fmt: skip
def test_every_chart_is_drawn_and_nothing_complains(
    browser: Browser, pages: dict[str, Path], kind: str, charts: int
) -> None:
    browser.console.clear()
    browser.requests.clear()
    browser.open(pages[kind])
    assert browser.ask("document.querySelectorAll('svg.chart').length") == charts
    browser.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.ask(NOT_DRAWN) == 0
    assert browser.console == []
    assert {url for url in browser.requests if url != "about:blank"} == {pages[kind].as_uri()}


def test_hostile_text_stays_text(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["evil"])
    assert browser.ask("document.querySelectorAll('img, a[href^=javascript], .flip a').length") == 0
    assert browser.ask("document.scripts.length") == 2
    shown = browser.ask("document.querySelector('.flip').textContent")
    assert "<img src=x onerror=alert(2)>" in shown
    assert 'href="javascript:alert(3)"' in shown
    category = browser.ask("document.querySelector('select[name=category]').options[1].text")
    assert "</script><script>alert(1)</script>" in category


def test_filters_leave_what_they_name(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["compare"])
    everything = browser.ask("document.getElementById('matches').textContent")
    total = int(re.match(r"(\d+) of", everything)[1])  # type: ignore[index]

    def choose(name: str, value: str) -> list[Any]:
        browser.ask(
            f"(() => {{ const one = document.querySelector('#filters [name={name}]');"
            f"one.value = '{value}'; one.dispatchEvent(new Event('input', {{bubbles: true}})) }})()"
        )
        found: list[Any] = browser.ask(SHOWN)
        return found

    lost = choose("flip", "lost")
    assert {row[0] for row in lost} == {"right → wrong"}
    velocity = choose("category", "velocity")
    assert {row[1].split(" · ")[1] for row in velocity} == {"velocity"}
    nf4 = choose("build", "nf4")
    assert nf4
    assert all(" nf4 " in row[3] for row in nf4)
    near = choose("tie", "near")
    assert {row[2] for row in near} == {"near tie"}
    assert 0 < len(near) < len(nf4)
    item = near[0][1].split(" · ")[2]
    assert [row[1].split(" · ")[2] for row in choose("text", item.upper())] == [item]
    assert browser.ask("location.hash") == (
        f"#build=nf4&category=velocity&flip=lost&tie=near&text={item.upper()}"
    )
    assert choose("text", "no such words") == []
    assert browser.ask("document.getElementById('matches').textContent") == (f"0 of {total} match.")
    browser.ask("document.querySelector('#filters [type=reset]').click()")
    browser.ask("new Promise(done => setTimeout(done, 30))")
    assert browser.ask("document.getElementById('matches').textContent") == everything


def test_an_address_brings_its_filters_along(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["compare"], "#category=velocity&flip=gained")
    found = browser.ask(SHOWN)
    assert {row[0] for row in found} == {"wrong → right"} or found == []
    assert browser.ask("document.querySelector('[name=category]').value") == "velocity"
    browser.open(pages["compare"], "#build=nobody&flip=lost")
    assert browser.ask("document.querySelectorAll('.flip').length") > 0  # an unknown name is none


def test_more_are_shown_when_asked_for(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["gate"])
    assert browser.ask("document.querySelectorAll('.flip').length") == 25
    browser.ask("document.getElementById('more').click()")
    assert browser.ask("document.querySelectorAll('.flip').length") == 50
    assert (
        browser.ask("[...document.querySelectorAll('.flip')].indexOf(document.activeElement)") == 25
    )


def test_all_of_it_is_reached_by_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["gate"])
    asked = """(() => { const one = document.activeElement;
        const ring = getComputedStyle(one).outlineStyle;
        return [one.tagName, one.name || one.id || one.className || one.getAttribute('href'), ring]
    })()"""
    seen = []
    for _ in range(60):
        browser.press("Tab")
        seen.append(tuple(browser.ask(asked)))
        if seen[-1][1] == "more":
            break
    names = [name for _, name, _ in seen]
    assert names[0] == "skip"
    order = ["skip", "scroll", "#quality", "category", "flip", "tie", "text", "more"]
    places = [names.index(name) for name in order]
    assert places == sorted(places)
    assert {ring for _, _, ring in seen} == {"solid"} or "none" not in {r for *_, r in seen}
    browser.ask("document.querySelector('[name=flip]').focus()")
    browser.press("ArrowDown")
    assert browser.ask("document.querySelector('[name=flip]').value") == "lost"
    assert {row[0] for row in browser.ask(SHOWN)} == {"right → wrong"}


@pytest.mark.parametrize("kind", ["compare", "bursty", "gate", "capacity"])
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, pages: dict[str, Path], kind: str
) -> None:
    browser.open(pages[kind], width=360, height=780)
    browser.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.ask("document.documentElement.scrollWidth") <= 360
    wide = "[...document.querySelectorAll('main > *')].filter(e => e.scrollWidth > 360 &&"
    assert browser.ask(f"{wide} getComputedStyle(e).overflowX === 'visible').length") == 0


CONTRAST = """(() => {
  const light = (c) => { const v = c.map(x => (x /= 255) <= .03928 ? x / 12.92 :
    ((x + .055) / 1.055) ** 2.4); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const numbers = (c) => c.match(/[\\d.]+/g).map(Number);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = numbers(
    getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  const low = [];
  const all = 'p, li, td, th, small, dt, dd, span, b, a, pre, text';
  for (const e of document.querySelectorAll(all)) {
    const folded = e.closest('details:not([open])');
    if (!e.textContent.trim() || folded || !e.getClientRects().length) continue;
    const style = getComputedStyle(e);
    const ink = numbers(e.tagName === 'text' ? style.fill : style.color), page = behind(e);
    const [a, b] = [light(ink), light(page)].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) low.push(e.textContent.slice(0, 40));
  }
  return low;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_background(
    browser: Browser, pages: dict[str, Path], scheme: str
) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least."""
    browser.open(pages["compare"], prefers_color_scheme=scheme)
    page = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (page == "rgb(21, 24, 28)") == (scheme == "dark")
    assert browser.ask(CONTRAST) == []


def test_a_pointer_reads_values_off_the_lines(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["bursty"])
    told = browser.ask("""(() => { const chart = document.querySelector('svg.chart[data-x]');
        const box = chart.querySelector('.grid').getBoundingClientRect();
        chart.dispatchEvent(new PointerEvent('pointermove', {bubbles: true,
            clientX: box.left + box.width * .999, clientY: box.top + 9}));
        return chart.closest('figure').querySelector('.readout').textContent; })()""")
    assert re.fullmatch(r"[\d.]+ ms: 10/s (99\.\d|100)\d* %", told)


PRINTED = "(() => [...document.querySelectorAll('%s')].filter(e => e.getClientRects().length))()"


@pytest.mark.parametrize(("kind", "most"), [("compare", 8), ("gate", 6), ("closed-4x4", 8)])
def test_paper_holds_the_decision_and_says_what_it_leaves_out(
    browser: Browser, pages: dict[str, Path], kind: str, most: int
) -> None:
    browser.open(pages[kind])
    paper = browser.printed()
    assert 2 <= len(re.findall(rb"/Type /Page\b", paper)) <= most
    browser.do("Emulation.setEmulatedMedia", media="print", features=[])
    seen = browser.ask("document.body.innerText")
    assert "On paper:" in seen
    assert "report.html of" in seen
    assert "Throughput and requests" not in seen
    assert browser.ask(PRINTED % ".flip" + ".length") == (0 if kind == "closed-4x4" else 3)
    assert ("changed answers beyond the first three" in seen) == (kind != "closed-4x4")
    assert browser.ask(PRINTED % "svg.chart" + ".length") == {
        "compare": 4 + 3 + 4 + 4, "gate": 0, "closed-4x4": 3 + 4 + 8,
    }[kind]  # fmt: skip


def test_paper_has_a_small_runs_tables_and_what_was_unfolded(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["bursty"])
    browser.do("Emulation.setEmulatedMedia", media="print", features=[])
    told = "document.body.innerText.includes('All metrics, all percentiles')"
    assert "Throughput and requests" in browser.ask("document.body.innerText")
    assert not browser.ask(told)
    browser.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.ask(told)


@pytest.mark.parametrize(
    ("kind", "width"),
    [
        ("closed-4x4", 1000),
        ("closed-4x4", 1200),
        ("watched", 1000),
        ("bursty", 1000),
        ("capacity", 1000),
    ],
)
def test_a_screen_shows_tables_whole(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:
    browser.open(pages[kind], width=width)
    wide = "one => one.scrollWidth > one.clientWidth + 1"
    names = f"[...document.querySelectorAll('.scroll')].filter({wide}).map(one => one.ariaLabel)"
    assert browser.ask(names) == []
