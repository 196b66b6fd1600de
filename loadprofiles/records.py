"""What goes into the driver's process and what comes out of it.

`plan.json` + `bodies.jsonl` go in, `samples.jsonl` + `drive.json` come out, one `Progress`
object a second is printed while it runs. All `*_ns` are CLOCK_MONOTONIC of the host that sends
the requests, unless the text says "offset".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec

from loadprofiles.decoding import NO_RECORD, bounded, decoded
from loadprofiles.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = 1
PLAN_FILE = "plan.json"
BODIES_FILE = "bodies.jsonl"
SAMPLES_FILE = "samples.jsonl"
DRIVE_FILE = "drive.json"
_TAIL_BYTES: Final = 1 << 16
_T = TypeVar("_T", bound=msgspec.Struct)

HEADERS_VARIABLE = "LOADPROFILES_HEADERS"

Phase = Literal["warmup", "measured", "cooldown"]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of several addresses that serve the same model."""

    host: str
    port: int
    path: str


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What part of a recorded trace a plan replays."""

    time_scale: float
    """Seconds of the trace that pass in one second."""
    clipped: int = 0
    """Requests made to fit `clip_to`."""
    skipped: int = 0
    """Requests left out because they are above `skip_above`, or empty."""
    thinned: int = 0
    """Requests left out at random, to come to the level."""
    unsorted: int = 0
    """Rows of the file that stood behind a later one; the plan has them in order."""


class DatasetUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan takes from a user's dataset."""

    entries: int
    """Conversations of the file."""
    silent: int
    """Entries besides, in which no user says anything."""
    longer: int
    """Conversations that were left out since they do not fit the model, or `skip_above`."""
    used: int
    """Measured conversations of the plan."""
    again: int
    """Of them, those that came again since the file had no others left."""


class DrivePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the driver needs to drive one cell; no clock and no secret in it.

    `bodies.jsonl` beside it holds one request body a line: first `warmup` bodies for the warm-up,
    then those of the measured requests. A closed loop that outlasts them starts over.
    """

    schema: int = SCHEMA
    host: str
    port: int
    path: str
    """Path of the request line, e.g. `/v1/completions`."""
    replicas: list[Endpoint] = []
    """Further addresses of a replicated deployment; requests go round robin over all of them."""
    turns: list[int] | None = None
    """Interleaved builds: for each body, by its line, the address that it goes to (as
    `Sample.endpoint`). None: round robin."""
    tls: bool = False
    """Speak https to all of them."""
    ca_file: str | None = None
    """PEM file of the authorities to trust; None: the system's."""
    tls_verify: bool = True
    """Whether a certificate must be valid and for the host asked."""
    headers: list[str] = []
    """Names of extra request headers. Their values, which may be secret, come by the environment
    variable `HEADERS_VARIABLE`, a JSON object."""
    api_key_env: str | None = None
    """Environment variable whose value is sent as `Authorization: Bearer …`."""
    dialect: str
    mode: Literal["open", "closed"]
    streams: int | None = None
    """Closed loop: how many streams are kept open."""
    due_ns: list[int] | None = None
    """Open loop: departures as offsets from the window's start, ascending, of the first measured
    bodies; later ones are turns that follow others (`after`)."""
    bursts_ns: list[tuple[int, int]] = []
    """Open loop: [start, end) of each burst, as offsets like `due_ns`; empty without bursts."""
    dataset: DatasetUse | None = None
    """None: the prompts were made up."""
    arrival: dict[str, Any] | None = None
    """Open loop: the process that `due_ns` was drawn from, as the profile has it."""
    rate: float | None = None
    """Open loop: its mean rate over the window, requests/s."""
    replay: Replay | None = None
    """Where the schedule is a recorded trace's."""
    after: list[int] | None = None
    """For each measured body, by position: the earlier measured body whose answer it continues
    (the next turn of a session), or -1. All first turns come first. A later one's line of
    `bodies.jsonl` holds a mark (`bodies.answer_mark`) wherever an earlier turn's answer belongs.
    None: no sessions."""
    think_ns: list[int] | None = None
    """With `after`, for each measured body: how long after the answer before it, it is due. In a
    closed loop without: how long a stream's user thinks before the next request, taken in turn by
    whichever stream is free (the first of each only in part), over and over. None: not at all."""
    duration_ns: int | None = None
    """Length of the measured window; None: until `requests` measured requests are done."""
    requests: int | None = None
    """Closed loop: stop after this many measured requests."""
    warmup: int
    """Requests sent and discarded before the window opens. In a closed loop each stream also
    finishes one request first, unless this is 0."""
    drain_s: float
    """How long to wait for answers after the window (a closed loop of `requests`: after the last
    of them was sent)."""
    timeout_s: float
    """A request without its end after this long has failed."""
    output_tokens: list[int]
    """Planned output length of each body, in the order of `bodies.jsonl`."""
    prompt_tokens: list[int] = []
    """Planned prompt length of each body in the same order, a session's earlier answers left out;
    empty where nobody knows."""
    asked_digest: str = ""
    """BLAKE2b, 16 hex digits, of all prompts and planned output lengths: equal where two servers
    are asked the same, whatever their models are called."""
    stream: bool = True
    """Whether answers are asked for as a stream of events; else as one document."""
    prompts_exact: bool = False
    """Whether a tokenizer counted every prompt and found the length asked for; else estimated."""
    cpus: list[int] | None = None
    """CPUs the driver binds itself to; None: wherever the kernel puts it."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Which workers drive a cell together; `workers.master` gets it as its argument."""

    local: int
    """Workers that the master starts by itself, on its own machine."""
    remote: int = 0
    """Workers that join from elsewhere."""
    host: str = "127.0.0.1"
    port: int = 0
    """Where the master listens for them; port 0: any free one."""
    join_timeout_s: float = 60.0
    """How long to wait for all of them, once the cell is planned."""
    web_port: int | None = None
    """Show Locust's own page at this port of the loopback address."""
    last: bool = True
    """Whether this cell is the last: workers from elsewhere then end."""


