"""Several cells of one stream as one: each request goes to another server, turn by turn.

`interleave` deals the requests of cells that were planned for themselves into one plan for the
driver; `split` hands the samples back, so that each cell's folder is as if it had been driven
alone. A pair of requests, the same prompt to each server one right after the other, shares
whatever the machine does meanwhile; each order of a round is followed by its mirror image (A B B A
or B A A B, by the seed), so that a steady drift cancels as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from loadprofiles.errors import ProfileError
from loadprofiles.prompts.bodies import Bodies
from loadprofiles.prompts.bodyfile import atomic
from loadprofiles.records import (
    BODIES_FILE,
    DRIVE_FILE,
    PLAN_FILE,
    SAMPLES_FILE,
    DrivePlan,
    Endpoint,
    read_drive_report,
    read_plan,
    read_samples,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from loadprofiles.draw import Draw
    from loadprofiles.profile import Profile
    from loadprofiles.records import Phase, Sample

_SHARED: Final = (
    "mode", "streams", "tls", "ca_file", "tls_verify", "headers", "api_key_env", "dialect",
    "stream", "warmup", "drain_s", "timeout_s", "duration_ns", "requests", "output_tokens",
)  # fmt: skip
"""What the plans must have in common: the driver has it but once."""
_NS: Final = 1_000_000_000


def check_interleaved(profile: Profile, levels: Sequence[float]) -> None:
    """Look whether cells of a profile can be interleaved.

    Raises:
        ProfileError: they cannot.
    """
    if not profile.is_closed:
        raise ProfileError(
            "interleave",
            f"{profile.name} sends requests when they are due, whether or not the other build has "
            "answered: take a closed-loop profile with one stream, e.g. closed",
        )
    if any(level != 1 for level in levels):
        raise ProfileError(
            "interleave",
            "with more than one stream the builds would compute at the same time and slow one "
            "another down: take the level 1, and measure others without --interleave",
        )
    if profile.session is not None or getattr(profile.arrival, "think_s", None) is not None:
        raise ProfileError(
            "interleave",
            f"{profile.name} has sessions or think time, in which a stream waits for what it was "
            "told before: take a profile of single requests, e.g. closed",
        )


def turns_of(builds: int, rounds: int, draw: Draw) -> list[int]:
    """Return whose turn it is, round after round: positions of builds, builds × rounds of them."""
    rng = draw.rng("turns of builds")
    found: list[int] = []
    for _ in range(0, rounds, 2):
        order = rng.permutation(builds).tolist()
        found += [*order, *reversed(order)]
    return found[: builds * rounds]


def interleave(folder: Path, cells: Sequence[Path], draw: Draw) -> DrivePlan:
    """Write one plan, and its bodies, of cells that have theirs; return it.

    The window is as long as all of theirs together.

    Args:
        folder: gets the plan; it must exist.
        cells: folders with a plan each, of the same profile, level, repeat and seed, and so with
            the same prompts; each for a server of its own.
        draw: decides who is first in a round.

    Raises:
        ProfileError: the plans are not of one kind, or for more than one stream.
        OSError: a file cannot be read or written.
    """
    plans = [read_plan(cell) for cell in cells]
    first = plans[0]
    for name in _SHARED:
        if any(getattr(plan, name) != getattr(first, name) for plan in plans):
            raise ProfileError("interleave", f"the builds' plans differ in {name}")
    if first.mode != "closed" or first.streams != 1 or any(plan.replicas for plan in plans):
        raise ProfileError("interleave", "one stream, and one address for each build, is wanted")
    count, each = len(plans), len(first.output_tokens)
    turns = turns_of(count, first.warmup, draw)
    turns += turns_of(count, each - first.warmup, draw)
    bodies = [Bodies(cell / BODIES_FILE) for cell in cells]
    try:
        with atomic(folder / BODIES_FILE) as file:
            for place, turn in enumerate(turns):
                file.write(bodies[turn][place // count] + b"\n")
    finally:
        for one in bodies:
            one.close()
    plan = msgspec.structs.replace(
        first,
        replicas=[Endpoint(host=one.host, port=one.port, path=one.path) for one in plans[1:]],
        turns=turns,
        warmup=count * first.warmup,
        duration_ns=None if first.duration_ns is None else count * first.duration_ns,
        requests=None if first.requests is None else count * first.requests,
        output_tokens=np.repeat(first.output_tokens, count).tolist(),
        prompt_tokens=np.repeat(np.array(first.prompt_tokens, dtype=int), count).tolist(),
    )
    with atomic(folder / PLAN_FILE) as file:
        file.write(msgspec.json.encode(plan))
    return plan


def split(folder: Path, cells: Sequence[Path]) -> None:
    """Give each cell the samples of its server, and a report of the driver.

    Raises:
        msgspec.DecodeError: a file is not what it should be.
        OSError: a file cannot be read or written.
    """
    report = read_drive_report(folder)
    count = len(cells)
    found: list[list[Sample]] = [[] for _ in cells]
    uncounted: dict[tuple[int, Phase], int] = {}
    for sample in read_samples(folder):
        seq = sample.seq // count
        if sample.phase == "cooldown":  # where it begins depends on when the window ended
            at = (sample.endpoint, sample.phase)
            seq = uncounted[at] = uncounted.get(at, -1) + 1
        found[sample.endpoint].append(
            msgspec.structs.replace(sample, seq=seq, body=sample.body // count, endpoint=0)
        )
    took_ns = [
        sum(_within(one, report.window_start_ns, report.window_end_ns) for one in samples)
        for samples in found
    ]
    encode = msgspec.json.Encoder().encode
    for cell, samples, own_ns in zip(cells, found, took_ns, strict=True):
        with atomic(cell / SAMPLES_FILE) as file:
            file.writelines(encode(one) + b"\n" for one in samples)
        own = msgspec.structs.replace(
            report,
            samples=len(samples),
            connections=sum(one.connect_ns is not None for one in samples),
            elsewhere_s=(sum(took_ns) - own_ns) / _NS,
        )
        with atomic(cell / DRIVE_FILE) as file:
            file.write(msgspec.json.format(msgspec.json.encode(own)) + b"\n")


def _within(sample: Sample, start_ns: int, end_ns: int) -> int:
    """How much of the time from when a request was due until it was done lies in the window."""
    if sample.done_ns is None:
        return 0
    return max(0, min(sample.done_ns, end_ns) - max(sample.due_ns, start_ns))
