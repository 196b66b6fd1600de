"""Hostile strings in every text of a run folder: no format lets one of them do anything."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from benchmarks.chromium import CHROMIUM, Browser
from harness.errors import BadInputError
from harness.reports.kinds import jobs_of
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS = Path(__file__).parents[1] / "fixtures/runs"
KINDS = ("load", "eval", "gate", "comparison", "capacity")
FORMATS = ("html", "markdown", "csv", "junit", "terminal")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
FORMULA = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet takes for a formula; Excel in Japan takes the wide ones, too."""
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?")
HOSTILE = (
    "\"'`><zqx onzq=1></script></style></title></textarea><zqx>",
    "<!--<script>]]>--!><zqx src=//zq.example onzq='1'>{{7*7}}{% zq %}",
    "[zq](http://zq.example)![zq](http://zq.example)|<http://zq.example>\n# zqh\n\n<zqx>\n```\n",
    "=zq()|@zqu +1 \x1b[31m\x1b]0;zq\x07\u202e\u2066\r\t\x00\x9b2J\x7f",
    "[red]zq[/red][/nope][link=http://zq.example]zq[/link]\\[bold",
    "@zqu/zqu \uff1dzq() javascript:zq data:text/html,zq &lt;zqx&gt; \u2028\u2029\ufffe\uffff",
)
SCRIPT = "window.zqran=1"
ACTING = (
    f"<script>{SCRIPT}</script>",
    f"</script><script>{SCRIPT}</script>",
    f"<img src=http://127.0.0.1:9/ onerror='{SCRIPT}'>",
    f'"><svg onload={SCRIPT}>',
    f"' onmouseover='{SCRIPT}' autofocus onfocus='{SCRIPT}' x='",
    f"</style><iframe srcdoc='<script>parent.{SCRIPT}</script>'></iframe>",
    f"--><body onload={SCRIPT}>",
    f"javascript:{SCRIPT}//",
)
"""What a browser would run at once, were it markup."""
FRAGMENTS = (
    *("<zqx>", "</script>", "<!--", "]]>", "`", "```\n", "\n\n", "\n# zqh", "|", "[a](zq:b)"),
    *("\\", "\x1b[2J", "\u202e", "@zqu", "=1", '"', "'", "[/x]", "{{", "&", "\r", "\x00"),
)


class Page(HTMLParser):
    """What a page has that could act."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.acts: list[object] = []
        self.scripts = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag.startswith("zq") or tag in {"iframe", "object", "embed", "base", "img"}:
            self.acts.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (
                name in {"href", "src", "action", "xlink:href"}
                and not (value or "").startswith(("#", "data:image/", "data:,"))
            ):
                self.acts.append((tag, name, value))


@functools.cache
def documents(kind: str) -> tuple[tuple[Path, list[Any], frozenset[str]], ...]:
    """Return the fixture's files: name, documents, and all texts in them, keys as well."""
    root, found = RUNS / f"schema-1-{kind}", []
    for path in sorted(root.rglob("*.json*")):
        lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        told = [json.loads(line) for line in lines if line.strip()]
        found.append((path.relative_to(root), told, frozenset(texts(told)) | keys(told)))
    return tuple(found)


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for one in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from texts(one)


def keys(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*(keys(one) for one in value))
    if isinstance(value, dict):
        return set(value).union(*(keys(one) for one in value.values()))
    return set()


def replaced(value: object, by: dict[str, str]) -> object:
    if isinstance(value, str):
        return by.get(value, value)
    if isinstance(value, list):
        return [replaced(one, by) for one in value]
    if isinstance(value, dict):
        return {by.get(key, key): replaced(one, by) for key, one in value.items()}
    return value


def with_texts(kind: str, by: dict[str, str], use: Callable[[RunFolder], None]) -> None:
    """Give `use` the fixture's run with its texts replaced, those that are keys as well."""
    source = RUNS / f"schema-1-{kind}"
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(source, Path(folder) / "run"))
        for path, found, said in documents(kind):
            if said.isdisjoint(by):
                continue
            shown = "\n".join(json.dumps(replaced(one, by)) for one in found)
            (run / path).write_text(f"{shown}\n" if found else "")
        use(RunFolder.open(run))


def reads(run: RunFolder, formats: tuple[str, ...] = FORMATS) -> None:
    """Raise BadInputError where a text is no free one."""
    for name in formats:
        for job in jobs_of(run, name):
            job.report.render(job.run)


