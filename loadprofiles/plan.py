"""From a profile, a level and a seed to everything that the driver of one cell needs.

Every choice is drawn from (seed, profile, level, repeat, purpose) and never from the build or the
server: builds under comparison get the same prompts at the same moments. Levels, repeats, and
warm-up and measured requests have different prompts, so that no prefix cache carries over.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from loadprofiles.arrivals.closed import Closed
from loadprofiles.arrivals.trace import Replayed, Trace
from loadprofiles.dialects import load_dialect
from loadprofiles.draw import Draw
from loadprofiles.errors import ProfileError
from loadprofiles.prompts.blocks import shared_heads
from loadprofiles.prompts.bodyfile import atomic, write_bodies
from loadprofiles.prompts.conversations import Lengths, write_conversations
from loadprofiles.prompts.fits import check_fits
from loadprofiles.prompts.lengths import FromTrace, sample_lengths
from loadprofiles.prompts.pairs import draw_lengths
from loadprofiles.prompts.recorded import Recorded
from loadprofiles.prompts.texts import load_tokenizer
from loadprofiles.records import BODIES_FILE, PLAN_FILE, DrivePlan, Endpoint
from loadprofiles.traffic.schedule import NS
from loadprofiles.traffic.think import sample_think_ns
from loadprofiles.traffic.timetable import check_schedule, open_loop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from loadprofiles.dialects import Dialect, Prompt
    from loadprofiles.profile import Profile
    from loadprofiles.prompts.conversations import Conversation

_ONE = np.ones(1, dtype=np.int64)
_VERSION_SEGMENT = re.compile(r"v\d+\w*")

POOL_PER_STREAM_S = 8
"""Bodies of a closed loop, per stream and second of the window: about as many requests as the
demo model answers one stream on a CPU, more than larger models do."""
POOL_LEAST, POOL_MOST = 1024, 16_384
"""Bounds of that pool. A loop that outlasts it starts over (`Sample.body` repeats), and a prefix
cache may then serve prompts that it has seen."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where requests go. Plain values, so that this package knows no server's type."""

    host: str
    port: int
    path: str
    """The API's base path, e.g. `/v1`; the dialect's own path comes after it."""
    replicas: tuple[Endpoint, ...] = ()
    """Further addresses that serve the same, with their base paths."""
    tls: bool = False
    ca_file: str | None = None
    """PEM file of the authorities to trust; None for the system's."""
    tls_verify: bool = True
    model: str
    """The name to ask for."""
    headers: tuple[str, ...] = ()
    """Names of extra request headers; the driver gets their values by its environment."""
    api_key_env: str | None = None
    """Environment variable with the bearer token."""
    pin_output: tuple[str, ...] = ()
    """Request fields that pin the output length on this engine: "ignore_eos", "min_tokens"."""
    max_model_len: int | None = None
    """The most tokens, prompt and answer together, that the model takes; None where unknown."""


