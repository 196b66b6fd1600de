"""Whether TTFT depends on the dialect it was asked in: one server of known timing, all dialects.

    python benchmarks/adapter_overhead.py [--rounds 24] [--requests 200]

One mock answers every dialect, its first token 2 ms after each request; one stream drives it, with
the same prompts in each dialect, a cell of so many requests a turn. All dialects have a turn a
round, in drawn order, and every other round has the order of the one before backwards. The server
has the first CPU and the driver the last.

Judged is what is ours of a TTFT: what the client says − what the server says (first `send` −
when its kernel had the request). So what the server spends on reading this dialect's request and
on writing its event is in the TTFT as said, which is printed too, and in no verdict. By the
kernel's receive stamps, which TTFT goes by, and by the moment at which the client had read: the
first event of an answer is read 10 to 30 µs later than those after it, and the first text of
`openai-chat`, behind an event with a role alone, is no first event.

A turn's figure is the median of its requests. Of two mirrored rounds a dialect's two turns are
averaged, and so are the two of `openai-completions`; the differences of these averages have a
median, and an interval by ranks (scipy's `quantile_test`, 95 %, Bonferroni over the dialects). PASS
where all of that interval is within 20 µs.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from cases import drive
from medians import Middle, middle
from rich.console import Console
from rich.table import Table
from rig import claim_cpus, conditions, read_truth, serving

from loadprofiles.dialects import dialect_names
from loadprofiles.draw import Draw
from loadprofiles.interleave import turns_of
from loadprofiles.plan import Target, make_plan
from loadprofiles.profile import Profile
from loadprofiles.records import DRIVE_FILE, read_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rig import Served

    from loadprofiles.records import Sample

MOST_US = 20.0
BESIDE = "openai-completions"
SERVER = {"ttft_ms": 2.0, "itl_ms": 1.0}
TOKENS = 3
OURS = {"kernel": "kernel stamp", "read": "as read"}
"""Figures that are judged, and what they are called."""


@dataclass(frozen=True)
class Turn:
    """Medians over the requests of one dialect's turn, in µs."""

    ttft: float
    """As the client says it, by kernel stamps."""
    served: float
    """As the server says it."""
    kernel: float
    """What the client says − what the server says, by kernel stamps."""
    read: float
    """The same by the moment at which the client had read the first event."""


def differences(turns: Sequence[Turn], beside: Sequence[Turn], figure: str) -> list[float]:
    """Return for each two mirrored rounds by how much a dialect's figure is above another's."""
    ours, theirs = (np.array([getattr(one, figure) for one in side]) for side in (turns, beside))
    return (ours - theirs).reshape(-1, 2).mean(axis=1).tolist()


def verdict(found: Middle) -> str:
    """Whether all of an interval is within what is promised."""
    if found.low >= -MOST_US and found.high <= MOST_US:
        return "PASS"
    return "FAIL" if found.low > MOST_US or found.high < -MOST_US else "INCONCLUSIVE"


def judge(samples: Iterable[Sample], truth: Mapping[str, Served]) -> Turn:
    """Hold a turn's measured answers to what the server wrote down."""
    rows = []
    for one in samples:
        if one.phase != "measured" or one.error or not one.first_ns or not one.sent_ns:
            continue
        if not one.lag_us:
            raise SystemExit("the kernel gives no receive stamps here: nothing can be said")
        known = truth[one.request_id]
        ttft, served = one.first_ns - one.sent_ns, int(known.sent_ns[0]) - known.received_ns
        rows.append((ttft, served, ttft - served, ttft - served + one.lag_us[0] * 1000))
    if not rows:
        raise SystemExit("a turn without an answer")
    return Turn(*(np.median(np.array(rows), axis=0) / 1e3).tolist())


def measure(cpus: tuple[int, int], rounds: int, requests: int) -> dict[str, list[Turn]]:
    """Return each dialect's turns, as many as there are rounds."""
    names = dialect_names()
    found: dict[str, list[Turn]] = {name: [] for name in names}
    profile = Profile.model_validate({
        "name": "adapters", "arrival": {"kind": "closed"}, "levels": [1], "prompt_tokens": 64,
        "output_tokens": TOKENS, "requests": requests,
    })  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="benchmark-") as base:
        log = Path(base) / "truth.jsonl"
        with serving({cpus[0]}, log, **SERVER) as url:
            address = urlsplit(url)
            assert address.hostname is not None
            assert address.port is not None
            target = Target(
                host=address.hostname, port=address.port, path=address.path, model="mock"
            )
            for number, turn in enumerate(
                turns_of(len(names), rounds, Draw(1, "adapters", 1.0, 1))
            ):
                cell, name = Path(base) / str(number), names[turn]
                cell.mkdir()
                make_plan(
                    cell, profile=profile, level=1, repeat=1 + len(found[name]), seed=1,
                    target=target, dialect=name, cpus=[cpus[1]],
                )  # fmt: skip
                _, said = drive(cell)
                if not (cell / DRIVE_FILE).exists():
                    raise SystemExit(said or "the driver left no report")
                truth = {one.request_id: one for one in read_truth(log)}
                found[name].append(judge(read_samples(cell), truth))
    return found


def report(console: Console, found: Mapping[str, Sequence[Turn]]) -> None:
    """Print medians and verdicts."""
    table = Table(title=f"TTFT by dialect, µs; differences to {BESIDE} and their intervals")
    for column in ("dialect", "TTFT", "of it the server's", *OURS.values()):
        table.add_column(column)
    table.add_column("difference, kernel stamp")
    table.add_column("difference, as read")
    verdicts = []
    confidence = 1 - 0.05 / (len(found) - 1)
    for name, turns in found.items():
        seen = ("ttft", "served", *OURS)
        cells = [f"{np.median([getattr(one, f) for one in turns]):,.1f}" for f in seen]
        if name != BESIDE:
            for figure, called in OURS.items():
                moved = middle(differences(turns, found[BESIDE], figure), confidence)
                cells.append(f"{moved.at:+.1f} ({moved.low:+.1f} … {moved.high:+.1f})")
                verdicts.append((f"{name}, {called}", verdict(moved)))
        table.add_row(name, *cells)
    console.print(table)
    for name, said in verdicts:
        console.print(f"{name}: within {MOST_US:g} µs of {BESIDE}: {said}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=24, help="turns of each dialect")
    parser.add_argument("--requests", type=int, default=200, help="of a turn")
    options = parser.parse_args()
    if options.rounds < 16 or options.rounds % 2:
        parser.error("--rounds must be even and at least 16: else there is no interval")
    said = conditions()
    found = measure(claim_cpus(), options.rounds, options.requests)
    console = Console(width=130)
    report(console, found)
    console.print(f"{options.rounds} turns of {options.requests} requests each. {said}")


if __name__ == "__main__":
    main()
