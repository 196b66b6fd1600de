"""The engine's metrics page, asked for in a thread of its own: it may be slow, huge, or no page."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx
import msgspec

from launchers.redact import redact_text
from launchers.telemetry.exposition import ExpositionError
from launchers.telemetry.pages import PageError, combine, fell, pages, read_page
from launchers.trust import Trust, nobody, tls_problem
from launchers.url import root_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchers.server import Server
    from launchers.telemetry.records import EnginePage

TIMEOUT_S: Final = 2.0
MOST_BYTES: Final = 4 * 2**20
"""Of one page. vLLM's has 0.1 MB."""
_REFUSALS: Final = 3
"""After so many answers in a row that are no page of an engine, it is not asked any more."""
_TOLD: Final = 3
"""So many odd numbers of a page are told."""


@dataclass(frozen=True, kw_only=True)
class PageSource:
    """Where a server has its metrics page."""

    urls: tuple[str, ...]
    """One of each replica."""
    headers: Mapping[str, str] = field(default_factory=dict)
    trust: Trust = field(default_factory=Trust)
    timeout_s: float = TIMEOUT_S
    interval_s: float = 1.0
    cpu_share: float = 0.01
    """Of a CPU, that asking and reading may take: a page so large that it would take more is asked
    for less often."""


def page_source(
    server: Server, headers: Mapping[str, str] | None = None, trust: Trust | None = None
) -> PageSource | None:
    """Return where a server has its page: at the root of its API, and of its replicas'.

    None for a server that was started here and whose engine has no such page.
    """
    if server.build != "url" and server.engine not in {page.engine for page in pages()}:
        return None
    bases = (server.base_url, *server.replicas)
    return PageSource(
        urls=tuple(f"{root_of(base)}/metrics" for base in bases),
        headers=headers or {},
        trust=trust or Trust(),
    )


class _NoPageError(Exception):
    """The page could not be had; `final` when asking again is of no use."""

    def __init__(self, problem: str, *, final: bool) -> None:
        super().__init__(problem)
        self.final = final


@dataclass(frozen=True)
class _Text:
    """A page's text."""

    url: str
    text: str
    at_ns: int
    took_ms: float


class PageWatch:
    """Asks for a server's page at intervals until told to finish.

    The first page and the last have the histograms. Whoever reads takes the newest page once.
    """

    def __init__(self, source: PageSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._page: EnginePage | None = None
        self._problem = ""
        self._finishing = threading.Event()
        self._asked_once = threading.Event()
        self._last: list[_Text] = []
        self._alone: list[EnginePage] = []
        self._restarts = 0
        self._thread = threading.Thread(target=self._watch, name="metrics page", daemon=True)

    def begin(self) -> None:
        """Start, and wait for the first page, no longer than a page may take."""
        self._thread.start()
        self._asked_once.wait(self._source.timeout_s + 0.5)

    def finish(self) -> None:
        """Ask for the last page, and wait for it, no longer than a page may take."""
        self._finishing.set()
        self._thread.join(self._source.timeout_s + 0.5)
        if self._thread.is_alive():
            self._fall_back("the last metrics page did not come in time")

    def take(self) -> tuple[EnginePage | None, str]:
        """Return the page and the problem that are new since the last time."""
        with self._lock:
            found = self._page, self._problem
            self._page, self._problem = None, ""
            return found

    def _watch(self) -> None:
        try:
            trust = self._source.trust
            plain = all(url.startswith("http://") for url in self._source.urls)
            with httpx.Client(
                headers={**self._source.headers, "accept-encoding": "identity"},
                timeout=self._source.timeout_s,
                trust_env=False,
                follow_redirects=False,
                verify=nobody() if plain else trust.context(),
            ) as client:
                self._follow(client)
        except Exception as error:  # noqa: BLE001 - whatever it is, load goes on
            self._put(None, f"the metrics page is not watched any more: {_words(error)}")
        finally:
            self._asked_once.set()

    def _follow(self, client: httpx.Client) -> None:
        refusals = 0
        due_s = time.monotonic()
        while True:
            used_s = time.thread_time()
            try:
                self._ask(client, histograms=not self._last)
                refusals = 0
            except _NoPageError as error:
                refusals = refusals + 1 if error.final else 0
                self._put(None, str(error))
            self._asked_once.set()
            if refusals >= _REFUSALS:
                self._put(None, "the metrics page is not asked for any more")
                return
            now_s = time.monotonic()
            rest_s = (time.thread_time() - used_s) / self._source.cpu_share
            due_s = max(due_s + self._source.interval_s, now_s + rest_s, now_s)
            if self._finishing.wait(due_s - now_s):
                self._ask_last(client)
                return

    def _ask(self, client: httpx.Client, *, histograms: bool) -> None:
        texts = [_fetch(client, url, self._source.timeout_s) for url in self._source.urls]
        page = self._read(texts, histograms=histograms)
        self._last = texts
        odd = f"the metrics page says {', '.join(page.odd[:_TOLD])}" if page.odd else ""
        self._put(page, odd)

    def _read(self, texts: list[_Text], *, histograms: bool) -> EnginePage:
        """Read the replicas' pages as one, and mind which of them was started anew."""
        alone = [_page_of(one, histograms=histograms) for one in texts]
        self._restarts += any(map(fell, self._alone, alone))
        self._alone = alone
        return msgspec.structs.replace(combine(alone), restarts=self._restarts)

    def _ask_last(self, client: httpx.Client) -> None:
        if not self._last:  # there has never been one
            return
        try:
            self._ask(client, histograms=True)
        except _NoPageError as error:  # the server has died, say
            self._fall_back(str(error))

    def _fall_back(self, problem: str) -> None:
        """Take the page of before for the last one."""
        page = self._read(self._last, histograms=True) if self._last else None
        self._put(page, problem)

    def _put(self, page: EnginePage | None, problem: str) -> None:
        with self._lock:
            held = self._page
            first_waits = held is not None and held.histograms and page and not page.histograms
            if page is not None and not first_waits:
                self._page = page
            if problem and problem not in self._problem:
                self._problem = f"{self._problem}; {problem}" if self._problem else problem


def _page_of(one: _Text, *, histograms: bool) -> EnginePage:
    try:
        return read_page(one.text, at_ns=one.at_ns, took_ms=one.took_ms, histograms=histograms)
    except (PageError, ExpositionError) as error:
        raise _NoPageError(f"{redact_text(one.url)} {_words(error)}", final=True) from error


def _fetch(client: httpx.Client, url: str, timeout_s: float) -> _Text:
    began_ns = time.monotonic_ns()
    shown = redact_text(url)
    data = bytearray()
    try:
        with client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise _NoPageError(f"{shown} answered {answer.status_code}", final=True)
            for part in answer.iter_raw():
                data += part
                if len(data) > MOST_BYTES:
                    raise _NoPageError(f"{shown} has more than {MOST_BYTES >> 20} MiB", final=True)
                if time.monotonic_ns() - began_ns > timeout_s * 1e9:
                    raise _NoPageError(f"{shown} took more than {timeout_s:g} s", final=False)
    except httpx.TimeoutException as error:
        raise _NoPageError(f"{shown} took more than {timeout_s:g} s", final=False) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = tls_problem(error) or _words(error)
        raise _NoPageError(f"{shown} did not answer: {why}", final=False) from error
    at_ns = time.monotonic_ns()
    text = data.decode("utf-8", errors="replace")
    return _Text(url, text, at_ns, (at_ns - began_ns) / 1e6)


def _words(error: Exception) -> str:
    return redact_text(str(error) or type(error).__name__)