@functools.cache
def free(kind: str) -> tuple[str, ...]:
    """Return the texts that may be anything: found by halves, since most are or are not.

    By the quickest format, and then by all of them at once, which as a rule find no other.
    """
    found = {text for _, lines, _ in documents(kind) for text in texts(lines)}

    def among(some: list[str], formats: tuple[str, ...]) -> list[str]:
        by = {text: f"zq/{at}\x00" for at, text in enumerate(some)}
        try:
            with_texts(kind, by, functools.partial(reads, formats=formats))
        except BadInputError:
            half = len(some) // 2
            if len(some) == 1:
                return []
            return among(some[:half], formats) + among(some[half:], formats)
        return some

    plain = sorted(text for text in found if not re.fullmatch(r"[0-9a-f]{16,}|[\d.:TZ+-]*", text))
    return tuple(among(among(plain, ("csv",)), FORMATS))


def check(run: RunFolder) -> None:
    for name in FORMATS:
        for job in jobs_of(run, name):
            CHECKS[name](job.report.render(job.run))


def check_html(text: str) -> None:
    page = Page(text)
    assert page.acts == []
    assert page.scripts <= 2
    assert not CONTROL.search(text.replace("\t", ""))


def check_markdown(text: str) -> None:
    page = MarkdownIt("commonmark").enable("table").render(text)
    assert Page(page).acts == []
    assert not re.search("<h1>", page)
    prose = re.sub(r"<(code|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"(?<!\w)@zqu", prose)
    assert not CONTROL.search(text)


def check_csv(text: str) -> None:
    for row in csv.reader(io.StringIO(text)):
        assert [cell for cell in row if FORMULA.match(cell) and not NUMBER.fullmatch(cell)] == []


def check_junit(text: str) -> None:
    tags = {one.tag for one in ET.fromstring(text).iter()}  # noqa: S314 - we have written it
    assert tags <= {
        "testsuites", "testsuite", "testcase", "failure", "error", "skipped", "properties",
        "property", "system-out",
    }  # fmt: skip


def check_terminal(text: str) -> None:
    assert not CONTROL.search(text)


CHECKS = {
    "html": check_html, "markdown": check_markdown, "csv": check_csv, "junit": check_junit,
    "terminal": check_terminal,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_hostile_texts_does_nothing(kind: str) -> None:
    names = free(kind)
    assert len(names) > 20
    for payload in HOSTILE:
        with_texts(kind, {name: f"{payload}{at}" for at, name in enumerate(names)}, check)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("NOT TESTED: no Chromium on this machine to open hostile pages in")
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_hostile_texts_runs_no_script_of_theirs(
    kind: str, browser: Browser, tmp_path: Path
) -> None:
    """Neither does its policy have to stop one, which the console would say."""
    page, payloads = tmp_path / "page.html", (*ACTING, HOSTILE[0])

    def render(run: RunFolder) -> None:
        [job] = jobs_of(run, "html")
        page.write_text(job.report.render(job.run), encoding="utf-8")

    names = enumerate(free(kind))
    with_texts(kind, {name: f"{payloads[at % len(payloads)]}{at}" for at, name in names}, render)
    assert page.read_text().count("zqran") > 10
    browser.console.clear()
    browser.requests.clear()
    browser.open(page)
    browser.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.ask("typeof window.zqran") == "undefined"
    assert browser.console == []
    assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data", "about"}
    assert browser.ask(f"(() => {{{SCRIPT}; return window.zqran}})()") == 1, "it would be seen"


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    kind=st.sampled_from(KINDS),
    payloads=st.lists(
        st.lists(st.sampled_from(FRAGMENTS) | st.characters(codec="utf-8"), max_size=8),
        min_size=1, max_size=5,
    ),
)  # fmt: skip
def test_whatever_the_texts_are(kind: str, payloads: list[list[str]]) -> None:
    by = {
        name: f"{''.join(payloads[at % len(payloads)])}{at}" for at, name in enumerate(free(kind))
    }
    with_texts(kind, by, check)


def test_the_checks_see_what_they_look_for() -> None:
    for name, bad in (
        ("html", "<p><zqx>"), ("html", "<p onclick=1>"), ("html", "\x1b"),
        ("html", '<a href="x:y">'),
        ("markdown", "[a](http://zq.example)"), ("markdown", "a @zqu"), ("markdown", "<zqx>"),
        ("csv", "a,=1+1\n"), ("csv", "\uff1da\n"), ("terminal", "\x9b"), ("junit", "<zqx/>"),
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            CHECKS[name](bad)
