from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from harness.live import Live, Pace
from loadprofiles.records import Progress


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def console(*, terminal: bool, width: int = 100) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    color = "standard" if terminal else None
    return Console(file=out, force_terminal=terminal, width=width, color_system=color), out


def progress(sent: int = 0, **changes: object) -> Progress:
    base: dict[str, object] = {
        "phase": "measured", "elapsed_s": 3.0, "left_s": 27.0, "sent": sent, "ok": 90, "failed": 2,
        "in_flight": 8, "chunks_per_s": 7123.4, "ttft_p50_ms": 22.04, "ttft_p95_ms": 41.5,
    }  # fmt: skip
    return Progress(**(base | changes))  # type: ignore[arg-type]


def test_plain_lines_come_at_once_then_every_five_seconds() -> None:
    clock, (where, out) = Clock(), console(terminal=False)
    with Live(console=where, now_s=clock) as live:
        for second in range(12):
            clock.now_s = 100.0 + second
            live.progress("awq · 32 streams", progress(sent=second))
    lines = out.getvalue().splitlines()
    assert [re.findall(r"(\d+) sent", line) for line in lines] == [["0"], ["5"], ["10"]]
    assert lines[0] == (
        "awq · 32 streams: measuring, 3 s, 27 s left, 0 sent, 90 ok, 2 failed, 8 in flight, "
        "22.0/41.5 ms TTFT p50/p95, 7,123 chunks/s"
    )


def test_a_new_phase_or_cell_has_its_line_at_once() -> None:
    clock, (where, out) = Clock(), console(terminal=False)
    with Live(console=where, now_s=clock) as live:
        live.status("starting awq", "loading")
        live.status("starting awq", "loaded")
        live.progress("awq", progress(phase="warmup"))
        live.progress("awq", progress())
        live.progress("gptq", progress())
        live.note("done")
    starts = [line.split(",")[0] for line in out.getvalue().splitlines()]
    assert starts == [
        "starting awq – loading", "awq: warming up", "awq: measuring", "gptq: measuring", "done",
    ]  # fmt: skip


def test_the_same_line_is_not_written_twice() -> None:
    clock, (where, out) = Clock(), console(terminal=False)
    with Live(console=where, now_s=clock) as live:
        for _ in range(3):
            clock.now_s += 60
            live.status("installing vllm")
    assert out.getvalue() == "installing vllm\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_is_silent(*, terminal: bool) -> None:
    where, out = console(terminal=terminal)
    with Live(quiet=True, console=where) as live:
        live.status("starting")
        live.progress("awq", progress())
        live.note("a note")
    assert out.getvalue() == ""


def test_a_terminal_is_left_clean() -> None:
    where, out = console(terminal=True)
    with Live(console=where) as live:
        live.status("starting awq", "x" * 500)
        live.progress("awq · 32 streams", progress(sent=12))
        live.note("awq is up")
    text = out.getvalue()
    assert "awq is up" in text
    assert text.startswith("\x1b[?25l")
    assert "\x1b[?25h" in text  # the cursor is back
    assert text.endswith("\x1b[2K")  # and the line is gone


def interrupted(live: Live) -> None:
    with live:
        live.progress("awq", progress())
        raise KeyboardInterrupt


def test_a_terminal_is_left_clean_after_an_error() -> None:
    where, out = console(terminal=True)
    live = Live(console=where)
    with pytest.raises(KeyboardInterrupt):
        interrupted(live)
    assert "\x1b[?25h" in out.getvalue()


def test_what_others_wrote_steers_no_terminal() -> None:
    where, out = console(terminal=False)
    live = Live(console=where)
    live.status("starting \x1b]0;x\x07", "[bold]log\x1b[2J")
    live.note("[red]\r\x1b[1A")
    live.progress("\x1b[5m", progress(phase="connect"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", out.getvalue())
    assert "[bold]log" in out.getvalue()
    assert "[red]" in out.getvalue()


def test_without_chunks_there_is_no_rate_of_them() -> None:
    where, out = console(terminal=False)
    Live(console=where).progress("awq", progress(phase="done", chunks_per_s=None))
    assert out.getvalue().endswith("22.0/41.5 ms TTFT p50/p95\n")


def test_unknown_values_are_dashes() -> None:
    where, out = console(terminal=False)
    Live(console=where).progress("awq", progress(ttft_p50_ms=None, ttft_p95_ms=None, left_s=None))
    assert "– ms TTFT" in out.getvalue()
    assert "left" not in out.getvalue()


def test_pace_counts_what_was_done_since_it_began() -> None:
    pace = Pace()
    pace.step(40, 100, 100.0)  # there before, from an interrupted run
    assert str(pace) == "40 of 100 items"
    pace.step(60, 100, 104.0)
    assert pace.per_s == 5
    assert pace.left_s == 8
    assert str(pace) == "60 of 100 items, 5.00/s, 8 s left"
    pace.step(100, 100, 112.0)
    assert pace.left_s == 0