def make_plan(  # noqa: PLR0913 - a cell is made of this much
    folder: Path,
    *,
    profile: Profile,
    level: float,
    repeat: int,
    seed: int,
    target: Target,
    dialect: str,
    stream: bool = True,
    tokenizer: Path | None = None,
    cpus: list[int] | None = None,
) -> DrivePlan:
    """Write `bodies.jsonl` and then `plan.json` into the cell's folder, each atomically.

    Args:
        folder: the cell's folder; it must exist.
        profile: with the command line's overrides applied (`Profile.with_overrides`).
        level: streams of a closed loop, else the mean rate in requests/s.
        repeat: which repeat of the cell this is; changes prompts and arrivals.
        seed: the run's seed, ≥ 0.
        target: where the requests go.
        dialect: name of the wire dialect, e.g. "openai-completions".
        stream: ask for answers as a stream of events, else as one document.
        tokenizer: folder with the model's `tokenizer.json`; None to estimate prompt lengths.
        cpus: CPUs that the driver binds itself to.

    Returns:
        The plan as written.

    Raises:
        ProfileError: level, seed or lengths that cannot be, before anything is written.
        TokenizerError: the tokenizer's folder cannot be used.
        UnknownDialectError: no dialect of that name.
        OSError: the folder cannot be written.
    """
    if seed < 0:
        raise ProfileError("seed", f"{seed} must be 0 or more")
    profile.check_level(level)
    check_fits(profile, target.max_model_len, dialect)
    if isinstance(profile.arrival, Trace):
        check_schedule(profile, level, repeat, seed, target.max_model_len, dialect)
    wire = load_dialect(dialect)
    draw = Draw(seed, profile.name, float(level), repeat)
    sending = _closed(profile, level) if profile.is_closed else open_loop(profile, level, draw)
    replayed: Replayed | None = sending.pop("replayed", None)
    bodies = sending.pop("bodies")
    warmup = _warmup(profile, level)
    loaded = None if tokenizer is None else load_tokenizer(tokenizer)

    asked = hashlib.blake2b(digest_size=8)

    def encode(prompt: Prompt, output_tokens: int) -> bytes:
        asked.update(msgspec.json.encode((prompt, output_tokens)))
        return wire.encode(target.model, prompt, output_tokens, target.pin_output, stream=stream)

    recorded = None
    if profile.dataset is not None:
        room, around = target.max_model_len, wire.template_tokens
        recorded = Recorded(profile, draw.rng, loaded, room, around)
    used = None
    with atomic(folder / BODIES_FILE) as file:
        if recorded is None:
            lengths = _lengths(profile, replayed, warmup, draw, "warm-up")
            first = write_conversations(
                profile, _ONE.repeat(warmup), draw.rng, "warm-up", loaded, lengths
            )
            turns = _turns(profile, level, bodies, draw)
            lengths = _lengths(profile, replayed, len(turns), draw, "measured")
            lengths = _with_prefixes(profile, replayed, lengths, draw, loaded)
            said = write_conversations(profile, turns, draw.rng, "measured", loaded, lengths)
        else:
            first = islice(recorded.warm_up(), warmup)
            said = _enough(profile, level, bodies, recorded)
        written = write_bodies(file, first, encode)
        written.extend(write_bodies(file, said, encode))
        if recorded is not None:
            used = recorded.close()
    after = written.after[warmup:]
    plan = DrivePlan(
        host=target.host,
        port=target.port,
        path=_path(target.path, wire, stream=stream),
        replicas=[
            Endpoint(host=one.host, port=one.port, path=_path(one.path, wire, stream=stream))
            for one in target.replicas
        ],
        tls=target.tls,
        ca_file=target.ca_file,
        tls_verify=target.tls_verify,
        headers=list(target.headers),
        api_key_env=target.api_key_env,
        dialect=dialect,
        **sending,
        dataset=used,
        think_ns=_thoughts(profile, after, draw),
        after=None if profile.session is None else after,
        warmup=warmup,
        drain_s=profile.drain_s,
        timeout_s=profile.timeout_s,
        output_tokens=written.output_tokens,
        prompt_tokens=written.prompt_tokens,
        asked_digest=asked.hexdigest(),
        stream=stream,
        prompts_exact=loaded is not None and written.exact,
        cpus=cpus,
    )
    with atomic(folder / PLAN_FILE) as file:
        file.write(msgspec.json.encode(plan))
    return plan


def _path(base: str, dialect: Dialect, *, stream: bool) -> str:
    """Where to ask, behind a gateway's own path too."""
    base = base.rstrip("/")
    if dialect.at_root and _VERSION_SEGMENT.fullmatch(base.rpartition("/")[2]):
        base = base.rpartition("/")[0]
    return base + (dialect.path if stream else dialect.whole_path)


def _lengths(
    profile: Profile, replayed: Replayed | None, count: int, draw: Draw, purpose: str
) -> Lengths:
    """The lengths that files have: of the requests replayed, or of some drawn at random."""
    drawn = draw_lengths(profile, count, draw.rng(f"{purpose} rows of files"))
    if replayed is None:
        return drawn
    rows = np.arange(count)
    if purpose != "measured":
        rows = draw.rng(f"{purpose} rows").integers(len(replayed.due_ns), size=count)
    if isinstance(profile.prompt_tokens, FromTrace):
        drawn = drawn._replace(prompt_tokens=replayed.prompt_tokens[rows])
    if isinstance(profile.output_tokens, FromTrace):
        drawn = drawn._replace(output_tokens=replayed.output_tokens[rows])
    return drawn


