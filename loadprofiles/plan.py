"""From a profile, a level and a seed to everything that the driver of one cell needs.

Every choice is drawn from (seed, profile, level, repeat, purpose) and never from the build or the
server: builds under comparison get the same prompts at the same moments. Levels, repeats, and
warm-up and measured requests have different prompts, so that no prefix cache carries over.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from loadprofiles.arrivals import NS, schedule, schedule_requests
from loadprofiles.dialects import load_dialect
from loadprofiles.errors import ProfileError
from loadprofiles.lengths import longest, sample_lengths
from loadprofiles.prompts import load_tokenizer, make_prompts
from loadprofiles.records import BODIES_FILE, PLAN_FILE, DrivePlan
from loadprofiles.think import sample_think_ns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from loadprofiles.dialects import Dialect
    from loadprofiles.profile import Profile

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
    wire = load_dialect(dialect)
    loaded = None if tokenizer is None else load_tokenizer(tokenizer)
    draw = _Draw(seed, profile.name, float(level), repeat)
    sending = _closed(profile, level, draw) if profile.is_closed else _open(profile, level, draw)
    bodies = sending.pop("bodies")
    warmup = _warmup(profile, level)
    parts = [
        _Part(profile, warmup, draw, "warm-up"),
        _Part(profile, bodies, draw, "measured"),
    ]
    exact = _write_bodies(folder / BODIES_FILE, parts, target, wire, loaded)
    plan = DrivePlan(
        host=target.host,
        port=target.port,
        path=_path(target, wire, stream=True),
        headers=list(target.headers),
        api_key_env=target.api_key_env,
        dialect=dialect,
        **sending,
        warmup=warmup,
        drain_s=profile.drain_s,
        timeout_s=profile.timeout_s,
        output_tokens=[length for part in parts for length in part.output_tokens.tolist()],
        prompts_exact=exact,
        cpus=cpus,
    )
    with _atomic(folder / PLAN_FILE) as file:
        file.write(msgspec.json.encode(plan))
    return plan


def _path(target: Target, dialect: Dialect, *, stream: bool) -> str:
    """Where to ask, behind a gateway's own path too."""
    base = target.path.rstrip("/")
    if dialect.at_root and _VERSION_SEGMENT.fullmatch(base.rpartition("/")[2]):
        base = base.rpartition("/")[0]
    return base + (dialect.path if stream else dialect.whole_path)


def check_fits(
    profile: Profile, max_model_len: int | None, dialect: str = "openai-completions"
) -> None:
    """Refuse a profile whose longest request the model cannot take, the chat template included.

    Raises:
        ProfileError: naming the lengths and the limit.
        UnknownDialectError: no dialect of that name.
    """
    prompt, output = longest(profile.prompt_tokens), longest(profile.output_tokens)
    template = load_dialect(dialect).template_tokens
    total = prompt + output + template
    if max_model_len is None or total <= max_model_len:
        return
    field = "prompt_tokens" if prompt >= output else "output_tokens"
    around = f" + {template} for the chat template" if template else ""
    raise ProfileError(
        field,
        f"up to {prompt} prompt_tokens + {output} output_tokens{around} = {total} do not fit "
        f"the model's {max_model_len} (max_model_len); lower them by "
        f"{total - max_model_len} together, or serve the model with a longer context",
    )


@dataclass(frozen=True)
class _Draw:
    """Hands out one independent generator for each purpose within a cell."""

    seed: int
    profile: str
    level: float
    repeat: int

    def rng(self, purpose: str) -> np.random.Generator:
        text = f"{self.profile}\0{self.level!r}\0{self.repeat}\0{purpose}"
        digest = hashlib.sha256(text.encode()).digest()
        words = np.frombuffer(digest, dtype="<u4").tolist()
        return np.random.default_rng(np.random.SeedSequence([self.seed, *words]))