class Sample(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One request. `first_ns`, `last_ns`, `end_ns` and `chunk_ns` come from `clock`."""

    seq: int
    """Position among the requests of its phase; in open loop the index into `due_ns`. Of a measured
    turn of a session: its position among the measured bodies."""
    body: int
    """Line of `bodies.jsonl` (from 0) that was sent."""
    request_id: str
    phase: Phase
    due_ns: int
    """When it should have left. Closed loop: when its stream became free."""
    submitted_ns: int | None = None
    """When the driver took it up; None if it never did (dropped)."""
    sent_ns: int | None = None
    """Just before the first byte was handed to the kernel on an open connection."""
    first_ns: int | None = None
    """First generated text of any channel (content, reasoning, tool call); None where the answer
    was asked for as one document."""
    first_answer_ns: int | None = None
    """First generated text that is not reasoning."""
    last_ns: int | None = None
    """Last generated text; of an answer in one document its last byte."""
    done_ns: int | None = None
    """End of the response, or the moment the request failed."""
    status: int = 0
    """HTTP status; 0 when there was none."""
    error: str | None = None
    """None for an answer; else its kind: dropped, connect, timeout, reset, truncated, empty,
    http_429, http_500, …, error_event, malformed, aborted."""
    detail: str | None = None
    """The first line of what the server or the system said about the error."""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    """As the server counts them; None when it did not say."""
    output_tokens: int | None = None
    """As the server counts them, else the number of generated chunks (`token_source`); None for
    an answer in one document whose server did not count."""
    token_source: Literal["server", "chunks"] = "server"  # noqa: S105 - no password
    planned_output_tokens: int = 0
    chunk_ns: list[int] = []
    """Gaps between successive generated chunks (one fewer than chunks). 0 means that both came
    in one read and share its stamp: the gap was not seen."""
    silent_chunks: int = 0
    """Events after the first text that carried a choice but no text: a special token, part of a
    character, or a finish reason alone."""
    end_ns: int | None = None
    """The last event that carried a choice, with text or without."""
    lag_us: list[int] = []
    """For each generated chunk: how long after the kernel received it the driver read it.
    Empty with user-space stamps."""
    output_chars: int = 0
    output_hash: str = ""
    """Of the generated text, to find answers that are the same (16 hex digits); "" without any."""
    compression: float | None = None
    """Bytes of the generated text ÷ its zlib size: high where an answer repeats itself."""
    endpoint: int = 0
    """Which address of the plan: 0 for the first, then those of `replicas`."""
    worker: int = 0
    """Which worker of a distributed driver sent it."""
    connect_ns: int | None = None
    """How long connecting took, a late driver's own delay left out; None on a connection that was
    open already."""
    retried: bool = False
    """A kept-alive connection turned out closed: sent once more, on a new one, at `sent_ns`."""
    clock: Literal["kernel", "user"] = "kernel"


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one worker of a distributed driver fared, as the master knows it."""

    index: int
    host: str
    pid: int
    samples: int
    """That it wrote."""
    received: int
    """Of them, those that reached the master."""
    digest: str
    """Of all its samples' lines, as the worker computed it."""
    problem: str | None = None
    """Why its samples are not all there: lost, stalled, a digest that differs …"""
    clock_offset_ns: int = 0
    """Its CLOCK_MONOTONIC − the master's. Taken out of its samples where it exceeds the error
    (on one machine it does not: the clock is the same)."""
    clock_error_ns: int = 0
    """Half the shortest round trip that it was measured with: it may be wrong by so much."""
    clock_drift_ns: int = 0
    """By how much the offset had changed at the end, both errors included."""
    cpu_s: float = 0.0
    run_delay_s: float | None = None
    rss_peak_mib: float | None = None


class DriveReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the driver itself fared in one cell."""

    schema: int = SCHEMA
    ended: Literal["done", "interrupted", "stopped", "failed", "worker_lost"]
    """done: all of the plan; interrupted: asked to stop early; stopped: the drain's bound; failed:
    the first warm-up requests all failed (`problem`), so nothing was measured; worker_lost: so was
    one of several workers (`problem`), and what the others had done by then is kept."""
    problem: str | None = None
    """What went wrong, where `ended` is "failed" or "worker_lost"."""
    window_start_ns: int
    window_end_ns: int
    """The measured window. Open loop: [start, start + duration)."""
    clock: Literal["kernel", "user"]
    wall_minus_monotonic_ns: int
    """CLOCK_REALTIME − CLOCK_MONOTONIC when the driver began: anchors every stamp to wall time."""
    clock_step_ns: int
    """By how much that offset moved until the end; above 50 µs the kernel stamps are dropped."""
    cpu_s: float
    """CPU time of the driver's process within the window."""
    run_delay_s: float | None
    """Time the driver was ready to run in the window but had no CPU (/proc/self/schedstat)."""
    gc_collections: int
    """Garbage collections within the window (0 expected: the collector is off)."""
    paused_s: float = 0.0
    """Closed loop: how long streams, added up, kept still in the window after failures."""
    thinking_s: float = 0.0
    """Closed loop: how long streams, added up, kept still in the window since their users were to
    think."""
    elsewhere_s: float = 0.0
    """Interleaved builds: how much of the window was the others' turn."""
    connections: int
    samples: int
    """Lines of `samples.jsonl`; a reader that finds fewer has lost some."""
    versions: dict[str, str]
    """python, locust, gevent, httptools, kernel."""
    rss_peak_mib: float | None = None
    """The most memory that the driver held."""
    workers: list[WorkerReport] = []
    """Of a distributed driver; its `cpu_s` is then the sum, and what is measured per core is
    judged by the busiest."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver prints about once a second, one JSON object a line."""

    phase: Literal["connect", "warmup", "measured", "drain", "done"]
    elapsed_s: float
    """Since the window opened (0 before)."""
    left_s: float | None
    sent: int
    ok: int
    failed: int
    in_flight: int
    chunks_per_s: float | None
    """Since the last one; chunks that were read at once count as one. None: they are no pieces
    of answers (one document each), or it is over."""
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None


def read_plan(folder: Path) -> DrivePlan:
    """Read `plan.json` of a cell's folder.

    Raises:
        RecordError: it is not one.
        OSError: it cannot be read.
    """
    return _read(folder / PLAN_FILE, DrivePlan)


def read_samples(folder: Path) -> Iterator[Sample]:
    """Yield the samples of a cell's folder, about in the order they finished.

    Half a sample at the end, which a killed driver may leave, is none: see `cut_bytes`.

    Raises:
        RecordError: a line is not a sample; the text names file and line.
        OSError: the file cannot be read.
    """
    decode = msgspec.json.Decoder(Sample).decode
    number = 0
    with (folder / SAMPLES_FILE).open("rb") as file:
        try:
            for number, line in enumerate(file, 1):  # noqa: B007 - the error tells it
                if line.endswith(b"\n") or not _is_cut(line):
                    yield decode(line)
        except NO_RECORD as error:
            raise RecordError(f"{SAMPLES_FILE}, line {number}: {error}") from error


def cut_bytes(folder: Path) -> int:
    """Return how long the half a sample is that `samples.jsonl` ends with; 0: there is none.

    Raises:
        OSError: the file cannot be read.
    """
    with (folder / SAMPLES_FILE).open("rb") as file:
        end = start = file.seek(0, os.SEEK_END)
        tail = b""
        while start and b"\n" not in tail:
            start = max(0, start - _TAIL_BYTES)
            file.seek(start)
            tail = file.read(end - start)
    line = tail[tail.rfind(b"\n") + 1 :]
    return len(line) if _is_cut(line) else 0


def _is_cut(line: bytes) -> bool:
    """Whether a file's last bytes are the beginning of a sample: not a whole one, nor else."""
    try:
        msgspec.json.decode(line, type=Sample)
    except NO_RECORD as error:
        return line.startswith(b"{") and "truncated" in str(error)
    return False


def read_drive_report(folder: Path) -> DriveReport:
    """Read `drive.json` of a cell's folder.

    Raises:
        RecordError: it is not one.
        OSError: it cannot be read.
    """
    return _read(folder / DRIVE_FILE, DriveReport)


def _read(path: Path, kind: type[_T]) -> _T:
    return bounded(decoded(path.read_bytes(), kind, path.name), path.name)