def _with_prefixes(
    profile: Profile,
    replayed: Replayed | None,
    lengths: Lengths,
    draw: Draw,
    tokenizer: Tokenizer | None,
) -> Lengths:
    """Let prompts that are as long as a trace's begin alike where those did, if it says so."""
    prompts = lengths.prompt_tokens
    if replayed is None or replayed.blocks is None or prompts is None:
        return lengths
    if profile.shared_prefix is not None or not isinstance(profile.prompt_tokens, FromTrace):
        return lengths
    heads = shared_heads(replayed.blocks, prompts, draw.rng("blocks"), tokenizer)
    return lengths._replace(prompt_tokens=heads.rest_tokens, heads=(heads.which, heads.texts))


def _closed(profile: Profile, level: float) -> dict[str, Any]:
    """The streams. With duration and requests both given, whichever comes first ends them."""
    streams = int(level)
    duration_s, bodies = profile.duration_s, profile.requests
    if bodies is None:
        assert duration_s is not None  # noqa: S101 - a Profile has one of both
        wanted = math.ceil(POOL_PER_STREAM_S * streams * duration_s)
        bodies = min(max(wanted, POOL_LEAST), POOL_MOST)
    return {
        "mode": "closed",
        "streams": streams,
        "duration_ns": None if duration_s is None else round(duration_s * NS),
        "requests": profile.requests,
        "bodies": bodies,
    }


def _warmup(profile: Profile, level: float) -> int:
    """How many bodies the warm-up has.

    In a closed loop each stream finishes one request first: one body for each at least. So it is
    with shared prefixes that are to be warm.
    """
    least = int(level) if profile.is_closed and profile.warmup_requests else 0
    if profile.shared_prefix is not None and profile.shared_prefix.warm:
        least = max(least, profile.shared_prefix.count)
    return max(profile.warmup_requests, least)


def _turns(profile: Profile, level: float, count: int, draw: Draw) -> NDArray[np.int64]:
    """How many turns each measured conversation has.

    An open loop begins `count` conversations. A closed loop needs as many as make `count` requests
    and one for each stream on top: they do not all end together.
    """
    if profile.session is None:
        return _ONE.repeat(count)
    assert profile.session.turns is not None  # noqa: S101 - the profile looked
    streams = int(level) if profile.is_closed else 0
    turns = sample_lengths(profile.session.turns, count + streams, draw.rng("turns"))
    if profile.is_closed:
        turns = turns[: int(np.searchsorted(turns.cumsum(), count)) + 1 + streams]
    return turns


def _enough(
    profile: Profile, level: float, count: int, recorded: Recorded
) -> Iterator[Conversation]:
    """Yield as many recorded conversations as `_turns` has, of a closed loop each but once."""
    if not profile.is_closed:
        yield from islice(recorded.measured(), count)
        return
    turns = 0
    more = int(level) if profile.session is not None else 0
    for conversation in islice(recorded.measured(), len(recorded)):
        yield conversation
        if turns >= count:
            more -= 1
        turns += len(conversation.turns)
        if turns >= count and not more:
            return


def _thoughts(profile: Profile, after: list[int], draw: Draw) -> list[int] | None:
    """Think times: before conversations (of a closed loop's stream) and within them."""
    thoughts: list[int] = []
    first = after.count(-1)
    if isinstance(profile.arrival, Closed) and profile.arrival.think_s is not None:
        rng = draw.rng("think times")
        thoughts = sample_think_ns(profile.arrival.think_s, first, rng).tolist()
    later = len(after) - first
    if later:
        thoughts = thoughts or [0] * first
        if profile.session is None or profile.session.think_s is None:
            thoughts += [0] * later
        else:
            rng = draw.rng("think times in sessions")
            thoughts += sample_think_ns(profile.session.think_s, later, rng).tolist()
    return thoughts if any(thoughts) else None
