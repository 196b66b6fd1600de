"""The client's stamps against those of a server that wrote down when it really sent what. Pure.

The server is `launchers.mock` with its truth file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from loadprofiles.records import Sample

    Times = npt.NDArray[np.int64]

P99_FROM = 100
"""So many values have a 99th percentile."""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Absolute values in µs. `p99` is None below 100 values."""

    p50: float
    p99: float | None
    max: float
    n: int

    @classmethod
    def of(cls, values_ns: Times) -> Spread | None:
        """Describe times or errors in ns; None without any."""
        if not values_ns.size:
            return None
        values = np.abs(values_ns) / 1e3
        p50, p99 = np.percentile(values, (50, 99))
        return cls(
            p50=round(float(p50), 1),
            p99=round(float(p99), 1) if values.size >= P99_FROM else None,
            max=round(float(values.max()), 1),
            n=int(values.size),
        )


class _Line(msgspec.Struct):
    request_id: str
    sent_ns: list[int]
    unsure: list[int] = []


@dataclass(frozen=True)
class Sent:
    """What the server says of one answer."""

    times: Times
    """When each token was sent, in ns."""
    sure: npt.NDArray[np.bool_]
    """Whether that is known: a send that was itself held up says little."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Client's stamp − server's, in ns, of what the server sent within the window.

    The kernel's are empty where it gave no stamps.
    """

    ttft_kernel: Times
    ttft_user: Times
    itl_kernel: Times
    """Gap seen − gap sent."""
    itl_user: Times
    lag: Times
    """When the client read each chunk − when the kernel had it."""
    late: Times
    """Departures: sent − due − connecting."""
    answers: int
    """That gave a first token within the window."""
    hidden_gaps: int
    """Gaps that the client saw as 0 and that were more than half the answer's usual one."""
    hidden_firsts: int
    """First tokens that it saw more than half a usual gap too late."""
    tokens: int
    """Chunks that were received within the window."""
    unsure: int
    """Tokens within the window that the server was too long in sending for their time to be
    known; they are in no error."""
    unmatched: int
    """Answers whose chunks are not as many as the server sent."""


def read_truth(path: Path) -> dict[str, Sent]:
    """Read the mock's truth file: for each request id when each token was sent."""
    decode = msgspec.json.Decoder(_Line).decode
    return {line.request_id: _sent(line) for line in map(decode, path.read_bytes().splitlines())}


def _sent(line: _Line) -> Sent:
    sure = np.ones(len(line.sent_ns), dtype=np.bool_)
    sure[line.unsure] = False
    return Sent(np.array(line.sent_ns, dtype=np.int64), sure)


def stamps(sample: Sample) -> Times:
    """When each chunk of an answer arrived, in ns; empty without any."""
    if sample.first_ns is None:
        return np.empty(0, dtype=np.int64)
    return np.cumsum(np.array([sample.first_ns, *sample.chunk_ns], dtype=np.int64))


def join(
    samples: Iterable[Sample], truth: Mapping[str, Sent], start_ns: int, end_ns: int
) -> Errors:
    """Compare every answer with the truth, its part within [start_ns, end_ns).

    Of the answers of all phases, since load is what it is whatever they are counted for. Tokens
    whose sending the server did not see well are left out of the errors, and counted.
    """
    kernel, kernel_gaps, user, user_gaps = [], [], [], []
    lags, late = [], []
    tokens = unmatched = unsure = hidden_gaps = hidden_firsts = 0
    for sample in samples:
        own = stamps(sample)
        tokens += int(((own >= start_ns) & (own < end_ns)).sum())
        if sample.sent_ns is not None and not sample.retried and start_ns <= sample.due_ns < end_ns:
            late.append(sample.sent_ns - sample.due_ns - (sample.connect_ns or 0))
        if sample.error is not None:
            continue
        sent = truth.get(sample.request_id)
        if sent is None or sent.times.size != own.size:
            unmatched += 1
            continue
        true = sent.times
        inside = (true >= start_ns) & (true < end_ns)
        unsure += int((inside & ~sent.sure).sum())
        inside &= sent.sure
        errors, first = own - true, int(bool(inside.size and inside[0]))
        both = inside[1:] & inside[:-1]
        gaps = np.diff(true)
        half = np.median(gaps[gaps > 0]) / 2 if gaps.any() else np.inf
        hidden_gaps += int(((np.diff(own) == 0) & (gaps > half) & both).sum())
        hidden_firsts += int((errors[:first] > half).sum())
        lag = np.array(sample.lag_us, dtype=np.int64) * 1000
        if lag.size:
            kernel.append(errors[:first])
            kernel_gaps.append(np.diff(errors)[both])
            lags.append(lag[inside])
            errors = errors + lag
        user.append(errors[:first])
        user_gaps.append(np.diff(errors)[both])
    return Errors(
        ttft_kernel=_pool(kernel),
        ttft_user=_pool(user),
        itl_kernel=_pool(kernel_gaps),
        itl_user=_pool(user_gaps),
        lag=_pool(lags),
        late=np.array(late, dtype=np.int64),
        answers=sum(part.size for part in user),
        hidden_gaps=hidden_gaps,
        hidden_firsts=hidden_firsts,
        tokens=tokens,
        unsure=unsure,
        unmatched=unmatched,
    )


def _pool(parts: list[Times]) -> Times:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
