"""What a person sees on stderr while something long is running.

On a terminal one line is redrawn in place; elsewhere (a log, a CI job) a plain line is written
every five seconds and whenever something else begins. `quiet` shows nothing at all.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from harness.reports.figures import NOTHING, count, figure, plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import RenderableType

    from loadprofiles.records import Progress

EVERY_S: Final = 5.0
"""How often a plain line is written where there is no terminal."""

_PHASES: Final = {
    "connect": "connecting",
    "warmup": "warming up",
    "measured": "measuring",
    "drain": "waiting for the last answers",
    "done": "done",
}


@dataclass(kw_only=True)
class Pace:
    """How fast items get done, since the first word of them: what came before was preparation."""

    began_s: float = 0.0
    done: int = 0
    total: int = 0
    elapsed_s: float = 0.0
    _before: int | None = None

    def step(self, done: int, total: int, now_s: float) -> None:
        """Take in how many are done by now."""
        if self._before is None:
            self._before, self.began_s = done, now_s
        self.done, self.total, self.elapsed_s = done, total, now_s - self.began_s

    @property
    def per_s(self) -> float | None:
        """Items a second; None before the first."""
        new = self.done - (self._before or 0)
        return new / self.elapsed_s if new > 0 and self.elapsed_s > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at this pace; None before it is known."""
        return None if self.per_s is None else (self.total - self.done) / self.per_s

    def __str__(self) -> str:
        text = f"{count(self.done)} of {count(self.total)} items"
        if self.per_s is None or self.left_s is None:
            return text
        return f"{text}, {figure(self.per_s)}/s, {self.left_s:.0f} s left"


class Live:
    """The line at work. A context manager; outside of it the methods write plain lines at once.

    Args:
        quiet: show nothing.
        console: where to write; stderr when not given.
        now_s: a monotonic clock in seconds, for the plain lines' interval.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        console: Console | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(file=sys.stderr, highlight=False, markup=False)
        self._quiet = quiet
        self._now_s = now_s
        self._live: RichLive | None = None
        self._subject: tuple[str, str] | None = None
        self._last_line = ""
        self._next_line_s = 0.0
        self._spinner = Spinner("dots")

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._live = RichLive(
                console=self._console,
                transient=True,
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def status(self, text: str, detail: str = "") -> None:
        """Show what is going on, e.g. `starting awq` with the server's last log line as detail."""
        shown, last = plain(text), plain(detail.strip())
        line = f"{shown} – {last}" if last else shown
        text_shown = Text.assemble(shown, (f"  {last}" if last else "", "dim"))
        text_shown.truncate(max(1, self._console.width - 4), overflow="ellipsis")
        self._spinner.update(text=text_shown)
        self._show(("status", shown), line, self._spinner)

    def progress(self, title: str, progress: Progress) -> None:
        """Show how a cell is doing; `title` names build and level."""
        shown = plain(title)
        self._show((shown, progress.phase), _line(shown, progress), _table(shown, progress))

    def items(self, title: str, pace: Pace) -> None:
        """Show how far a suite has been asked; `title` names build and suite."""
        shown = plain(title)
        line = f"{shown}: {pace}"
        self._spinner.update(text=Text.assemble((shown, "bold"), "  ", str(pace)))
        self._show(("items", shown), line, self._spinner)

    def note(self, text: str) -> None:
        """Write a line that stays, above the live one."""
        if not self._quiet:
            self._console.print(Text(plain(text)), soft_wrap=not self._console.is_terminal)

    def problem(self, text: str) -> None:
        """Write what went wrong, also when `quiet`."""
        shown = "\n".join(plain(line) for line in f"harness: {text}".splitlines())
        self._console.print(Text(shown), soft_wrap=True)

    def _show(self, subject: tuple[str, str], line: str, picture: RenderableType) -> None:
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(picture)
            return
        now_s = self._now_s()
        new = subject != self._subject
        if line == self._last_line or not (new or now_s >= self._next_line_s):
            return
        self._subject, self._last_line, self._next_line_s = subject, line, now_s + EVERY_S
        self._console.print(Text(line), soft_wrap=True)


def _line(title: str, progress: Progress) -> str:
    """Everything in one plain line."""
    parts = [f"{title}: {_PHASES[progress.phase]}", _clock(progress)]
    parts += [f"{value} {name}" for name, value in _figures(progress)]
    return ", ".join(part for part in parts if part)


def _clock(progress: Progress) -> str:
    if progress.phase not in ("measured", "drain", "done"):
        return ""
    text = f"{progress.elapsed_s:.0f} s"
    if progress.left_s is not None and progress.phase == "measured":
        text += f", {max(0.0, progress.left_s):.0f} s left"
    return text


def _figures(progress: Progress) -> list[tuple[str, str]]:
    """Name and value of each figure, in the order in which they are read."""
    ttft = f"{figure(progress.ttft_p50_ms)}/{figure(progress.ttft_p95_ms)}"
    if progress.ttft_p50_ms is None:
        ttft = NOTHING
    figures = [
        ("sent", count(progress.sent)),
        ("ok", count(progress.ok)),
        ("failed", count(progress.failed)),
        ("in flight", count(progress.in_flight)),
        ("ms TTFT p50/p95", ttft),
    ]
    if progress.chunks_per_s is not None:
        figures.append(("chunks/s", figure(progress.chunks_per_s)))
    return figures


def _table(title: str, progress: Progress) -> Group:
    """A heading line and, below it, names over values."""
    head = Text.assemble((title, "bold"), "  ", _PHASES[progress.phase])
    clock = _clock(progress)
    if clock:
        head.append(f"  {clock}", style="cyan")
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False)
    values = []
    for name, value in _figures(progress):
        table.add_column(name, justify="right", header_style="dim", no_wrap=True, min_width=6)
        bad = name == "failed" and progress.failed
        values.append(Text(value, style="bold red" if bad else ""))
    table.add_row(*values)
    return Group(head, table)