class _Part:
    """The requests of the warm-up, or the measured ones."""

    def __init__(self, profile: Profile, count: int, draw: _Draw, purpose: str) -> None:
        rng = draw.rng(f"{purpose} prompt lengths")
        self.prompt_tokens: NDArray[np.int64] = sample_lengths(profile.prompt_tokens, count, rng)
        rng = draw.rng(f"{purpose} output lengths")
        self.output_tokens: NDArray[np.int64] = sample_lengths(profile.output_tokens, count, rng)
        self.rng = draw.rng(f"{purpose} prompts")


def check_schedule(profile: Profile, level: float, repeat: int, seed: int) -> None:
    """Refuse a level at which a cell's schedule happens to be empty.

    Raises:
        ProfileError: with the fix.
    """
    if not profile.is_closed:
        _open(profile, level, _Draw(seed, profile.name, float(level), repeat))


def _open(profile: Profile, rate: float, draw: _Draw) -> dict[str, Any]:
    """The schedule. With duration and requests both given, whichever comes first ends it.

    A Profile has both only where the rate is constant: a part of a ramp has another mean rate.
    """
    arrival = profile.arrival
    assert arrival.kind != "closed"  # noqa: S101 - the caller asked
    rng = draw.rng("arrivals")
    if profile.duration_s is None:
        assert profile.requests is not None  # noqa: S101 - a Profile has one of both
        due, duration_ns = schedule_requests(arrival, rate, profile.requests, rng)
    else:
        due, duration_ns = (
            schedule(arrival, rate, profile.duration_s, rng),
            round(profile.duration_s * NS),
        )
        if profile.requests is not None and len(due) > profile.requests:
            duration_ns = max(int(due[profile.requests]), 1)
            due = due[: profile.requests]
    if len(due) == 0:
        raise ProfileError(
            "rate",
            f"{rate:g} requests/s for {duration_ns / NS:g} s happen to give no request at all; "
            "raise it or duration_s",
        )
    return {"mode": "open", "due_ns": due.tolist(), "duration_ns": duration_ns, "bodies": len(due)}


def _closed(profile: Profile, level: float, draw: _Draw) -> dict[str, Any]:
    """The streams. With duration and requests both given, whichever comes first ends them."""
    streams = int(level)
    duration_s, bodies = profile.duration_s, profile.requests
    if bodies is None:
        assert duration_s is not None  # noqa: S101 - a Profile has one of both
        wanted = math.ceil(POOL_PER_STREAM_S * streams * duration_s)
        bodies = min(max(wanted, POOL_LEAST), POOL_MOST)
    assert profile.arrival.kind == "closed"  # noqa: S101 - the caller asked
    think = profile.arrival.think_s
    return {
        "mode": "closed",
        "streams": streams,
        "duration_ns": None if duration_s is None else round(duration_s * NS),
        "requests": profile.requests,
        "bodies": bodies,
        "think_ns": None
        if think is None
        else sample_think_ns(think, bodies, draw.rng("think times")).tolist(),
    }


def _warmup(profile: Profile, level: float) -> int:
    """In a closed loop each stream finishes one request first: one body for each at least."""
    if profile.is_closed and profile.warmup_requests:
        return max(profile.warmup_requests, int(level))
    return profile.warmup_requests


def _write_bodies(
    path: Path, parts: list[_Part], target: Target, dialect: Dialect, tokenizer: Tokenizer | None
) -> bool:
    """Write one body a line, a batch at a time; return whether all prompts are exact."""
    exact = True
    with _atomic(path) as file:
        for part in parts:
            outputs = iter(part.output_tokens.tolist())
            for prompts in make_prompts(part.prompt_tokens, part.rng, tokenizer):
                exact = exact and prompts.exact
                for text in prompts.texts:
                    body = dialect.encode(
                        target.model, text, next(outputs), target.pin_output, stream=True
                    )
                    file.write(body)
                    file.write(b"\n")
    return exact


@contextmanager
def _atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only once it is complete and on the disk."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
