"""From a finished stream to its sample. Pure, and in small steps: the loop waits for each."""

from __future__ import annotations

from operator import sub
from typing import TYPE_CHECKING, NamedTuple

from loadprofiles.records import Phase, Sample
from loadprofiles.wire.answer import read_answer, read_whole
from loadprofiles.wire.faults import error_text, shorten
from loadprofiles.wire.stream import HTTP_OK

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from loadprofiles.dialects import Dialect
    from loadprofiles.wire.answer import Answer
    from loadprofiles.wire.stream import Stream

_REDIRECT = 3


class Ticket(NamedTuple):
    """Which request a stream carries."""

    seq: int
    body: int
    request_id: str
    phase: Phase
    due_ns: int
    turn: int | None = None
    """Which turn of a session it is (`turns.Turns`)."""
    endpoint: int = 0
    """Which address of the plan."""


def sample_of(
    stream: Stream,
    dialect: Dialect,
    planned: Sequence[int],
    *,
    kernel_clock: bool,
    streamed: bool = True,
) -> Generator[None, None, tuple[Sample, str]]:
    """Read what a finished stream has brought; `planned` are the output tokens of each body.

    The text of the answer comes along where it is a turn of a session. `streamed`: whether it was
    asked for as events, and not as one document.
    """
    ticket: Ticket = stream.meta  # type: ignore[assignment]
    read = read_answer if streamed else read_whole
    answer = yield from read(
        stream.body,
        stream.reads,
        dialect,
        kernel_clock=kernel_clock,
        keep_text=ticket.turn is not None,
    )
    yield
    error, detail = _verdict(stream, answer)
    chunks = answer.chunk_at_ns
    gaps = list(map(sub, chunks[1:], chunks))
    yield
    counted = answer.output_tokens
    if counted is None and streamed:
        made: int | None = len(chunks)
    else:
        made = counted
    prompt = answer.prompt_tokens
    if prompt is None and stream.status:  # of a head that did not end some headers may be missing
        prompt = stream.prompt_tokens
    sample = Sample(
        seq=ticket.seq,
        body=ticket.body,
        request_id=ticket.request_id,
        phase=ticket.phase,
        due_ns=ticket.due_ns,
        submitted_ns=stream.submitted_ns,
        sent_ns=stream.sent_ns,
        first_ns=chunks[0] if chunks else None,
        first_answer_ns=answer.first_answer_ns,
        last_ns=chunks[-1] if chunks else None if streamed else answer.end_ns,
        done_ns=stream.done_ns,
        status=stream.status,
        error=error,
        detail=detail,
        finish_reason=answer.finish_reason,
        prompt_tokens=prompt,
        output_tokens=made,
        token_source="chunks" if counted is None else "server",
        planned_output_tokens=planned[ticket.body],
        chunk_ns=gaps,
        silent_chunks=answer.silent_chunks,
        end_ns=answer.end_ns,
        lag_us=answer.reads_lag_us,
        output_chars=answer.output_chars,
        output_hash=answer.output_hash,
        compression=answer.compression,
        endpoint=ticket.endpoint,
        connect_ns=stream.connect_ns,
        retried=stream.retried,
        clock=answer.clock,
    )
    return sample, answer.text


def _verdict(stream: Stream, answer: Answer) -> tuple[str | None, str | None]:
    """Return the sample's error and detail.

    An error status says more than how its own body ended. Redirects are not followed: the target
    would have other timing than the server that was asked about.
    """
    told = stream.status not in (0, HTTP_OK)
    if told and stream.error in (None, "truncated", "reset", "malformed"):
        followed = "redirects are not followed" if stream.status // 100 == _REDIRECT else ""
        parts = (followed, stream.note, error_text(stream.body))
        said = ": ".join(part for part in parts if part)
        return f"http_{stream.status}", shorten(said)
    if stream.error is not None:
        return stream.error, stream.detail
    return answer.error, answer.detail
